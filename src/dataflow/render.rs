//! Renders the dataflow on timely's workers, and feeds it.
//!
//! One caller feeds epochs; every worker gets every epoch, with the records of the partitions it owns (partition modulo
//! workers). Outputs come back on one bounded channel, one per worker and epoch.

use std::thread::Thread;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use timely::communication::WorkerGuards;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::{InputHandle, StreamVec};
use timely::worker::Worker;

use super::aggregate::Route;
use super::combine::Combine;
use super::message::{EpochOutput, FoldInput, FoldOutput, RawRecord, ToCombine};
use super::progress::{Epoch, EpochStash};
use super::stages::{aggregate, filter, partials, partition, window};
use crate::model::{PartitionId, Partitioner, SenderSeen};

/// How many epochs may be on their way into a worker: enough to keep it busy, few enough to bound memory.
const EPOCHS_QUEUED_MAX: usize = 4;

/// How long an idle worker sleeps at most before it looks again; it is woken when there is something.
const IDLE: std::time::Duration = std::time::Duration::from_millis(100);

/// What a dataflow is made with.
#[derive(Clone, Debug)]
pub struct DataflowOptions {
    pub threads: usize,
    /// How many partitions the log has, and which series belong in which.
    pub partitioner: Partitioner,
    /// Senders of the commit that is resumed.
    pub senders: Vec<SenderSeen>,
    pub new_senders_uncover: bool,
}

/// The inputs of one epoch.
#[derive(Clone, Debug, Default)]
pub struct EpochBatch {
    pub inputs: Vec<FoldInput>,
}

/// A running dataflow. Dropping it stops the workers; nothing half-done is given out.
pub struct Dataflow<O = EpochOutput> {
    feeds: Vec<Sender<WorkerBatch>>,
    threads: Vec<Thread>,
    outputs: Receiver<O>,
    next: Epoch,
    /// Held for its drop, which joins the workers.
    guards: Option<WorkerGuards<()>>,
}

type WorkerBatch = (Epoch, Vec<FoldInput>);

type Input = InputHandle<Epoch, CapacityContainerBuilder<Vec<FoldInput>>>;

impl Dataflow {
    /// From records to closed epochs of results.
    ///
    /// # Errors
    /// When the worker threads cannot be started.
    pub fn start(options: DataflowOptions) -> Result<Dataflow, String> {
        Dataflow::of(options, build)
    }
}

impl Dataflow<FoldOutput> {
    /// From records to what another process combines. Partitions come and go: none is there before its
    /// [`FoldInput::Begin`].
    ///
    /// # Errors
    /// When the worker threads cannot be started.
    pub fn start_fold(options: DataflowOptions) -> Result<Dataflow<FoldOutput>, String> {
        Dataflow::of(options, build_fold)
    }
}

impl<O: Send + 'static> Dataflow<O> {
    fn of(options: DataflowOptions, build: Build<O>) -> Result<Dataflow<O>, String> {
        let workers = options.threads.clamp(1, usize::from(options.partitioner.partitions()).max(1));
        let (out, outputs) = bounded(workers * EPOCHS_QUEUED_MAX * 4);
        let (named, names) = bounded(workers);
        let (feeds, takes): (Vec<_>, Vec<_>) = (0..workers).map(|_| bounded(EPOCHS_QUEUED_MAX)).unzip();
        let config = match workers {
            1 => timely::Config::thread(),
            _ => timely::Config::process(workers),
        };
        let guards = timely::execute(config, move |worker| {
            let index = worker.index();
            if named.send((index, std::thread::current())).is_ok() {
                run_worker(worker, &takes[index], out.clone(), &options, build);
            }
        })?;
        let mut threads: Vec<(usize, Thread)> = names.iter().take(workers).collect();
        threads.sort_by_key(|(index, _)| *index);
        let threads = threads.into_iter().map(|(_, thread)| thread).collect();
        Ok(Dataflow { feeds, threads, outputs, next: 0, guards: Some(guards) })
    }

    pub fn workers(&self) -> usize {
        self.feeds.len()
    }

    /// Feeds an epoch and gives its number. Blocks while the workers are busy with those before.
    ///
    /// # Errors
    /// When a worker has died.
    pub fn feed(&mut self, batch: EpochBatch) -> Result<Epoch, String> {
        let epoch = self.next;
        self.next += 1;
        for (worker, inputs) in self.split(batch).into_iter().enumerate() {
            self.feeds[worker].send((epoch, inputs)).map_err(|_| "a dataflow worker has stopped".to_owned())?;
            self.threads[worker].unpark();
        }
        Ok(epoch)
    }

    /// The records to the owners of their partitions, the views to everyone.
    fn split(&self, batch: EpochBatch) -> Vec<Vec<FoldInput>> {
        let mut by_worker: Vec<Vec<FoldInput>> = self.feeds.iter().map(|_| Vec::new()).collect();
        for input in batch.inputs {
            match &input {
                FoldInput::Views(_) => by_worker.iter_mut().for_each(|inputs| inputs.push(input.clone())),
                FoldInput::Record(RawRecord { partition, .. })
                | FoldInput::Begin { partition, .. }
                | FoldInput::ViewsOf { partition, .. }
                | FoldInput::End { partition }
                | FoldInput::Lost { partition, .. } => by_worker[owner(*partition, self.feeds.len())].push(input),
            }
        }
        by_worker
    }

    /// Where the closed epochs come out: one output per worker and epoch.
    pub fn outputs(&self) -> &Receiver<O> {
        &self.outputs
    }
}

impl<O> Drop for Dataflow<O> {
    fn drop(&mut self) {
        self.feeds.clear();
        // A worker that waits to give an output must find nobody there.
        let (_, nobody) = bounded(0);
        self.outputs = nobody;
        self.threads.iter().for_each(Thread::unpark);
        drop(self.guards.take());
    }
}

fn owner(partition: PartitionId, workers: usize) -> usize {
    usize::from(partition.0) % workers
}

/// Puts the operators on a worker.
type Build<O> = fn(&mut Worker, &mut Input, Sender<O>, &DataflowOptions);

fn run_worker<O>(
    worker: &mut Worker,
    feed: &Receiver<WorkerBatch>,
    out: Sender<O>,
    options: &DataflowOptions,
    build: Build<O>,
) {
    let mut input: Input = InputHandle::new();
    let dataflow = worker.next_dataflow_index();
    build(worker, &mut input, out, options);
    loop {
        match feed.try_recv() {
            Ok((epoch, mut inputs)) => {
                input.send_batch(&mut inputs);
                input.advance_to(epoch + 1);
                worker.step();
            }
            Err(TryRecvError::Empty) => {
                worker.step_or_park(Some(IDLE));
            }
            Err(TryRecvError::Disconnected) => break,
        }
    }
    // First the dataflow, then its input: a closed input would close epochs that other workers never saw.
    worker.drop_dataflow(dataflow);
}

fn build(worker: &mut Worker, input: &mut Input, out: Sender<EpochOutput>, options: &DataflowOptions) {
    let (own, workers) = (worker.index(), worker.peers());
    let partitions: Vec<PartitionId> = (0..options.partitioner.partitions())
        .map(PartitionId)
        .filter(|partition| owner(*partition, workers) == own)
        .collect();
    let combine =
        Combine::new((own, workers), options.partitioner.partitions(), &options.senders, options.new_senders_uncover);
    worker.dataflow::<Epoch, _, _>(|scope| {
        let records = input.to_stream(scope);
        let filtered = filter(records, &partitions, options);
        let partitioned = partition(filtered);
        let windowed = window(partitioned);
        let routed = aggregate(windowed, own as u64, workers as u64);
        combine_closed(routed, combine, out);
    });
}

fn build_fold(worker: &mut Worker, input: &mut Input, out: Sender<FoldOutput>, options: &DataflowOptions) {
    let own = worker.index();
    worker.dataflow::<Epoch, _, _>(|scope| {
        let filtered = filter(input.to_stream(scope), &[], options);
        let partials = partials(window(partition(filtered)));
        give_closed(partials, own, out);
    });
}

fn give_closed(messages: StreamVec<'_, Epoch, (PartitionId, ToCombine)>, worker: usize, out: Sender<FoldOutput>) {
    let mut stash: EpochStash<(PartitionId, ToCombine)> = EpochStash::new(0);
    messages.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "give", move |_, _| {
        move |(input, frontier), output| {
            input.for_each(|time, messages: &mut Vec<(PartitionId, ToCombine)>| {
                if let Some(capability) = time.retain_least(output.output_index()) {
                    let epoch = *capability.time();
                    stash.add(Some(capability), epoch, messages);
                }
            });
            for (epoch, messages) in stash.closed(frontier) {
                if out.send(FoldOutput { epoch, worker, messages }).is_err() {
                    return;
                }
            }
        }
    });
}

fn combine_closed(routed: StreamVec<'_, Epoch, (Route, ToCombine)>, mut combine: Combine, out: Sender<EpochOutput>) {
    let exchange = Exchange::new(|(route, _): &(Route, ToCombine)| route.worker());
    let mut stash: EpochStash<(Route, ToCombine)> = EpochStash::new(0);
    routed.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(exchange, "combine", move |_, _| {
        move |(input, frontier), output| {
            input.for_each(|time, messages: &mut Vec<(Route, ToCombine)>| {
                if let Some(capability) = time.retain_least(output.output_index()) {
                    let epoch = *capability.time();
                    stash.add(Some(capability), epoch, messages);
                }
            });
            for (epoch, messages) in stash.closed(frontier) {
                let messages = messages.into_iter().map(|(_, message)| message).collect();
                // Nobody there means the dataflow is being dropped.
                if out.send(combine.close(epoch, messages)).is_err() {
                    return;
                }
            }
        }
    });
}
