//! What travels along the dataflow's edges.
//!
//! Labels appear only until a series' groups are known; from there on a point is (dense series number, time, value), and
//! what crosses between workers is one partial per view, group and grid point.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::coverage::ViewCoverage;
use super::status::Status;
use crate::compile::{OperatorsPlan, ViewSlot};
use crate::model::commit::FIELDS_MAX;
use crate::model::{
    GroupLabels, Labels, LogTime, PartitionId, ResultPoint, STALE_NAN, SenderSeen, SeriesId, SpanReason, Tenant, Timestamp,
    Uncover, ViewId,
};

/// A set of views coming into force, in epoch order.
#[derive(Debug)]
pub struct ViewSet {
    pub plan: Arc<OperatorsPlan>,
    /// Where the views that are new in this set begin.
    pub starts: Vec<ViewStart>,
    /// The last grid points of views that are catching up and join another dataflow after them.
    pub ends: Vec<(ViewSlot, Timestamp)>,
}

/// Where a view begins in this dataflow, and where it ends when it is only catching up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewStart {
    pub slot: ViewSlot,
    /// The first grid point to emit.
    pub first: Timestamp,
    /// Grid points before this are emitted but uncovered (`new-view`): their windows reach back before the log's beginning.
    pub whole_from: Timestamp,
    /// The last grid point to emit; `Timestamp::MAX` for a view that stays.
    pub last: Timestamp,
    /// As whoever had the view before left it.
    pub coverage: ViewCoverage,
}

/// What enters the dataflow on the worker that owns the partition.
#[derive(Clone, Debug)]
pub enum FoldInput {
    Record(RawRecord),
    /// Sent to every worker at the same epoch.
    Views(Arc<ViewSet>),
    /// A partition comes: its state begins anew, with these views. `senders` are known to have written to it before.
    Begin {
        partition: PartitionId,
        set: Arc<ViewSet>,
        senders: Vec<SenderSeen>,
    },
    /// Another set of views for one partition.
    ViewsOf {
        partition: PartitionId,
        set: Arc<ViewSet>,
    },
    /// A partition goes, and its state with it.
    End {
        partition: PartitionId,
    },
    /// Records between these log times cannot be read: everything they may have held is uncovered.
    Lost {
        partition: PartitionId,
        from: LogTime,
        to: LogTime,
    },
}

/// A log record, not yet decoded. An empty payload is a tick.
#[derive(Clone, Debug)]
pub struct RawRecord {
    pub partition: PartitionId,
    pub log_time: LogTime,
    pub payload: Bytes,
}

/// The dense number of a series within its partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SeriesIndex(pub u32);

/// The number of a sender within its partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SenderIndex(pub u32);

/// The number of a group within its view and partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupIndex(pub u32);

/// One observation of a series that some view selects.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub series: SeriesIndex,
    pub t: Timestamp,
    pub v: f64,
}

/// A series seen for the first time, or again after the views changed: its labels, for the last time.
#[derive(Clone, Debug)]
pub struct Introduced {
    pub series: SeriesIndex,
    pub id: SeriesId,
    pub labels: Labels,
    /// Places in the plan's `selectors`.
    pub selectors: Vec<u32>,
}

/// One record after filter.
#[derive(Clone, Debug, Default)]
pub struct Filtered {
    pub partition: PartitionId,
    pub log_time: LogTime,
    /// The partition came or went: what was kept of it is not of this one.
    pub fresh: bool,
    pub views: Option<Arc<ViewSet>>,
    pub sender: SenderIndex,
    /// Whose number `sender` is, said once.
    pub sender_named: Option<(Tenant, SmolStr)>,
    pub sender_seen: Option<SenderSeen>,
    pub introduced: Vec<Introduced>,
    pub evicted: Vec<SeriesIndex>,
    pub points: Vec<Point>,
    pub uncovers: Vec<Stretch>,
    pub read: SamplesRead,
}

/// How much one record held, whether or not a view selects it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplesRead {
    pub samples: u64,
    /// The newest time among them, none that lies too far ahead counted; `Timestamp(0)` when there is none.
    pub newest: Timestamp,
    /// Records and series that cannot be used: not decodable, or of another partition.
    pub skipped: u64,
}

/// `[from, to)` of a view is uncovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    pub slot: ViewSlot,
    pub reason: SpanReason,
    pub from: Timestamp,
    pub to: Timestamp,
}

/// A series and the groups it belongs to.
#[derive(Clone, Debug)]
pub struct Assigned {
    pub series: SeriesIndex,
    pub id: SeriesId,
    pub targets: Vec<(ViewSlot, GroupIndex)>,
}

/// A group's number and labels, said once.
#[derive(Clone, Debug)]
pub struct NewGroup {
    pub slot: ViewSlot,
    pub group: GroupIndex,
    pub labels: GroupLabels,
}

/// One record after partition.
#[derive(Clone, Debug, Default)]
pub struct Partitioned {
    pub partition: PartitionId,
    pub log_time: LogTime,
    /// The partition came or went: what was kept of it is not of this one.
    pub fresh: bool,
    pub views: Option<Arc<ViewSet>>,
    pub sender: SenderIndex,
    pub sender_named: Option<(Tenant, SmolStr)>,
    pub sender_seen: Option<SenderSeen>,
    pub assigned: Vec<Assigned>,
    pub groups: Vec<NewGroup>,
    pub evicted: Vec<SeriesIndex>,
    pub points: Vec<Point>,
    pub uncovers: Vec<Stretch>,
    pub read: SamplesRead,
}

/// One record after window.
#[derive(Clone, Debug, Default)]
pub struct Windowed {
    pub partition: PartitionId,
    pub log_time: LogTime,
    /// The partition came or went: what was kept of it is not of this one.
    pub fresh: bool,
    pub views: Option<Arc<ViewSet>>,
    pub sender_seen: Option<SenderSeen>,
    pub feeds: Vec<Feeds>,
    pub groups: Vec<NewGroup>,
    pub evaluated: Vec<Evaluated>,
    pub uncovers: Vec<Stretch>,
    pub folded: Option<Folded>,
}

/// What a record brought, for metrics and status pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folded {
    pub tenant: Tenant,
    pub sender: SmolStr,
    pub read: SamplesRead,
}

/// A view's values at a grid point: group by group, in each the series in the order of their ids.
#[derive(Clone, Debug)]
pub struct Evaluated {
    pub status: Status,
    /// [`NO_VALUE`] for a series without one.
    pub values: Vec<f64>,
    /// Which of them are whose.
    pub groups: Arc<[GroupRun]>,
}

/// The staleness marker: never a value, because it ends a series before any function sees it.
pub const NO_VALUE: f64 = STALE_NAN;

/// The values of one group: from where those of the group before end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupRun {
    pub group: GroupIndex,
    pub end: u32,
}

/// A sender's samples reach a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feeds {
    pub slot: ViewSlot,
    pub tenant: Tenant,
    pub sender: SmolStr,
}

/// One group's summary of one partition at one grid point.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartialOf {
    pub slot: ViewSlot,
    pub t: Timestamp,
    pub partition: PartitionId,
    pub group: GroupLabels,
    pub slots: [f64; 3],
}

/// What crosses the exchange.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToCombine {
    /// Never leaves its worker: every worker gets its own copy.
    #[serde(skip)]
    Views(Arc<ViewSet>),
    Partial(PartialOf),
    Status {
        partition: PartitionId,
        status: Status,
    },
    /// Log time has come this far in a partition.
    Mark {
        partition: PartitionId,
        log_time: LogTime,
    },
    Uncover(Stretch),
    Seen(SenderSeen),
    Feeds(Feeds),
    Folded(Folded),
}

/// What one worker of a fold without combine gives of one closed epoch, in the order of each partition.
#[derive(Clone, Debug, Default)]
pub struct FoldOutput {
    pub epoch: u64,
    pub worker: usize,
    pub messages: Vec<(PartitionId, ToCombine)>,
}

/// What one worker gives of one closed epoch.
#[derive(Clone, Debug, Default)]
pub struct EpochOutput {
    pub epoch: u64,
    pub worker: usize,
    pub results: Vec<ResultPoint>,
    pub final_to: Vec<(ViewId, Timestamp)>,
    pub covered_from: Vec<(ViewId, Timestamp)>,
    pub spans: Vec<Uncover>,
    pub senders: Vec<SenderSeen>,
    pub emitted: Vec<Emitted>,
    /// What this worker's partitions read, one per record.
    pub folded: Vec<Folded>,
    /// Views that have emitted their last grid point or were suspended: their state can be freed.
    pub ended: Vec<ViewSlot>,
}

/// What is told about a view when a grid point is emitted, for status pages and metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Emitted {
    pub view: ViewId,
    pub t: Timestamp,
    pub input_series: u64,
    /// Series that have a value at it: what stands behind the results, where one that changes none of them shows.
    pub valued_series: u64,
    pub output_series: u64,
    pub overdue: u64,
    pub not_counted: u64,
    pub conflicting: u64,
    pub state_bytes: u64,
    pub window_samples: u64,
}

/// A finished group: its labels and stored fields.
pub type Finished = (GroupLabels, [f64; FIELDS_MAX]);
