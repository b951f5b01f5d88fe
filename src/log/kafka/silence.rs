//! Brokers that do not answer, said once, and once more when they do.
//!
//! librdkafka tells of a connection that breaks. One over which nothing comes, because a link is cut or a broker hangs, it
//! holds on to for a minute without a word; but whoever keeps a topic asks it twice a second, and knows.

use std::time::{Duration, Instant};

/// How long brokers may be silent before it is said: a partition whose leader moves has none for a moment.
const SAY_AFTER: Duration = Duration::from_secs(4);

/// Whether a topic's brokers answer whoever keeps it.
pub(super) struct Silence {
    topic: String,
    brokers: String,
    /// When the first question that is not answered was asked; `None` while they answer.
    since: Option<Instant>,
    said: bool,
}

impl Silence {
    pub fn new(topic: &str, brokers: &[String]) -> Silence {
        Silence { topic: topic.to_owned(), brokers: brokers.join(","), since: None, said: false }
    }

    /// A question that was asked at one time was answered, or not, at another. What there is to say of it is said.
    pub fn note(&mut self, answer: Result<(), &str>, asked: Instant, now: Instant) {
        let silent = self.turned(answer.is_ok(), asked, now);
        let Silence { topic, brokers, .. } = self;
        match (silent, answer) {
            (Some(silent), Err(error)) => tracing::warn!(
                %topic, %brokers, %error,
                "Kafka has not answered for {} s, trying again; nothing acknowledged is lost, and all goes on from where it \
                 stopped; check the brokers and the network",
                silent.as_secs()
            ),
            (Some(silent), Ok(())) => tracing::info!(%topic, "Kafka answers again, after {} s", silent.as_secs()),
            (None, _) => {}
        }
    }

    /// For how long they have been silent, when that is to be said: once when it begins to matter, once when it ends.
    fn turned(&mut self, answered: bool, asked: Instant, now: Instant) -> Option<Duration> {
        if answered {
            let since = self.since.take()?;
            return std::mem::take(&mut self.said).then(|| now - since);
        }
        let silent = now - *self.since.get_or_insert(asked);
        let due = !self.said && silent >= SAY_AFTER;
        self.said |= due;
        due.then_some(silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers at times in seconds, each asked a second before, and whether something is said.
    #[test]
    fn a_silence_is_said_once_when_it_lasts_and_once_when_it_ends() {
        let (mut silence, began) = (Silence::new("t", &["b:1".to_owned()]), Instant::now());
        for (at, answered, expected) in [
            (1, true, None),
            // Short: neither its beginning nor its end is worth a word.
            (2, false, None),
            (4, false, None),
            (5, true, None),
            (7, false, None),
            (10, false, Some(4)),
            (11, false, None),
            (60, false, None),
            (61, true, Some(55)),
            (62, true, None),
            (63, false, None),
            (66, false, Some(4)),
        ] {
            let at_s = |s| began + Duration::from_secs(s);
            let said = silence.turned(answered, at_s(at - 1), at_s(at));
            assert_eq!(said.map(|silent| silent.as_secs()), expected, "at {at}");
        }
    }
}
