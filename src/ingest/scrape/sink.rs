//! Where a scrape goes, and who is told about it.

use smol_str::SmolStr;
use tokio::sync::oneshot;

use super::failure::FailureReason;
use crate::model::{Labels, Sample, Tenant};

/// What one scrape of one target gave.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleBatch {
    pub tenant: Tenant,
    /// `scrape:` and the job's name.
    pub sender: SmolStr,
    /// Bounded by the target's limits, plus a marker for each series that ended and five report series.
    pub series: Vec<(Labels, Sample)>,
}

/// Takes batches; in the node, the gateway before the log.
///
/// - **Acknowledged means durable.** `Ok` is sent once every sample of the batch is in the log.
/// - **Twice is once.** A batch that was refused is delivered again, so a sink must bear a part of it coming twice.
/// - **Does not block.** `deliver` is called on an async task; it queues within a bound, or answers with an error.
pub trait SampleSink: Send + Sync {
    /// The answer comes through the receiver; a dropped sender counts as an error.
    fn deliver(&self, batch: SampleBatch) -> oneshot::Receiver<Result<(), String>>;
}

/// What became of one scrape, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ScrapeOutcome {
    /// Why it failed; `None` when the target is up.
    pub failure: Option<FailureReason>,
    /// Samples in the exposition.
    pub samples: u64,
    /// After decompression.
    pub body_bytes: u64,
    pub duration_seconds: f64,
    /// Refused by the name `exemplars`: none is kept.
    pub exemplars: u64,
    /// Refused by the name `duplicates`: a second sample of one series at one time.
    pub duplicates: u64,
}

/// Is told of scrapes; in the node, counters.
pub trait ScrapeObserver: Send + Sync {
    /// After each scrape, failed ones too.
    fn scraped(&self, job: &str, outcome: &ScrapeOutcome);

    /// After each delivery that failed; `lost` when the batch is not tried again.
    fn delivery_failed(&self, job: &str, lost: bool);
}
