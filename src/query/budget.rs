//! What an evaluation holds in memory, counted so that a query stops before it hurts.
//!
//! Samples are counted as Prometheus counts them: the points of every intermediate result that is alive. Rows are dense,
//! so cells (steps of rows, with a value or without) are counted too, and may be a few times as many.

use super::error::QueryError;
use super::row::Row;

/// Cells per sample of the limit: a cell takes half a sample's bytes, and rows of series that come and go are sparse.
const CELLS_PER_SAMPLE: usize = 4;

/// Samples and cells alive, and their limit.
#[derive(Debug)]
pub(super) struct Budget {
    held: Held,
    samples_max: usize,
}

/// What was held at some moment, to go back to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    samples: usize,
    cells: usize,
}

impl Budget {
    pub fn new(samples_max: usize) -> Budget {
        Budget { held: Held::default(), samples_max }
    }

    pub fn held(&self) -> Held {
        self.held
    }

    pub fn go_back(&mut self, held: Held) {
        self.held = held;
    }

    /// # Errors
    /// When the limit is passed.
    pub fn hold(&mut self, samples: usize, cells: usize) -> Result<(), QueryError> {
        self.held.samples = self.held.samples.saturating_add(samples);
        self.held.cells = self.held.cells.saturating_add(cells);
        let cells_max = self.samples_max.saturating_mul(CELLS_PER_SAMPLE);
        if self.held.samples > self.samples_max || self.held.cells > cells_max {
            return Err(QueryError::too_many_samples());
        }
        Ok(())
    }

    pub fn hold_row(&mut self, row: &Row) -> Result<(), QueryError> {
        self.hold(row.points(), row.values.len())
    }
}
