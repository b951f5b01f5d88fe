//! The series of one target, from scrape to scrape: their final labels, and which of them have ended.
//!
//! A target writes the same series in the same bytes every time, so labels are merged and sorted once per series and then
//! found again by a hash. The same memory answers what staleness asks: a series of the last successful scrape that is absent
//! from this one has ended, and says so with a marker; after a failed scrape all of them have.

use std::borrow::Cow;
use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_128;

use super::config::ScrapeConfig;
use super::merge::merge;
use crate::ingest::exposition::ParsedSample;
use crate::model::labels::{SeriesIdBuild, push_prefixed};
use crate::model::{Labels, STALE_NAN, Sample, SeriesId, Timestamp};

/// What the scrapes of one target remember. Bounded by what one scrape may hold: series absent from a successful scrape are
/// forgotten at its end. Lost with the process; then a restart's first scrape has no predecessor, as in Prometheus.
#[derive(Default)]
pub struct SeriesCache {
    /// The labels that each series gets.
    target: Labels,
    rules: Rules,
    /// From the hash of the labels as scraped, in their order.
    by_raw: HashMap<SeriesId, SeriesId, SeriesIdBuild>,
    series: HashMap<SeriesId, Known, SeriesIdBuild>,
    /// The number of the current scrape.
    scrape: u64,
    /// The time of the newest scrape; the next one's is later.
    newest: Option<Timestamp>,
    counts: Counts,
    /// Room for canonical labels.
    canonical: Vec<u8>,
}

/// How labels are merged and what is tracked: the part of a job's settings that concerns series.
#[derive(Clone, Copy, Default)]
struct Rules {
    honor_labels: bool,
    honor_timestamps: bool,
    track_timestamps_staleness: bool,
    label_limit: usize,
    label_name_length_limit: usize,
    label_value_length_limit: usize,
}

/// What the current scrape held besides its samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples of a series that had one at the same time already; the first stays.
    pub duplicates: u64,
    /// Series not known before.
    pub added: u64,
}

struct Known {
    labels: Labels,
    /// The scrape that saw it last, and the time of its newest sample there.
    seen: u64,
    newest: Timestamp,
    /// Whether it takes part in staleness there.
    tracked: bool,
    /// Whether it took part in the last successful scrape: if it is gone, a marker is due.
    live: bool,
    /// Whether it was first seen in a scrape that has not succeeded yet.
    pending: bool,
}

impl SeriesCache {
    pub fn new(target: &Labels, config: &ScrapeConfig) -> SeriesCache {
        let mut cache = SeriesCache::default();
        cache.retarget(target, config);
        cache
    }

    /// Carries on for a target with the same labels and other settings.
    pub fn retarget(&mut self, target: &Labels, config: &ScrapeConfig) {
        self.target = target.clone();
        self.by_raw.clear();
        self.rules = Rules {
            honor_labels: config.honor_labels,
            honor_timestamps: config.honor_timestamps,
            track_timestamps_staleness: config.track_timestamps_staleness,
            label_limit: config.label_limit,
            label_name_length_limit: config.label_name_length_limit,
            label_value_length_limit: config.label_value_length_limit,
        };
    }

    /// Begins a scrape. Returns its time: now, but always after the scrape before.
    pub fn begin(&mut self, now: Timestamp) -> Timestamp {
        let at = self.newest.map_or(now, |newest| now.max(newest + 1));
        self.newest = Some(at);
        self.scrape += 1;
        self.counts = Counts::default();
        at
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a sample of the scrape that began at `at`. `None` for a duplicate.
    ///
    /// # Errors
    /// A limit that the series breaks: the scrape has failed.
    pub fn observe(&mut self, sample: &ParsedSample<'_>, at: Timestamp) -> Result<Option<(Labels, Sample)>, String> {
        let id = self.identify(sample.labels)?;
        let given = sample.timestamp.filter(|_| self.rules.honor_timestamps);
        let t = given.unwrap_or(at);
        let tracked = given.is_none() || self.rules.track_timestamps_staleness;
        let Some(known) = self.series.get_mut(&id) else { return Ok(None) };
        if known.seen == self.scrape && known.newest == t {
            self.counts.duplicates += 1;
            return Ok(None);
        }
        known.tracked = tracked || (known.seen == self.scrape && known.tracked);
        known.seen = self.scrape;
        known.newest = t;
        Ok(Some((known.labels.clone(), Sample { t, v: sample.value })))
    }

    /// Ends a scrape that succeeded: markers for the series that ended with it.
    pub fn succeed(&mut self, at: Timestamp) -> Vec<(Labels, Sample)> {
        let (scrape, before) = (self.scrape, self.series.len());
        let mut ended = Vec::new();
        self.series.retain(|_, known| {
            let here = known.seen == scrape;
            if known.live && !(here && known.tracked) {
                ended.push(marker(&known.labels, at));
            }
            known.live = here && known.tracked;
            known.pending = false;
            here
        });
        if self.series.len() < before {
            self.by_raw.retain(|_, id| self.series.contains_key(id));
        }
        ended
    }

    /// Ends a scrape that failed: markers for all series of the last one that succeeded. What they looked like is kept.
    pub fn fail(&mut self, at: Timestamp) -> Vec<(Labels, Sample)> {
        self.counts = Counts::default();
        let before = self.series.len();
        self.series.retain(|_, known| !known.pending);
        if self.series.len() < before {
            self.by_raw.retain(|_, id| self.series.contains_key(id));
        }
        let known = self.series.values_mut();
        known.filter_map(|known| std::mem::take(&mut known.live).then(|| marker(&known.labels, at))).collect()
    }

    /// A marker that was never delivered is due again, unless its series comes back first.
    pub fn owe(&mut self, labels: Labels) {
        let id = labels.series_id("");
        let seen = self.scrape.wrapping_sub(1);
        let owed = Known { labels, seen, newest: Timestamp::MIN, tracked: true, live: true, pending: false };
        self.series.entry(id).or_insert(owed).live = true;
    }

    /// The id under which a series as scraped is known; it is made known if it was not.
    fn identify(&mut self, raw: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<SeriesId, String> {
        self.canonical.clear();
        for (name, value) in raw {
            push_prefixed(&mut self.canonical, name.as_bytes());
            push_prefixed(&mut self.canonical, value.as_bytes());
        }
        let raw_id = SeriesId(xxh3_128(&self.canonical));
        if let Some(id) = self.by_raw.get(&raw_id) {
            return Ok(*id);
        }
        let labels = merge(raw, &self.target, self.rules.honor_labels);
        self.rules.check(&labels)?;
        let id = labels.series_id("");
        let added = &mut self.counts.added;
        self.series.entry(id).or_insert_with(|| {
            *added += 1;
            Known { labels, seen: 0, newest: Timestamp::MIN, tracked: false, live: false, pending: true }
        });
        self.by_raw.insert(raw_id, id);
        Ok(id)
    }
}

impl Rules {
    fn check(&self, labels: &Labels) -> Result<(), String> {
        let beyond = |value: usize, limit: usize| limit > 0 && value > limit;
        if beyond(labels.len(), self.label_limit) {
            return Err(format!("{labels} has {} labels, more than label_limit {}", labels.len(), self.label_limit));
        }
        for label in labels {
            if beyond(label.name.len(), self.label_name_length_limit) {
                let limit = self.label_name_length_limit;
                return Err(format!("label name {:?} is longer than label_name_length_limit {limit}", label.name));
            }
            if beyond(label.value.len(), self.label_value_length_limit) {
                let limit = self.label_value_length_limit;
                return Err(format!("the value of label {:?} is longer than label_value_length_limit {limit}", label.name));
            }
        }
        Ok(())
    }
}

fn marker(labels: &Labels, at: Timestamp) -> (Labels, Sample) {
    (labels.clone(), Sample { t: at, v: STALE_NAN })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::exposition::{Format, Limits, parse};
    use crate::model::is_stale;

    /// Scrapes of one target, one a second from second 1.
    struct Target {
        cache: SeriesCache,
        at: i64,
    }

    impl Target {
        fn new(change: impl Fn(&mut ScrapeConfig)) -> Target {
            let mut config = ScrapeConfig::of_targets("j", Vec::new());
            change(&mut config);
            Target { cache: SeriesCache::new(&Labels::from_pairs([("job", "j")]), &config), at: 0 }
        }

        /// What a scrape of these lines gives, sorted; `None` fails. Markers are shown as `stale`.
        fn scrape(&mut self, body: Option<&str>) -> String {
            self.at += 1000;
            let at = self.cache.begin(Timestamp(self.at));
            let mut samples = Vec::new();
            let body_or_junk = body.unwrap_or("pending 1\njunk");
            let read = parse(body_or_junk.as_bytes(), Format::PrometheusText, &Limits::default(), &mut |sample| {
                samples.extend(self.cache.observe(&sample, at).unwrap());
            });
            let ended = if read.is_ok() { self.cache.succeed(at) } else { self.cache.fail(at) };
            assert_eq!(read.is_ok(), body.is_some());
            samples.retain(|_| read.is_ok());
            samples.extend(ended);
            shown(samples)
        }
    }

    fn shown(samples: Vec<(Labels, Sample)>) -> String {
        let value = |v: f64| if is_stale(v) { "stale".to_owned() } else { v.to_string() };
        let mut lines: Vec<String> =
            samples.iter().map(|(labels, s)| format!("{} {} @{}", labels.drop(&["job"]), value(s.v), s.t.0)).collect();
        lines.sort();
        lines.join(", ")
    }

    /// Each step: the body (`None` fails), and what must come of it.
    #[track_caller]
    fn check(change: impl Fn(&mut ScrapeConfig), steps: &[(Option<&str>, &str)]) {
        let mut target = Target::new(change);
        for (body, expected) in steps {
            assert_eq!(target.scrape(*body), *expected, "at {}", target.at);
        }
    }

    #[test]
    fn a_series_that_is_absent_gets_one_marker() {
        check(
            |_| (),
            &[
                (Some("a 1\nb 1\n"), "a 1 @1000, b 1 @1000"),
                (Some("a 2\n"), "a 2 @2000, b stale @2000"),
                (Some("a 3\n"), "a 3 @3000"),
                (Some("a 4\nb 4\n"), "a 4 @4000, b 4 @4000"),
                (Some(""), "a stale @5000, b stale @5000"),
                (Some(""), ""),
            ],
        );
    }

    #[test]
    fn a_failed_scrape_ends_all_series_once() {
        check(
            |_| (),
            &[
                (None, ""),
                (Some("a 1\nb 1\n"), "a 1 @2000, b 1 @2000"),
                (None, "a stale @3000, b stale @3000"),
                (None, ""),
                (Some("a 5\n"), "a 5 @5000"),
                (Some("a 6\n"), "a 6 @6000"),
            ],
        );
    }

    #[test]
    fn series_with_their_own_time_get_no_marker_unless_tracked() {
        let steps = [(Some("a 1 77\nb 1\n"), "a 1 @77, b 1 @1000"), (Some("b 2\n"), "b 2 @2000"), (None, "b stale @3000")];
        check(|_| (), &steps);
        check(
            |config| config.track_timestamps_staleness = true,
            &[(Some("a 1 77\n"), "a 1 @77"), (Some(""), "a stale @2000")],
        );
        check(|config| config.honor_timestamps = false, &[(Some("a 1 77\n"), "a 1 @1000"), (Some(""), "a stale @2000")]);
        // A series that begins to bring its own time leaves staleness, and its last tracked sample ends.
        check(|_| (), &[(Some("a 1\n"), "a 1 @1000"), (Some("a 2 1500\n"), "a 2 @1500, a stale @2000"), (Some(""), "")]);
    }

    #[test]
    fn duplicates_are_counted_and_the_first_stays() {
        let mut target = Target::new(|_| ());
        assert_eq!(
            target.scrape(Some("a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 2\na{x=\"1\",y=\"2\",z=\"\"} 3\n")),
            "a{x=\"1\", y=\"2\"} 1 @1000"
        );
        assert_eq!(target.cache.counts(), Counts { duplicates: 2, added: 1 });
        assert_eq!(target.scrape(Some("a 1 5\na 2 6\na 3 6\n")), "a 1 @5, a 2 @6, a{x=\"1\", y=\"2\"} stale @2000");
        assert_eq!(target.cache.counts(), Counts { duplicates: 1, added: 1 });
        assert_eq!((target.cache.series.len(), target.cache.by_raw.len()), (1, 1));
    }

    #[test]
    fn a_marker_that_was_lost_is_due_again() {
        let mut target = Target::new(|_| ());
        target.scrape(Some("a 1\nb 1\nc 1\n"));
        assert_eq!(target.scrape(Some("c 2\n")), "a stale @2000, b stale @2000, c 2 @2000");
        target.cache.owe(Labels::from_pairs([("__name__", "a"), ("job", "j")]));
        target.cache.owe(Labels::from_pairs([("__name__", "b"), ("job", "j")]));
        assert_eq!(target.scrape(Some("a 3\nc 3\n")), "a 3 @3000, b stale @3000, c 3 @3000");
        assert_eq!(target.scrape(Some("a 4\nc 4\n")), "a 4 @4000, c 4 @4000");
    }

    #[test]
    fn label_limits_fail_the_scrape() {
        for (set, expected) in [
            (Rules { label_limit: 2, ..Rules::default() }, "more than label_limit 2"),
            (Rules { label_name_length_limit: 7, ..Rules::default() }, "label_name_length_limit 7"),
            (Rules { label_value_length_limit: 2, ..Rules::default() }, "label_value_length_limit 2"),
        ] {
            let labels = Labels::from_pairs([("__name__", "abc"), ("job", "j"), ("x", "y")]);
            assert!(set.check(&labels).unwrap_err().contains(expected));
        }
        assert!(Rules::default().check(&Labels::from_pairs([("a", "b")])).is_ok());
    }

    #[test]
    fn scrapes_of_one_target_never_share_a_time() {
        let mut cache = SeriesCache::default();
        let times: Vec<i64> = [100, 100, 50, 200].into_iter().map(|now| cache.begin(Timestamp(now)).0).collect();
        assert_eq!(times, [100, 101, 102, 200]);
    }
}
