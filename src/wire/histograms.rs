//! Native histograms of remote write: they are not taken, so nothing of them is read but their times.

use super::error::WireError;
use super::reader::{Reader, VARINT, key};
use crate::model::Timestamp;

/// `timestamp` of a histogram, in both versions.
const TIMESTAMP: u32 = key(15, VARINT);

/// The native histograms of a series: how many, and between which times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Histograms {
    pub count: usize,
    /// `Timestamp::MAX` when there are none.
    pub least: Timestamp,
    /// `Timestamp::MIN` when there are none.
    pub greatest: Timestamp,
}

impl Histograms {
    pub const NONE: Histograms = Histograms { count: 0, least: Timestamp::MAX, greatest: Timestamp::MIN };

    /// One more.
    pub(super) fn see(&mut self, mut body: Reader<'_>) -> Result<(), WireError> {
        let mut t = 0;
        while !body.is_done() {
            match body.key()? {
                TIMESTAMP => t = body.varint()? as i64,
                other => body.skip(other, &[TIMESTAMP >> 3])?,
            }
        }
        self.count += 1;
        self.least = self.least.min(Timestamp(t));
        self.greatest = self.greatest.max(Timestamp(t));
        Ok(())
    }
}
