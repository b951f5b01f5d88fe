//! A cluster's topics, tables and groups in Kafka, opened for who works with them.

use std::sync::Arc;

use super::cluster::{ClusterNames, check_retention, replica_name};
use super::config::{Config, KafkaLogConfig, NewSenders};
use super::following::Following;
use super::in_force::JobsInForce;
use super::job_sets::Sets;
use super::jobs::LoadedJobs;
use super::open_log::kafka_options;
use super::roles::WorkerOptions;
use super::stream::StreamStatus;
use super::worker::{Checkpoint, Topics, Worker};
use crate::log::KafkaLog;
use crate::log::kafka::{KafkaOpenError, KafkaOptions, KafkaStream, KafkaTable, Membership, StreamOptions, TableOptions};
use crate::log::topics::{Stream, Table};
use crate::model::PartitionId;
use crate::store::Store;

/// Where the brokers are, what things are called there, and what is asked of them.
struct Cluster<'c> {
    kafka: &'c KafkaLogConfig,
    names: ClusterNames,
    connection: KafkaOptions,
}

impl Cluster<'_> {
    fn of(config: &Config) -> Result<Cluster<'_>, String> {
        let kafka = config.log.kafka.as_ref().ok_or("log.kafka is missing: a cluster is joined by Kafka")?;
        let (names, connection) = (ClusterNames::of(kafka), kafka_options(config, kafka)?);
        Ok(Cluster { kafka, names, connection })
    }

    /// `partitions` is where partials and results have as many.
    fn stream(&self, topic: String, retention_ms: i64) -> Result<Arc<KafkaStream>, String> {
        let partitions = self.kafka.partials_partitions;
        let options = StreamOptions { connection: self.connection.clone(), topic, partitions, retention_ms };
        KafkaStream::open(options).map(Arc::new).map_err(say)
    }

    fn table(&self, topic: String) -> Result<Arc<KafkaTable>, String> {
        let options = TableOptions { connection: self.connection.clone(), topic };
        KafkaTable::open(options).map(Arc::new).map_err(say)
    }

    fn group(&self, group: &str, topic: &str) -> Result<Arc<Membership>, String> {
        let session_timeout = self.kafka.session_timeout.std();
        Membership::join(&self.connection, group, topic, session_timeout).map(Arc::new).map_err(say)
    }

    fn results(&self) -> Result<Arc<KafkaStream>, String> {
        self.stream(self.names.results(), self.kafka.results_retention.0)
    }
}

fn say(error: KafkaOpenError) -> String {
    error.to_string()
}

/// Which samples the positions are of, as far as there are any.
fn known_samples(positions: &dyn Table, homes: u16) -> Option<u128> {
    let checkpoints = (0..homes).filter_map(|home| Checkpoint::read(positions, PartitionId(home)));
    checkpoints.filter_map(|checkpoint| u128::from_str_radix(&checkpoint.samples, 16).ok()).next()
}

/// Opens what a worker needs, proposes its jobs where none stand yet, and starts it.
///
/// # Errors
/// What could not be opened, and what to do.
pub fn worker(
    config: &Config,
    proposed: &LoadedJobs,
    options: WorkerOptions,
    jobs: &Arc<JobsInForce>,
    status: &Arc<StreamStatus>,
) -> Result<Worker, String> {
    check_retention(config, proposed)?;
    let cluster = Cluster::of(config)?;
    let (names, connection) = (&cluster.names, &cluster.connection);
    let partials = cluster.stream(names.partials(), cluster.kafka.retention.0)?;
    let results = cluster.results()?;
    if results.partitions() != partials.partitions() {
        return Err(format!(
            "topic {} has {} partitions and {} has {}: they must have as many; make one of them anew",
            names.partials(),
            partials.partitions(),
            names.results(),
            results.partitions()
        ));
    }
    let positions = cluster.table(names.positions())?;
    let known_incarnation = known_samples(&*positions, partials.partitions());
    let samples = KafkaLog::open(KafkaOptions { known_incarnation, appends: false, ..connection.clone() }).map_err(say)?;
    let table = cluster.table(names.jobs())?;
    let sets = Arc::new(Sets::new(Arc::clone(&table) as Arc<dyn Table>, Arc::clone(jobs)));
    let name = worker_name();
    sets.propose_first(proposed, &name, options.force)?;
    sets.follow();
    let topics = Topics {
        jobs: table,
        senders: cluster.table(names.senders())?,
        folders: cluster.group(&names.fold_group(), &connection.topic)?,
        combiners: cluster.group(&names.combine_group(), &names.partials())?,
        samples: Arc::new(samples),
        partials: partials as Arc<dyn Stream>,
        results,
        positions,
    };
    let uncover = config.ingest.new_senders == NewSenders::Uncover;
    Worker::start(topics, sets, name, (options.threads, uncover), Arc::clone(status))
}

/// Opens what a query replica needs, and starts to follow.
///
/// # Errors
/// What could not be opened, and what to do.
pub fn replica(
    config: &Config,
    store: &Arc<Store>,
    jobs: &Arc<JobsInForce>,
    status: &Arc<StreamStatus>,
) -> Result<Following, String> {
    let cluster = Cluster::of(config)?;
    let results = cluster.results()?;
    let sets = Arc::new(Sets::new(cluster.table(cluster.names.jobs())?, Arc::clone(jobs)));
    sets.follow();
    let name = replica_name(cluster.kafka)?;
    let group = cluster.group(&cluster.names.query_group(&name), &cluster.names.results())?;
    Following::start(results, Arc::clone(store), sets, group, Arc::clone(status))
}

/// As which a worker proposes jobs: host and process.
fn worker_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}/{}", host.trim(), std::process::id())
}
