//! Grid and window arithmetic: which instants a view has values at, and which samples each one sees.
//!
//! A window is `(end - range, end]`, left-open as in Prometheus 3; the grid is `k * step` since the epoch. Both are pure
//! integer arithmetic on milliseconds, for negative times too.

use super::time::Timestamp;

/// The instants `k * step_ms`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Grid {
    step_ms: i64,
}

impl Grid {
    /// # Panics
    /// When the step is not positive: jobs and queries are checked before a grid is made.
    pub fn new(step_ms: i64) -> Grid {
        assert!(step_ms > 0, "grid: step must be positive, got {step_ms} ms");
        Grid { step_ms }
    }

    pub fn step_ms(self) -> i64 {
        self.step_ms
    }

    /// The last grid point at or before an instant.
    pub fn floor(self, t: Timestamp) -> Timestamp {
        Timestamp(t.0.div_euclid(self.step_ms).saturating_mul(self.step_ms))
    }

    /// The first grid point at or after an instant.
    pub fn ceil(self, t: Timestamp) -> Timestamp {
        let floor = self.floor(t);
        if floor == t { t } else { floor + self.step_ms }
    }

    /// The first grid point after an instant.
    pub fn after(self, t: Timestamp) -> Timestamp {
        self.floor(t) + self.step_ms
    }

    /// The last grid point before an instant.
    pub fn before(self, t: Timestamp) -> Timestamp {
        self.ceil(t) - self.step_ms
    }

    pub fn contains(self, t: Timestamp) -> bool {
        t.0.rem_euclid(self.step_ms) == 0
    }

    /// Whether every instant of a range query lies on this grid.
    pub fn contains_steps(self, start: Timestamp, step_ms: i64) -> bool {
        self.contains(start) && step_ms % self.step_ms == 0
    }
}

/// `(end - range, end]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    pub end: Timestamp,
    pub range_ms: i64,
}

impl Window {
    pub fn new(end: Timestamp, range_ms: i64) -> Window {
        Window { end, range_ms }
    }

    /// The instant just before the window: samples at it are outside.
    pub fn start(self) -> Timestamp {
        self.end - self.range_ms
    }

    pub fn contains(self, t: Timestamp) -> bool {
        t > self.start() && t <= self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grid_neighbours() {
        let grid = Grid::new(30);
        for t in -95..95 {
            let (floor, ceil) = (grid.floor(Timestamp(t)), grid.ceil(Timestamp(t)));
            assert!(floor.0 <= t && t - floor.0 < 30 && floor.0 % 30 == 0, "{t}");
            assert!(ceil.0 >= t && ceil.0 - t < 30 && ceil.0 % 30 == 0, "{t}");
            assert!(grid.after(Timestamp(t)).0 > t && grid.before(Timestamp(t)).0 < t);
            assert_eq!(grid.contains(Timestamp(t)), t % 30 == 0);
        }
        assert!(grid.contains_steps(Timestamp(60), 90) && !grid.contains_steps(Timestamp(60), 45));
    }

    #[test]
    fn windows_are_left_open() {
        let window = Window::new(Timestamp(100), 40);
        let inside: Vec<i64> = (50..110).filter(|t| window.contains(Timestamp(*t))).collect();
        assert_eq!((inside[0], inside[inside.len() - 1], inside.len()), (61, 100, 40));
    }
}
