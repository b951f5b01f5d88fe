//! A publication: one view under one record name, as one sink sends it, and how far that has come.
//!
//! Progress is kept as a note beside the results. What a request is about to carry is written down before it is sent:
//! which grid points, and which of them are left out. A span may be said after a grid point was sent, and a process that
//! is killed before it hears the receiver's answer sends again; it must not decide otherwise the second time.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::derive::Stretch;
use crate::model::{Labels, Timestamp, ViewId};

/// A view under a record name, with the labels that its rule sets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Publication {
    pub view: ViewId,
    pub record: SmolStr,
    pub labels: Labels,
}

/// How far a publication has come in one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The newest grid point that the receiver has, or will never get. None: all that the view has is still to be sent.
    pub position: Option<Timestamp>,
    /// Whether the values at that grid point were sent, so that their series have yet to end.
    pub live: bool,
    /// What was, or may have been, sent beyond it.
    pub sending: Option<Sending>,
    /// The last grid point of which values are sent, because the rule is gone: markers follow it.
    pub ends: Option<Timestamp>,
}

/// Up to which grid point, and which of them are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    pub to: Timestamp,
    /// As in [`Stretch`].
    pub skipped: Vec<(Timestamp, Timestamp)>,
}

impl Progress {
    /// The receiver has, or has refused, everything of a stretch.
    pub fn settle(&mut self, stretch: &Stretch) {
        self.live = !stretch.skips(stretch.to);
        self.position = Some(stretch.to);
        self.sending = None;
    }

    /// Whether the rule is gone and none of its series is left to be ended.
    pub fn has_ended(&self) -> bool {
        let done = |ends: Timestamp| self.position.unwrap_or(Timestamp::MIN) >= ends;
        self.ends.is_some_and(done) && self.sending.is_none() && !self.live
    }
}

/// Progress as it is stored: a list, because it is written with every request.
#[derive(Serialize, Deserialize)]
struct ProgressNote(Option<i64>, bool, Option<i64>, Option<(i64, Vec<(i64, i64)>)>);

/// A publication as it is stored, once.
#[derive(Serialize, Deserialize)]
struct PublicationNote {
    view: String,
    record: SmolStr,
    labels: Labels,
}

impl Progress {
    pub fn to_note(&self) -> Vec<u8> {
        let sending = self.sending.as_ref().map(|sending| {
            (sending.to.0, sending.skipped.iter().map(|(first, last)| (first.0, last.0)).collect::<Vec<_>>())
        });
        let note = ProgressNote(self.position.map(|t| t.0), self.live, self.ends.map(|t| t.0), sending);
        serde_json::to_vec(&note).unwrap_or_default()
    }

    /// # Errors
    /// When the bytes are not a note of ours.
    pub fn of_note(bytes: &[u8]) -> Result<Progress, String> {
        let ProgressNote(position, live, ends, sending) =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let sending = sending.map(|(to, skipped)| Sending {
            to: Timestamp(to),
            skipped: skipped.into_iter().map(|(first, last)| (Timestamp(first), Timestamp(last))).collect(),
        });
        Ok(Progress { position: position.map(Timestamp), live, sending, ends: ends.map(Timestamp) })
    }
}

impl Publication {
    pub fn to_note(&self) -> Vec<u8> {
        let (view, record, labels) = (self.view.to_string(), self.record.clone(), self.labels.clone());
        serde_json::to_vec(&PublicationNote { view, record, labels }).unwrap_or_default()
    }

    /// # Errors
    /// When the bytes are not a note of ours.
    pub fn of_note(bytes: &[u8]) -> Result<Publication, String> {
        let PublicationNote { view, record, labels } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        Ok(Publication { view: view.parse()?, record, labels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_read_back_as_what_was_written() {
        let publication =
            Publication { view: ViewId(7), record: "a:b".into(), labels: Labels::from_pairs([("team", "\"x\"")]) };
        assert_eq!(Publication::of_note(&publication.to_note()), Ok(publication));
        let sending = Sending { to: Timestamp(40), skipped: vec![(Timestamp(20), Timestamp(30))] };
        for progress in [
            Progress::default(),
            Progress { position: Some(Timestamp(-10)), live: true, sending: Some(sending), ends: Some(Timestamp(5)) },
        ] {
            assert_eq!(Progress::of_note(&progress.to_note()), Ok(progress));
        }
        for damaged in [&b""[..], b"{}", b"[1,2]", b"[1,true,null,[2]]", b"[null,false,null,null,1]"] {
            assert!(Progress::of_note(damaged).is_err(), "{damaged:?}");
        }
        assert!(Publication::of_note(b"{\"view\":\"x\",\"record\":\"a\",\"labels\":[]}").is_err());
    }
}
