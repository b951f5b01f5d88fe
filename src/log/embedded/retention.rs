//! Deleting the oldest segments: by bytes, which always wins, and by age.
//!
//! Only whole segments go, never the one that is written to, one at a time from the oldest on; each removal is durable
//! before the next, so that a crash leaves no hole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::catalog::{Catalog, Shared, first_log_times};
use super::format::SegmentHeader;
use crate::model::LogTime;

/// After a removal failed, the next try waits this long.
const RETRY_AFTER: Duration = Duration::from_secs(10);

pub(super) struct Retention {
    pub age_ms_max: i64,
    pub bytes_max: u64,
    /// Until then nothing is tried, because the last try failed.
    pub paused_until: Option<Instant>,
}

impl Retention {
    pub fn new(age_ms_max: i64, bytes_max: u64) -> Retention {
        Retention { age_ms_max, bytes_max, paused_until: None }
    }

    /// Deletes what is over the limits, ages being measured against a log time.
    pub fn enforce(&mut self, shared: &Shared, now: LogTime) {
        if self.paused_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.paused_until = None;
        loop {
            let oldest = self.next_to_delete(&shared.catalog.lock(), now);
            let Some(oldest) = oldest else { return };
            forget(shared, &oldest);
            let name = oldest.name();
            if let Err(error) = shared.disk.remove(&name).and_then(|()| shared.disk.sync_dir()) {
                let file = shared.disk.describe(&name);
                tracing::warn!(%file, %error, "cannot delete a file beyond the log's retention; it is back at next start");
                self.paused_until = Some(Instant::now() + RETRY_AFTER);
                return;
            }
        }
    }

    fn next_to_delete(&self, catalog: &Catalog, now: LogTime) -> Option<Arc<SegmentHeader>> {
        let (oldest, next) = (catalog.segments.front()?, catalog.segments.get(1)?);
        let too_many = catalog.bytes() > self.bytes_max;
        // Nothing in a segment is newer than the beginning of the next.
        let too_old = now - next.header.newest > self.age_ms_max;
        (too_many || too_old).then(|| oldest.header.clone())
    }
}

/// Takes the oldest segment out of the catalog, so that no reader begins to read it; who has it open reads on.
fn forget(shared: &Shared, oldest: &SegmentHeader) {
    let (rest, ends) = {
        let catalog = shared.catalog.lock();
        let rest: Vec<_> = catalog.segments.iter().skip(1).map(|segment| (segment.header.clone(), segment.len)).collect();
        (rest, catalog.ends.clone())
    };
    let first_log_times = first_log_times(shared.disk.as_ref(), &rest, &ends);
    let mut catalog = shared.catalog.lock();
    if catalog.segments.front().is_some_and(|front| front.header.number == oldest.number) {
        catalog.segments.pop_front();
        catalog.first_log_times = first_log_times;
        catalog.disk.segments_deleted += 1;
    }
}
