//! What could not be read: a record of the log says so, and the views of its tenant are uncovered around it.

use bytes::Bytes;

use super::gateway::{Gateway, Origin};
use super::limits::RefusalReason;
use crate::log::NewRecord;
use crate::model::PartitionId;
use crate::wire::record::{RecordWriter, RefusedSeries};

impl Gateway {
    /// A body of a known sender that was not read may have held anything: its tenant's views are uncovered around now.
    pub async fn note_unreadable(&self, origin: &Origin, reason: RefusalReason) {
        if self.senders.is_unreadable_due(origin, self.is_labelled(origin), self.clock.now()) {
            let Some(record) = self.unreadable(origin, reason) else { return };
            if let Err(error) = self.append(vec![record]).await {
                tracing::error!(sender = %origin.sender, %error, "cannot note an unreadable body in the log");
            }
        }
    }

    /// The record that says so.
    pub(super) fn unreadable(&self, origin: &Origin, reason: RefusalReason) -> Option<NewRecord> {
        let table = self.interner.table();
        let mut writer = RecordWriter::new();
        writer.begin(&origin.tenant, &origin.sender);
        writer.refusal(&RefusedSeries { reason: reason.slug(), ..RefusedSeries::default() });
        let payload = writer.finish(&table).map(Bytes::from).ok()?;
        Some(NewRecord { partition: PartitionId(0), payload, newest: None })
    }
}
