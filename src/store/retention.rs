//! Retention: what is old enough is not read any more, then let go of in memory, then deleted, a block at a time.

use super::Store;
use super::error::StoreError;
use super::options::Durability;
use super::record::Record;
use crate::model::Timestamp;

impl Store {
    /// The newest instant that retention was enforced at.
    pub fn retention_instant(&self) -> Option<Timestamp> {
        Some(self.state.read().now).filter(|now| *now > Timestamp::MIN)
    }

    /// Lets go of what is older than its view's retention at an instant; to be called now and then, once a minute say.
    /// A view goes with its last point. An instant that is not later than the one before changes nothing.
    ///
    /// # Errors
    /// When the disk fails; what was not deleted will be by a later call.
    pub fn enforce_retention(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        self.settle(&mut writer)?;
        if now > self.state.read().now {
            self.change(&mut writer, vec![Record::Retention(now)], Durability::Later)?;
        }
        let expired = self.state.read().expired_blocks();
        if !expired.is_empty() {
            // Else a crash could leave a store that has yet to hear of this, and looks for the blocks.
            writer.wal.sync()?;
            self.retire_blocks(&mut writer, expired)?;
        }
        self.flush_if_due(&mut writer);
        Ok(())
    }
}
