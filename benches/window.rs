//! Partition and window: log records through the whole dataflow on one thread, to results.
//!
//! Baseline: the plain loop of baseline.rs over points that are already dense and sorted.

use std::sync::Arc;

use bytes::Bytes;
use prefold::cli::workload::{BUCKETS, METHODS, SCRAPE_MS, Workload};
use prefold::compile::{OperatorsPlan, compile};
use prefold::dataflow::{Dataflow, DataflowOptions, EpochBatch, FoldInput, RawRecord, ViewSet, ViewStart};
use prefold::model::{Labels, PartitionBy, PartitionId, Partitioner, Sample, Timestamp};
use prefold::plan::Catalog;
use prefold::plan::spec::{ReadOptions, read_job};
use prefold::wire::record::encode_record;

use crate::baseline::{Loop, Point};
use crate::{Scale, cpu, report};

const START: Timestamp = Timestamp(1_700_000_010_000);
const SERIES_PER_RECORD: usize = 5_000;
const STEP_MS: i64 = 30_000;

pub fn run(scale: Scale) {
    let workload = Workload { series: scale.series, start: START };
    let labels: Vec<Labels> = (0..scale.series).map(|n| workload.labels(n)).collect();
    let samples: Vec<Vec<Sample>> = (0..scale.series).map(|n| workload.samples(n, scale.scrapes)).collect();
    let baseline = plain_loop(scale, &samples);
    let records = records(scale, &labels, &samples);
    let began = cpu::own();
    let results = fold(&records);
    let seconds = (cpu::own() - began).max(0.01);
    assert!(results > 0, "the bench must not skip the work");
    report("window", scale.series * scale.scrapes, seconds, ("a plain loop", baseline));
}

fn plain_loop(scale: Scale, samples: &[Vec<Sample>]) -> f64 {
    let group = |n: usize| (n % (METHODS * BUCKETS.len())) as u32;
    let mut plain = Loop::new((0..scale.series).map(group).collect(), 120_000);
    let began = cpu::own();
    let mut next = START.0 - START.0.rem_euclid(STEP_MS) + STEP_MS;
    let mut sum = 0.0;
    for scrape in 0..scale.scrapes {
        let now = samples.iter().map(|series| series[scrape]);
        for (n, Sample { t, v }) in now.enumerate() {
            plain.push(Point { series: n as u32, t, v });
        }
        while next + STEP_MS < START.0 + scrape as i64 * SCRAPE_MS {
            plain.evaluate(next);
            sum += plain.sums[0];
            next += STEP_MS;
        }
    }
    assert!(sum > 0.0, "the baseline must not skip the work");
    (scale.series * scale.scrapes) as f64 / (cpu::own() - began).max(0.01)
}

fn records(scale: Scale, labels: &[Labels], samples: &[Vec<Sample>]) -> Vec<RawRecord> {
    let mut records = Vec::new();
    // Samples are kept by series, and sent by scrape.
    #[allow(clippy::needless_range_loop)]
    for scrape in 0..scale.scrapes {
        let log_time = START + (scrape as i64 + 1) * SCRAPE_MS;
        for first in (0..scale.series).step_by(SERIES_PER_RECORD) {
            let numbers = first..(first + SERIES_PER_RECORD).min(scale.series);
            let of = |n: usize| (labels[n].clone(), vec![samples[n][scrape]]);
            let series: Vec<(Labels, Vec<Sample>)> = numbers.map(of).collect();
            let payload = Bytes::from(encode_record("", "bench", &series));
            records.push(RawRecord { partition: PartitionId(0), log_time, payload });
        }
    }
    records
}

/// Folds all records; gives the number of results.
fn fold(records: &[RawRecord]) -> usize {
    let job = include_str!("../jobs/account-grpc-latency.json");
    let job = read_job("account.json".as_ref(), job, &ReadOptions::default()).expect("shipped");
    let plan = Arc::new(compile(&Catalog::new(&[job]), &OperatorsPlan::default()));
    let starts = plan.live().map(|planned| ViewStart {
        slot: planned.slot,
        first: planned.view().grid().ceil(START),
        whole_from: START,
        last: Timestamp::MAX,
        coverage: prefold::dataflow::coverage::ViewCoverage::default(),
    });
    let set = Arc::new(ViewSet { starts: starts.collect(), plan: Arc::clone(&plan), ends: Vec::new() });
    let partitioner = Partitioner::new(PartitionBy::default(), 1);
    let options = DataflowOptions { threads: 1, partitioner, senders: Vec::new(), new_senders_uncover: false };
    let mut dataflow = Dataflow::start(options).expect("one thread can be started");
    let (mut results, mut owed) = (0, 0);
    let mut inputs = vec![FoldInput::Views(set)];
    for record in records {
        inputs.push(FoldInput::Record(record.clone()));
        dataflow.feed(EpochBatch { inputs: std::mem::take(&mut inputs) }).expect("the worker lives");
        owed += 1;
        while owed > 2 {
            results += dataflow.outputs().recv().expect("the worker lives").results.len();
            owed -= 1;
        }
    }
    while owed > 0 {
        results += dataflow.outputs().recv().expect("the worker lives").results.len();
        owed -= 1;
    }
    results
}
