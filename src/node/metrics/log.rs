//! The log, and how far it has been folded.

use std::sync::atomic::Ordering;

use super::{Family, Number, Values, counter, distribution, gauge, one};
use crate::model::{PartitionId, Timestamp};
use crate::node::ingest::Ingest;
use crate::node::stream::StreamStatus;

pub(super) fn families(Ingest { log, append_duration, .. }: &Ingest) -> Vec<Family> {
    let stats = log.stats();
    let oldest = (0..log.partitions()).map(|partition| log.extent(PartitionId(partition)).first_log_time);
    let mut families = vec![
        counter("prefold_log_appended_records", "Records made durable, ticks included.", one(stats.appended_records as f64)),
        counter(
            "prefold_log_appended_bytes",
            "Bytes written to the log: compressed where it is on this disk, before compression where it is in Kafka.",
            one(stats.appended_bytes as f64),
        ),
        gauge(
            "prefold_log_queued_bytes",
            "Bytes that wait to be appended; worry when it stays near the limit: senders are told to come again.",
            one(stats.queued_bytes as f64),
        ),
        counter(
            "prefold_log_append_failures",
            "Appends that failed; worry at any: senders were told to come again.",
            one(stats.append_failures as f64),
        ),
        distribution(
            "prefold_log_append_duration_seconds",
            "How long an append took until it was durable; worry when most take over a second: the disk or Kafka is too slow.",
            vec![(Vec::new(), Number::Distribution(append_duration.clone()))],
        ),
        gauge("prefold_log_partitions", "Partitions of the log.", one(f64::from(log.partitions()))),
        gauge(
            "prefold_log_oldest_timestamp_seconds",
            "The log time from which on every partition is whole; worry when windows plus downtime reach behind it.",
            one(seconds_of(oldest.max().unwrap_or(Timestamp::MIN))),
        ),
        gauge(
            "prefold_log_newest_timestamp_seconds",
            "The newest log time appended, of the first partition.",
            one(seconds_of(log.extent(PartitionId(0)).newest_log_time)),
        ),
    ];
    if let Some(disk) = stats.disk {
        families.push(gauge("prefold_log_bytes", "What the log takes on the disk.", one(disk.bytes as f64)));
        families.push(counter(
            "prefold_log_syncs",
            "Syncs of the log; appends per sync is how well group commit works.",
            one(disk.syncs as f64),
        ));
    }
    families
}

/// How far what is in the log was folded.
pub(super) fn folded(status: &StreamStatus) -> Vec<Family> {
    vec![
        gauge(
            "prefold_replay_remaining_records",
            "Records of the log not yet folded; worry when it grows for minutes.",
            one(status.records_ahead.load(Ordering::Relaxed) as f64),
        ),
        counter(
            "prefold_fold_samples",
            "Samples read from the log; worry when it stands still while prefold_ingest_samples_total grows.",
            one(status.folded.samples() as f64),
        ),
        counter(
            "prefold_fold_skipped",
            "Records and series of the log that cannot be used, not decodable or in the wrong partition; worry at any: \
             somebody else writes to the log, or with another log.partition_by, and every view was uncovered around them.",
            one(status.folded.skipped() as f64),
        ),
        gauge(
            "prefold_sender_progress_timestamp_seconds",
            "The newest sample of a sender that was folded, for the first 200 senders; worry when it lags the clock by minutes.",
            sender_progress(status),
        ),
        gauge(
            "prefold_log_time_timestamp_seconds",
            "Log time that has been folded; worry when it lags the clock.",
            one(status.log_time.load(Ordering::Relaxed) as f64 / 1000.0),
        ),
    ]
}

fn seconds_of(t: Timestamp) -> f64 {
    if t == Timestamp::MIN { 0.0 } else { t.seconds() }
}

fn sender_progress(status: &StreamStatus) -> Values {
    let senders = status.folded.senders();
    let label = |tenant: &str, sender: &str| match tenant {
        "" => vec![("sender", sender.to_owned())],
        tenant => vec![("sender", sender.to_owned()), ("tenant", tenant.to_owned())],
    };
    senders.iter().map(|((tenant, sender), newest)| (label(tenant, sender), newest.seconds().into())).collect()
}
