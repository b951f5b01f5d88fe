//! What is known of a sink while it runs, for metrics and the status page.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::model::Timestamp;

/// Several groups would be one series; see [`super::derive::publish`].
pub const AMBIGUOUS: &str = "ambiguous";

/// Retention has passed results that were not sent yet.
pub const EXPIRED: &str = "expired";

/// See the file's header.
#[derive(Debug, Default)]
pub struct SinkStatus {
    pub name: String,
    /// Without credentials.
    pub url: String,
    requests: AtomicU64,
    samples: AtomicU64,
    /// Why requests were not taken; the reasons are a fixed few.
    failures: Mutex<BTreeMap<&'static str, u64>>,
    /// Samples the receiver will never get.
    dropped: Mutex<BTreeMap<&'static str, u64>>,
    /// In milliseconds; `i64::MIN` while nothing is known.
    position: AtomicI64,
    behind_ms: AtomicI64,
    trouble: Mutex<Option<Trouble>>,
}

/// What keeps a sink from delivering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub since: Timestamp,
    /// With what to do.
    pub what: String,
}

impl SinkStatus {
    pub fn new(name: &str, url: &str) -> SinkStatus {
        let position = AtomicI64::new(i64::MIN);
        SinkStatus { name: name.to_owned(), url: without_credentials(url), position, ..SinkStatus::default() }
    }

    /// Requests sent, those that were sent again included.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Samples the receiver has taken, staleness markers included.
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    pub fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.failures.lock().clone()
    }

    pub fn dropped_samples(&self) -> BTreeMap<&'static str, u64> {
        self.dropped.lock().clone()
    }

    /// Up to which grid point everything was sent.
    pub fn position(&self) -> Option<Timestamp> {
        Some(Timestamp(self.position.load(Ordering::Relaxed))).filter(|position| *position != Timestamp::MIN)
    }

    /// How far the newest result of a rule lies before what was sent of it, for the rule where that is most.
    pub fn behind_ms(&self) -> i64 {
        self.behind_ms.load(Ordering::Relaxed)
    }

    /// What keeps it from delivering now.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }

    pub(super) fn sent(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn taken(&self, samples: u64) {
        self.samples.fetch_add(samples, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, reason: &'static str) {
        *self.failures.lock().entry(reason).or_default() += 1;
    }

    pub(super) fn dropped(&self, reason: &'static str, samples: u64) {
        if samples > 0 {
            *self.dropped.lock().entry(reason).or_default() += samples;
        }
    }

    pub(super) fn at(&self, position: Option<Timestamp>, behind_ms: i64) {
        self.position.store(position.unwrap_or(Timestamp::MIN).0, Ordering::Relaxed);
        self.behind_ms.store(behind_ms, Ordering::Relaxed);
    }

    /// Notes what is wrong, or that nothing is any more. True when that is news: worth a line in the log.
    pub(super) fn troubled(&self, now: Timestamp, what: Option<String>) -> bool {
        let mut trouble = self.trouble.lock();
        let news = match (&*trouble, &what) {
            (None, None) => false,
            (Some(known), Some(what)) => known.what != *what,
            _ => true,
        };
        let since = trouble.as_ref().map_or(now, |known| known.since);
        *trouble = what.map(|what| Trouble { since, what });
        news
    }
}

/// A URL as it may be shown.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        for (url, shown) in [
            ("http://a:1/api/v1/write", "http://a:1/api/v1/write"),
            ("https://u:p@a/x@y", "https://a/x@y"),
            ("http://u@[::1]:9", "http://[::1]:9"),
        ] {
            assert_eq!(SinkStatus::new("s", url).url, shown);
        }
    }

    #[test]
    fn trouble_is_news_when_it_begins_changes_and_ends() {
        let status = SinkStatus::new("s", "http://a");
        let news = |now, what: Option<&str>| status.troubled(Timestamp(now), what.map(str::to_owned));
        assert!(!news(1, None));
        assert!(news(2, Some("a")) && !news(3, Some("a")) && news(4, Some("b")));
        assert_eq!(status.trouble().map(|trouble| trouble.since), Some(Timestamp(2)));
        let news = |now, what: Option<&str>| status.troubled(Timestamp(now), what.map(str::to_owned));
        assert!(news(5, None) && !news(6, None));
    }
}
