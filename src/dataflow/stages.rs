//! The operators of a partition as stages of the dataflow: each holds the state of the partitions that are its worker's.
//!
//! What an operator does stands in its own file and knows nothing of timely; here it is given what comes and gives on what
//! it makes. State belongs to a partition: it begins anew when the partition does, and goes with it.

use std::collections::BTreeMap;

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::aggregate::{Aggregate, Route};
use super::filter::Filter;
use super::message::{Filtered, FoldInput, Partitioned, ToCombine, Windowed};
use super::partition::Partition;
use super::progress::Epoch;
use super::render::DataflowOptions;
use super::window::Windows;
use crate::model::{LogTime, PartitionId};

/// Per partition one state, made when its first message comes.
struct ByPartition<S>(BTreeMap<PartitionId, S>);

impl<S> ByPartition<S> {
    fn new() -> ByPartition<S> {
        ByPartition(BTreeMap::new())
    }
    /// `fresh`: what was there is not of this one.
    fn of(&mut self, partition: PartitionId, fresh: bool) -> &mut S
    where
        S: Default,
    {
        if fresh {
            self.0.remove(&partition);
        }
        self.0.entry(partition).or_default()
    }
}

/// Filters each record by the state of its partition. Partitions that are listed are there from the beginning.
pub(super) fn filter<'s>(
    records: StreamVec<'s, Epoch, FoldInput>,
    partitions: &[PartitionId],
    options: &DataflowOptions,
) -> StreamVec<'s, Epoch, Filtered> {
    let new = |partition: &PartitionId| (*partition, Filter::new(*partition, options.partitioner.clone(), &options.senders));
    let mut filters: BTreeMap<PartitionId, Filter> = partitions.iter().map(new).collect();
    let partitioner = options.partitioner.clone();
    records.unary(Pipeline, "filter", move |_, _| {
        move |input, output| {
            input.for_each(|time, inputs: &mut Vec<FoldInput>| {
                let mut session = output.session(&time);
                for input in inputs.drain(..) {
                    match &input {
                        FoldInput::Begin { partition, set, senders } => {
                            let filter = Filter::new(*partition, partitioner.clone(), senders);
                            let filter = filters.entry(*partition).insert_entry(filter).into_mut();
                            session.give(Filtered { fresh: true, ..filter.views(set) });
                        }
                        FoldInput::ViewsOf { partition, set } => {
                            if let Some(filter) = filters.get_mut(partition) {
                                session.give(filter.views(set));
                            }
                        }
                        FoldInput::End { partition } => {
                            filters.remove(partition);
                            session.give(Filtered { partition: *partition, fresh: true, ..Filtered::default() });
                        }
                        FoldInput::Views(set) => filters.values_mut().for_each(|filter| session.give(filter.views(set))),
                        FoldInput::Record(record) => {
                            if let Some(filter) = filters.get_mut(&record.partition) {
                                session.give(filter.record(record));
                            }
                        }
                        FoldInput::Lost { partition, from, to } => {
                            if let Some(filter) = filters.get_mut(partition) {
                                session.give(filter.lost(*from, *to));
                            }
                        }
                    }
                }
            });
        }
    })
}

pub(super) fn partition<'s>(filtered: StreamVec<'s, Epoch, Filtered>) -> StreamVec<'s, Epoch, Partitioned> {
    let mut states = ByPartition::<Partition>::new();
    filtered.unary(Pipeline, "partition", move |_, _| {
        move |input, output| {
            input.for_each(|time, records: &mut Vec<Filtered>| {
                let mut session = output.session(&time);
                records.drain(..).for_each(|record| session.give(states.of(record.partition, record.fresh).record(record)));
            });
        }
    })
}

pub(super) fn window<'s>(partitioned: StreamVec<'s, Epoch, Partitioned>) -> StreamVec<'s, Epoch, Windowed> {
    let mut states = ByPartition::<Windows>::new();
    partitioned.unary(Pipeline, "window", move |_, _| {
        move |input, output| {
            input.for_each(|time, records: &mut Vec<Partitioned>| {
                let mut session = output.session(&time);
                records.drain(..).for_each(|record| session.give(states.of(record.partition, record.fresh).record(record)));
            });
        }
    })
}

/// The partials of each record, and to every worker how far log time has come.
pub(super) fn aggregate<'s>(
    windowed: StreamVec<'s, Epoch, Windowed>,
    own: u64,
    workers: u64,
) -> StreamVec<'s, Epoch, (Route, ToCombine)> {
    let mut states = ByPartition::<Aggregate>::new();
    let mut marked: BTreeMap<PartitionId, LogTime> = BTreeMap::new();
    windowed.unary(Pipeline, "aggregate", move |_, _| {
        move |input, output| {
            input.for_each(|time, records: &mut Vec<Windowed>| {
                let mut session = output.session(&time);
                for record in records.drain(..) {
                    let (partition, log_time) = (record.partition, record.log_time);
                    states.of(partition, record.fresh).record(record, own, workers, &mut |route, message| {
                        session.give((route, message));
                    });
                    if marked.insert(partition, log_time) != Some(log_time) {
                        let mark = ToCombine::Mark { partition, log_time };
                        (0..workers).for_each(|worker| session.give((Route::Worker(worker), mark.clone())));
                    }
                }
            });
        }
    })
}

/// As aggregate, for another process to combine: whose partition's each message is, and no routes.
pub(super) fn partials<'s>(windowed: StreamVec<'s, Epoch, Windowed>) -> StreamVec<'s, Epoch, (PartitionId, ToCombine)> {
    let mut states = ByPartition::<Aggregate>::new();
    windowed.unary(Pipeline, "aggregate", move |_, _| {
        move |input, output| {
            input.for_each(|time, records: &mut Vec<Windowed>| {
                let mut session = output.session(&time);
                for record in records.drain(..) {
                    let partition = record.partition;
                    states.of(partition, record.fresh).record(record, 0, 1, &mut |_, message| {
                        if !matches!(message, ToCombine::Views(_)) {
                            session.give((partition, message));
                        }
                    });
                }
            });
        }
    })
}
