//! The nouns every other module speaks: time, labels, samples, matchers, windows, log positions, commits.
//!
//! Nothing here does IO, reads a clock or knows another module of Prefold.

pub mod commit;
pub mod labels;
pub mod matcher;
pub mod partitioner;
pub mod progress;
pub mod quote;
pub mod sample;
pub mod tenant;
pub mod time;
pub mod window;

pub use commit::{Commit, GroupLabels, ResultPoint, SenderSeen, SpanReason, Uncover, ViewId};
pub use labels::{Label, Labels, METRIC_NAME, SeriesId, Tenant};
pub use matcher::{MatchOp, Matcher, Selector};
pub use partitioner::{PartitionBy, Partitioner};
pub use progress::{LogTime, Offset, PartitionId, Position};
pub use sample::{STALE_NAN, Sample, is_stale};
pub use tenant::{TENANT_HEADER, TenantMalformed, tenant_of_header};
pub use time::{Clock, Timestamp};
