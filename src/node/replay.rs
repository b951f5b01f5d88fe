//! Replay: series in memory through the dataflow into a store, without a log.
//!
//! For job tests: the same operators, commits and store as the running node, with log time taken from the samples.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::begin::{Begin, view_start};
use crate::compile::{OperatorsPlan, compile};
use crate::dataflow::{Dataflow, DataflowOptions, EpochBatch, FoldInput, RawRecord, ViewSet};
use crate::model::{Commit, Labels, PartitionBy, PartitionId, Partitioner, Sample, Timestamp};
use crate::plan::Catalog;
use crate::store::{Durability, Store};
use crate::wire::record::encode_record;

/// Folds series through the views of a catalog; every grid point up to the newest sample and the longest max_delay after
/// it is in the store then.
///
/// # Errors
/// When the workers cannot be started or the store fails.
pub fn replay(catalog: &Catalog, series: &[(Labels, Vec<Sample>)], store: &Store) -> Result<(), String> {
    super::stream::describe(store, catalog)?;
    let plan = Arc::new(compile(catalog, &OperatorsPlan::default()));
    let mut by_time: BTreeMap<Timestamp, Vec<(Labels, Vec<Sample>)>> = BTreeMap::new();
    for (labels, samples) in series {
        for sample in samples {
            by_time.entry(sample.t).or_default().push((labels.clone(), vec![*sample]));
        }
    }
    let (Some(first), Some(last)) = (by_time.keys().next().copied(), by_time.keys().next_back().copied()) else {
        return Ok(());
    };
    let begin = Begin { log_time: first, complete: true };
    let starts = plan.live().map(|planned| view_start(planned, None, &begin, &mut Vec::new())).collect();
    let end = last + plan.max_delay_ms_max * 2 + plan.reach_ms_max;
    let mut inputs = vec![FoldInput::Views(Arc::new(ViewSet { plan, starts, ends: Vec::new() }))];
    inputs.extend(by_time.into_iter().map(|(t, series)| record(t, Bytes::from(encode_record("", "test", &series)))));
    inputs.push(record(end, Bytes::new()));
    let partitioner = Partitioner::new(PartitionBy::default(), 1);
    let options = DataflowOptions { threads: 1, partitioner, senders: Vec::new(), new_senders_uncover: false };
    let mut dataflow = Dataflow::start(options)?;
    dataflow.feed(EpochBatch { inputs })?;
    let output = dataflow.outputs().recv().map_err(|_| "the dataflow has stopped".to_owned())?;
    let commit = Commit {
        results: output.results,
        final_to: output.final_to,
        covered_from: output.covered_from,
        spans: output.spans,
        ..Commit::default()
    };
    store.apply(&commit, Durability::Later).map_err(|error| error.to_string())
}

fn record(log_time: Timestamp, payload: Bytes) -> FoldInput {
    FoldInput::Record(RawRecord { partition: PartitionId(0), log_time, payload })
}
