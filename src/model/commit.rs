//! A Commit: what reaches the store together or not at all.
//!
//! Results, uncovered spans, known senders and log positions belong to one cut through the stream. Applied whole, a
//! restart at those positions continues exactly where the store stands. Applied twice, it changes nothing.

use std::fmt;
use std::sync::Arc;

use smol_str::SmolStr;

use super::labels::{Labels, Tenant};
use super::progress::{LogTime, PartitionId, Position};
use super::time::Timestamp;

/// 128-bit hash of a view's normal form. Computed in plan/, stored with every result; a golden test holds it fixed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ViewId(pub u128);

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for ViewId {
    type Err = String;
    fn from_str(text: &str) -> Result<ViewId, String> {
        u128::from_str_radix(text, 16).map(ViewId).map_err(|_| format!("not a view id: {text:?} (32 hexadecimal digits)"))
    }
}

/// The labels of one group of a view, shared by all its results.
pub type GroupLabels = Arc<Labels>;

/// One group's value at one grid point: the stored fields of its aggregation, in the registry's order.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultPoint {
    pub view: ViewId,
    pub group: GroupLabels,
    pub t: Timestamp,
    /// As many as the view's aggregation stores (1 or 2); the rest is zero.
    pub fields: [f64; FIELDS_MAX],
}

/// The most fields an aggregation stores.
pub const FIELDS_MAX: usize = 2;

/// Why a stretch of a view is uncovered (semantics.md S3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum SpanReason {
    Late,
    Refused,
    Overdue,
    /// An overdue span whose series ended or left the lookback: it closed, but a comparison is due.
    Gone,
    SenderNew,
    TwoSenders,
    Gap,
    OverLimit,
    /// Before the view's first whole window.
    NewView,
    /// Part of an overdue span: windows hold samples of series that are overdue or were. No comparison vouches for it.
    Draining,
}

impl SpanReason {
    pub const ALL: [SpanReason; 10] = [
        SpanReason::Late,
        SpanReason::Refused,
        SpanReason::Overdue,
        SpanReason::Gone,
        SpanReason::SenderNew,
        SpanReason::TwoSenders,
        SpanReason::Gap,
        SpanReason::OverLimit,
        SpanReason::NewView,
        SpanReason::Draining,
    ];

    /// The word in metrics, status pages and warnings.
    pub fn slug(self) -> &'static str {
        match self {
            SpanReason::Late => "late",
            SpanReason::Refused => "refused",
            SpanReason::Overdue => "overdue",
            SpanReason::Gone => "gone",
            SpanReason::SenderNew => "sender-new",
            SpanReason::TwoSenders => "two-senders",
            SpanReason::Gap => "gap",
            SpanReason::OverLimit => "over-limit",
            SpanReason::NewView => "new-view",
            SpanReason::Draining => "draining",
        }
    }

    /// The number in stored commits: append only.
    pub fn code(self) -> u8 {
        SpanReason::ALL.iter().position(|reason| *reason == self).unwrap_or(0) as u8
    }

    pub fn from_code(code: u8) -> Option<SpanReason> {
        SpanReason::ALL.get(usize::from(code)).copied()
    }
}

/// `[from, to)` of a view may not be served. Open while `to` is `Timestamp::MAX`.
///
/// Of one view, reason and `from`, a later event replaces an earlier one: that is how an open span is closed, and why
/// saying one twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uncover {
    pub view: ViewId,
    pub reason: SpanReason,
    pub from: Timestamp,
    pub to: Timestamp,
}

/// The first record with samples that a sender wrote into a partition.
///
/// One per partition, because partitions are read side by side: which of a sender's first times is the least, and from
/// when on that was known, must not depend on who read faster. Kept in the commit, so that a replay knows which records
/// are not the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct SenderSeen {
    pub tenant: Tenant,
    pub sender: SmolStr,
    pub partition: PartitionId,
    /// The least sample time in the record.
    pub first: Timestamp,
    /// The record's log time.
    pub log_time: LogTime,
}

/// One atomic step of the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// Which log the positions are of: 16 random bytes made with the log. Another one is a new beginning.
    pub log_incarnation: u128,
    pub positions: Vec<Position>,
    pub results: Vec<ResultPoint>,
    /// Per view, the newest grid point emitted: everything up to it is final, absent groups included.
    pub final_to: Vec<(ViewId, Timestamp)>,
    /// Per view, the first grid point emitted, said once.
    pub covered_from: Vec<(ViewId, Timestamp)>,
    pub spans: Vec<Uncover>,
    pub senders: Vec<SenderSeen>,
}

impl Commit {
    /// Whether nothing but positions would change.
    pub fn is_idle(&self) -> bool {
        self.results.is_empty()
            && self.final_to.is_empty()
            && self.covered_from.is_empty()
            && self.spans.is_empty()
            && self.senders.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_reasons_have_unique_slugs_and_stable_codes() {
        for (code, reason) in SpanReason::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(reason.code()), code);
            assert_eq!(SpanReason::from_code(reason.code()), Some(reason));
        }
        let mut slugs: Vec<_> = SpanReason::ALL.iter().map(|r| r.slug()).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), SpanReason::ALL.len());
    }
}
