//! Filter: a record becomes the points of series that some view selects.
//!
//! In: raw records of a partition, in log order. Out: one [`Filtered`] per record, at once. Keeps: per series of the
//! partition its id, dense number and when it was last seen (96 bytes; live series, evicted when idle); labels are parsed
//! only of a series not seen before, or seen before the views changed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use smol_str::SmolStr;

use super::known_series::{Entry, FOREIGN, KnownSeries, UNSELECTED, is_numbered};
use super::message::{Filtered, Introduced, Point, RawRecord, SenderIndex, SeriesIndex, ViewSet};
use super::refusals::{self, uncovered_around};
use super::selectors::SelectorLookup;
use crate::compile::{FUTURE_MS, OperatorsPlan};
use crate::model::{Labels, LogTime, PartitionId, Partitioner, SenderSeen, SeriesId, SpanReason, Tenant, Timestamp};
use crate::wire::record::{Record, RecordBuffers, RecordSeries};

/// How often idle series are looked for, in log time.
const SWEEP_MS: i64 = 60_000;

/// The state of one partition.
pub struct Filter {
    partition: PartitionId,
    /// Which series belong here.
    partitioner: Partitioner,
    plan: Arc<OperatorsPlan>,
    lookup: SelectorLookup,
    known: KnownSeries,
    /// Numbers given back by evicted series.
    free: Vec<SeriesIndex>,
    next: u32,
    /// Senders of this partition, numbered; as many as ever wrote to it since the start.
    senders: HashMap<(Tenant, SmolStr), SenderIndex>,
    /// Those of whom a record with samples was seen, in the commit that is resumed too.
    sighted: HashSet<(Tenant, SmolStr)>,
    log_time: LogTime,
    swept: LogTime,
    /// What the record before was parsed into.
    buffers: RecordBuffers,
}

impl Filter {
    /// `known` are the senders of the commit that is resumed, of all partitions.
    pub fn new(partition: PartitionId, partitioner: Partitioner, known: &[SenderSeen]) -> Filter {
        let mine = known.iter().filter(|seen| seen.partition == partition);
        Filter {
            partition,
            partitioner,
            plan: Arc::default(),
            lookup: SelectorLookup::default(),
            known: KnownSeries::default(),
            free: Vec::new(),
            next: 0,
            senders: HashMap::new(),
            sighted: mine.map(|seen| (seen.tenant.clone(), seen.sender.clone())).collect(),
            log_time: Timestamp::MIN,
            swept: Timestamp::MIN,
            buffers: RecordBuffers::default(),
        }
    }

    /// Takes over a new set of views; series are looked up anew as they come.
    pub fn views(&mut self, set: &Arc<ViewSet>) -> Filtered {
        self.plan = Arc::clone(&set.plan);
        self.lookup = SelectorLookup::new(&self.plan);
        Filtered { views: Some(Arc::clone(set)), ..self.empty(self.log_time) }
    }

    /// Everything between two log times may be missing.
    pub fn lost(&mut self, from: LogTime, to: LogTime) -> Filtered {
        let uncovers = uncovered_around(&self.plan, None, SpanReason::Gap, from, to);
        Filtered { uncovers, ..self.empty(self.log_time) }
    }

    /// One record. What cannot be decoded is skipped and uncovers every view.
    pub fn record(&mut self, raw: &RawRecord) -> Filtered {
        self.log_time = self.log_time.max(raw.log_time);
        let mut out = self.empty(self.log_time);
        if !raw.payload.is_empty() {
            match Record::parse_with(&raw.payload, std::mem::take(&mut self.buffers)) {
                Ok(record) => {
                    self.decoded(&record, &mut out);
                    self.buffers = record.into_buffers();
                }
                Err(_) => self.skip(&mut out),
            }
        }
        if self.log_time - self.swept >= SWEEP_MS {
            self.sweep(&mut out);
        }
        out
    }

    fn empty(&self, log_time: LogTime) -> Filtered {
        Filtered { partition: self.partition, log_time, ..Filtered::default() }
    }

    fn decoded(&mut self, record: &Record<'_>, out: &mut Filtered) {
        let tenant = Tenant::from(record.tenant());
        (out.sender, out.sender_named) = self.sender(&tenant, record.sender());
        let (mut first, ahead) = (Timestamp::MAX, self.log_time + FUTURE_MS);
        out.points.reserve_exact(record.sample_count());
        for series in record.series() {
            let index = self.lookup_series(&tenant, &series, out);
            for sample in series.samples() {
                first = first.min(sample.t);
                out.read.samples += 1;
                if sample.t <= ahead {
                    out.read.newest = out.read.newest.max(sample.t);
                }
                if is_numbered(index) {
                    out.points.push(Point { series: index, t: sample.t, v: sample.v });
                }
            }
        }
        let (plan, lookup) = (&self.plan, &self.lookup);
        refusals::uncover(record, &tenant, self.log_time, plan, lookup, &mut out.uncovers);
        if first != Timestamp::MAX {
            out.sender_seen = self.sighting(tenant, record.sender(), first);
        }
    }

    /// The sender's number, and its name when the number is new.
    fn sender(&mut self, tenant: &Tenant, sender: &str) -> (SenderIndex, Option<(Tenant, SmolStr)>) {
        let key = (tenant.clone(), SmolStr::from(sender));
        if let Some(known) = self.senders.get(&key) {
            return (*known, None);
        }
        let next = SenderIndex(self.senders.len() as u32);
        self.senders.insert(key.clone(), next);
        (next, Some(key))
    }

    /// Said once per sender: `first` is the least sample time of its first record with samples.
    fn sighting(&mut self, tenant: Tenant, sender: &str, first: Timestamp) -> Option<SenderSeen> {
        let key = (tenant, SmolStr::from(sender));
        if self.sighted.contains(&key) {
            return None;
        }
        self.sighted.insert(key.clone());
        let (partition, log_time) = (self.partition, self.log_time);
        Some(SenderSeen { tenant: key.0, sender: key.1, partition, first, log_time })
    }

    fn lookup_series(&mut self, tenant: &Tenant, series: &RecordSeries<'_, '_>, out: &mut Filtered) -> SeriesIndex {
        let generation = self.plan.generation;
        let log_time = self.log_time;
        if let Some(entry) = self.known.find(series.id) {
            entry.last_seen = log_time;
            match entry.series {
                FOREIGN => {
                    self.skip(out);
                    return UNSELECTED;
                }
                series if entry.generation == generation => return series,
                _ => {}
            }
        }
        let Ok(labels) = series.labels() else {
            self.skip(out);
            return UNSELECTED;
        };
        // A series of another partition was put here by somebody else, or by a gateway with another log.partition_by: its
        // samples there and here have no order.
        if self.partitioner.partition(tenant, series.id, &labels) != self.partition.0 {
            self.known.keep(Entry { id: series.id, series: FOREIGN, generation, last_seen: log_time });
            self.skip(out);
            return UNSELECTED;
        }
        self.introduce(tenant, series.id, labels, out)
    }

    /// Something cannot be used: whose samples it had cannot be known any more, so every view is uncovered, once a record.
    fn skip(&self, out: &mut Filtered) {
        if out.read.skipped == 0 {
            out.uncovers.extend(uncovered_around(&self.plan, None, SpanReason::Gap, self.log_time, self.log_time));
        }
        out.read.skipped += 1;
    }

    fn introduce(&mut self, tenant: &Tenant, id: SeriesId, labels: Labels, out: &mut Filtered) -> SeriesIndex {
        let selectors = self.lookup.of(&self.plan, tenant, &labels);
        let known = self.known.find(id).map(|entry| entry.series).filter(|series| *series != UNSELECTED);
        let series = match (known, selectors.is_empty()) {
            (Some(series), _) => series,
            (None, true) => UNSELECTED,
            (None, false) => self.number(),
        };
        self.known.keep(Entry { id, series, generation: self.plan.generation, last_seen: self.log_time });
        if series != UNSELECTED {
            out.introduced.push(Introduced { series, id, labels, selectors });
        }
        series
    }

    fn number(&mut self) -> SeriesIndex {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            SeriesIndex(self.next - 1)
        })
    }

    /// Forgets the series that no window, lookback or resume can still need.
    fn sweep(&mut self, out: &mut Filtered) {
        self.swept = self.log_time;
        let horizon = self.log_time - (self.plan.reach_ms_max + self.plan.max_delay_ms_max + FUTURE_MS);
        self.known.forget(horizon, &mut out.evicted);
        self.free.extend(out.evicted.iter().rev());
        if self.known.is_sparse() {
            self.known.shrink();
            self.free.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::compile::compile;
    use crate::model::{PartitionBy, Sample};
    use crate::plan::Catalog;
    use crate::plan::spec::{ReadOptions, read_job};
    use crate::wire::record::encode_record;

    fn hashed(partitions: u16) -> Partitioner {
        Partitioner::new(PartitionBy::default(), partitions)
    }

    fn filtered(filter: &mut Filter, log_time: i64, sender: &str, times: &[i64]) -> Filtered {
        let samples: Vec<Sample> = times.iter().map(|t| Sample { t: Timestamp(*t), v: 1.0 }).collect();
        let series = if samples.is_empty() { vec![] } else { vec![(Labels::from_pairs([("__name__", "x")]), samples)] };
        let payload = Bytes::from(encode_record("", sender, &series));
        filter.record(&RawRecord { partition: PartitionId(0), log_time: Timestamp(log_time), payload })
    }

    #[test]
    fn memory_of_series_that_ended_is_given_back() {
        let mut filter = Filter::new(PartitionId(0), hashed(1), &[]);
        let mut write = |seconds: i64, names: std::ops::Range<u32>| {
            let samples = vec![Sample { t: Timestamp(seconds * 1000), v: 1.0 }];
            let series: Vec<_> =
                names.map(|n| (Labels::from_pairs([("__name__", n.to_string())]), samples.clone())).collect();
            let payload = Bytes::from(encode_record("", "s", &series));
            filter.record(&RawRecord { partition: PartitionId(0), log_time: Timestamp(seconds * 1000), payload });
            filter.known.sizes()
        };
        assert_eq!(write(0, 0..1000), (1000, 1000, 0));
        assert_eq!(write(10_000, 990..1010), (20, 20, 0), "those that are alive, old and new");
        assert_eq!(write(10_001, 1005..1015), (25, 25, 0), "and each is found again");
        assert!(filter.known.capacity() < 200);
    }

    #[test]
    fn a_sender_is_sighted_with_its_first_samples_and_never_again() {
        let known = SenderSeen {
            tenant: Tenant::default(),
            sender: "resumed".into(),
            partition: PartitionId(0),
            first: Timestamp(1),
            log_time: Timestamp(2),
        };
        let elsewhere = SenderSeen { sender: "other".into(), partition: PartitionId(1), ..known.clone() };
        let mut filter = Filter::new(PartitionId(0), hashed(1), &[known, elsewhere]);
        let sighted =
            |filtered: Filtered| filtered.sender_seen.map(|seen| (seen.sender.to_string(), seen.first.0, seen.log_time.0));
        // What it wrote first was refused: it is named, and new with its first samples.
        let first = filtered(&mut filter, 10, "s", &[]);
        assert_eq!(first.sender_named, Some((Tenant::default(), "s".into())));
        assert_eq!(sighted(first), None);
        let second = filtered(&mut filter, 20, "s", &[19, 7]);
        assert_eq!(second.sender_named, None);
        assert_eq!(sighted(second), Some(("s".to_owned(), 7, 20)));
        assert_eq!(sighted(filtered(&mut filter, 30, "s", &[5])), None);
        assert_eq!(sighted(filtered(&mut filter, 40, "resumed", &[0])), None);
        assert_eq!(sighted(filtered(&mut filter, 50, "other", &[48])), Some(("other".to_owned(), 48, 50)));
    }

    #[test]
    fn what_is_no_record_and_what_belongs_elsewhere_is_skipped_and_counted() {
        let labels = Labels::from_pairs([("__name__", "x")]);
        let home = labels.series_id("").partition(2);
        let payload = Bytes::from(encode_record("", "s", &[(labels, vec![Sample { t: Timestamp(1), v: 1.0 }])]));
        let skipped = |partition: u16, payload: &Bytes| {
            let mut filter = Filter::new(PartitionId(partition), hashed(2), &[]);
            let payload = payload.clone();
            let read = filter.record(&RawRecord { partition: PartitionId(partition), log_time: Timestamp(5), payload }).read;
            (read.skipped, read.samples)
        };
        assert_eq!(skipped(home, &payload), (0, 1));
        assert_eq!(skipped(1 - home, &payload), (1, 1));
        assert_eq!(skipped(home, &Bytes::from_static(b"no record")), (1, 0));
        assert_eq!(skipped(home, &Bytes::new()), (0, 0), "a tick");
    }

    /// Put there by a gateway with another log.partition_by: each time it comes, whatever the views, and once a record.
    #[test]
    fn series_of_another_partition_by_are_skipped_and_uncover() {
        let by = |names: &[&str]| Partitioner::new(PartitionBy::new(names.iter().copied()), 2);
        let (hashed, by_job) = (by(&[]), by(&["job"]));
        let labels = (0..100).map(|n| Labels::from_pairs([("__name__", "x".to_owned()), ("job", format!("{n}"))]));
        let partition = |partitioner: &Partitioner, labels: &Labels| partitioner.partition("", labels.series_id(""), labels);
        let (here, moved): (Vec<Labels>, Vec<Labels>) =
            labels.filter(|labels| partition(&by_job, labels) == 0).partition(|labels| partition(&hashed, labels) == 0);
        assert!(here.len() > 10 && moved.len() > 10);
        let mut filter = Filter::new(PartitionId(0), hashed, &[]);
        let job = r#"{ "name": "one", "rules": [{ "expr": "sum(count_over_time(x[1m]))", "step": "1m" }]}"#;
        let job = read_job("one.json".as_ref(), job, &ReadOptions::default()).unwrap();
        let plan = Arc::new(compile(&Catalog::new(&[job]), &OperatorsPlan::default()));
        filter.views(&Arc::new(ViewSet { plan, starts: Vec::new(), ends: Vec::new() }));
        for turn in 0..3 {
            let samples = vec![Sample { t: Timestamp(turn), v: 1.0 }];
            let series: Vec<_> = here.iter().chain(&moved).map(|labels| (labels.clone(), samples.clone())).collect();
            let payload = Bytes::from(encode_record("", "s", &series));
            let out = filter.record(&RawRecord { partition: PartitionId(0), log_time: Timestamp(turn), payload });
            assert_eq!((out.points.len(), out.read.skipped as usize), (here.len(), moved.len()), "turn {turn}");
            assert_eq!(out.uncovers.iter().filter(|one| one.reason == SpanReason::Gap).count(), 1);
        }
    }
}
