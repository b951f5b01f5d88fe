//! The points of one series that open windows still need, and what is known of its rhythm.
//!
//! Points are kept as points, ordered by time, staleness markers among them. Of two at one time the first in the log stays.

use crate::model::window::Window;
use crate::model::{Sample, SeriesId, Timestamp, is_stale};

use super::message::{GroupIndex, SenderIndex};
use crate::compile::ViewSlot;

/// A series is expected again after this when nothing is known of its rhythm.
const SPACING_UNKNOWN_MS: i64 = 60_000;

/// Gaps that began longer ago than this before the newest sample say nothing: a resume could not know them.
const RHYTHM_MS: i64 = 600_000;

/// How many of its last gaps tell a series' rhythm.
const GAPS: usize = 4;

/// Whether a sample entered the window state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inserted {
    Added,
    /// There was one at this time, with the same bits.
    Same,
    /// There was one at this time, with another value, which stays.
    Conflict,
}

/// One series of a partition.
pub struct Series {
    pub id: SeriesId,
    pub targets: Vec<(ViewSlot, GroupIndex)>,
    /// The least max_delay of its views: what came within it counts for all of them.
    pub max_delay_ms_least: i64,
    /// The longest max_delay of its views: what came later counts for none.
    pub max_delay_ms_most: i64,
    /// The longest window of its views: older points are dropped.
    pub window_ms_max: i64,
    /// Who sends it; the one of all samples kept unless `senders` says otherwise.
    sender: Option<SenderIndex>,
    /// Who sent each sample, beside `samples`, while they are not all from one.
    senders: Option<Vec<SenderIndex>>,
    /// Time of its newest sample, counted or late; `Timestamp::MIN` before the first.
    newest: Timestamp,
    /// Whether that one is a staleness marker.
    ended: bool,
    /// The ends and lengths of its last gaps, a ring.
    gaps: [(Timestamp, i64); GAPS],
    gap_next: usize,
    /// Ordered by time; those before `begin` are dropped and not yet moved out.
    samples: Vec<Sample>,
    begin: usize,
    /// How late each sample came, beside `samples`, once its views differ in max_delay.
    delays: Option<Vec<i64>>,
    /// Staleness markers among `samples`.
    markers: usize,
}

impl Series {
    pub fn new(id: SeriesId) -> Series {
        Series {
            id,
            targets: Vec::new(),
            max_delay_ms_least: 0,
            max_delay_ms_most: 0,
            window_ms_max: 0,
            sender: None,
            senders: None,
            newest: Timestamp::MIN,
            ended: false,
            gaps: [(Timestamp::MIN, 0); GAPS],
            gap_next: 0,
            samples: Vec::new(),
            begin: 0,
            delays: None,
            markers: 0,
        }
    }

    /// Sets what its views ask: called when it is assigned to groups.
    pub fn serve(&mut self, max_delay_ms: impl Iterator<Item = i64> + Clone, window_ms_max: i64) {
        self.max_delay_ms_least = max_delay_ms.clone().min().unwrap_or(0);
        self.max_delay_ms_most = max_delay_ms.max().unwrap_or(0);
        self.window_ms_max = window_ms_max;
        if self.max_delay_ms_most > self.max_delay_ms_least && self.delays.is_none() {
            // Samples already here came within the max_delay of every view that reads them.
            self.delays = Some(vec![i64::MIN; self.samples.len()]);
        }
    }

    /// Notes that a sample was seen, whether or not it counts.
    pub fn seen(&mut self, t: Timestamp, v: f64) {
        if t <= self.newest {
            return;
        }
        if self.newest != Timestamp::MIN {
            self.gaps[self.gap_next] = (t, t - self.newest);
            self.gap_next = (self.gap_next + 1) % GAPS;
        }
        self.newest = t;
        self.ended = is_stale(v);
    }

    /// Whether all samples kept, and this one, are from one sender.
    #[inline]
    pub fn is_only_sender(&self, sender: SenderIndex) -> bool {
        self.senders.is_none() && self.sender == Some(sender)
    }

    /// Keeps a sample that counts for at least one view.
    pub fn insert(&mut self, sample: Sample, delay_ms: i64, sender: SenderIndex) -> Inserted {
        let live = &self.samples[self.begin..];
        let place = match live.last() {
            Some(last) if last.t >= sample.t => live.partition_point(|kept| kept.t < sample.t),
            _ => live.len(),
        };
        if let Some(kept) = live.get(place).filter(|kept| kept.t == sample.t) {
            return if *kept == sample { Inserted::Same } else { Inserted::Conflict };
        }
        self.note_sender(sender);
        let place = self.begin + place;
        self.markers += usize::from(is_stale(sample.v));
        self.samples.insert(place, sample);
        if let Some(delays) = &mut self.delays {
            delays.insert(place, delay_ms);
        }
        if let Some(senders) = &mut self.senders {
            senders.insert(place, sender);
        }
        Inserted::Added
    }

    fn note_sender(&mut self, sender: SenderIndex) {
        match self.sender {
            Some(known) if known != sender && self.senders.is_none() => {
                self.senders = Some(vec![known; self.samples.len()]);
            }
            Some(_) => {}
            None => self.sender = Some(sender),
        }
    }

    /// The times of the nearest samples of another sender at or before, and at or after, an instant.
    pub fn neighbours_of_others(&self, t: Timestamp, sender: SenderIndex) -> (Option<Timestamp>, Option<Timestamp>) {
        let live = &self.samples[self.begin..];
        let is_other = |at: &usize| match &self.senders {
            Some(senders) => senders[self.begin + *at] != sender,
            None => self.sender.is_some_and(|known| known != sender),
        };
        let (after, to) = (live.partition_point(|kept| kept.t < t), live.partition_point(|kept| kept.t <= t));
        let before = (0..to).rev().find(is_other).map(|at| live[at].t);
        (before, (after..live.len()).find(is_other).map(|at| live[at].t))
    }

    /// Drops the points at or before an instant.
    pub fn trim(&mut self, horizon: Timestamp) {
        while let Some(sample) = self.samples.get(self.begin).filter(|sample| sample.t <= horizon) {
            self.markers -= usize::from(is_stale(sample.v));
            self.begin += 1;
        }
        if self.begin > 8 && self.begin * 2 > self.samples.len() {
            self.move_out();
        }
    }

    fn move_out(&mut self) {
        self.samples.drain(..self.begin);
        if let Some(delays) = &mut self.delays {
            delays.drain(..self.begin);
        }
        if let Some(senders) = &mut self.senders {
            senders.drain(..self.begin);
            if senders.windows(2).all(|two| two[0] == two[1]) {
                self.sender = senders.first().copied();
                self.senders = None;
            }
        }
        self.begin = 0;
    }

    /// The samples of a window that count for a view of this max_delay, markers removed; `scratch` holds them if they had
    /// to be picked out.
    pub fn window<'a>(&'a self, window: Window, max_delay_ms: i64, scratch: &'a mut Vec<Sample>) -> &'a [Sample] {
        let (from, to) = self.range(window);
        if self.delays.is_none() && self.markers == 0 {
            return &self.samples[from..to];
        }
        scratch.clear();
        let counted = (from..to).filter(|at| self.counts(*at, max_delay_ms));
        scratch.extend(counted.map(|at| self.samples[at]).filter(|sample| !is_stale(sample.v)));
        scratch
    }

    /// The newest sample of a window that counts for a view of this max_delay; none when it is a marker.
    pub fn newest_in(&self, window: Window, max_delay_ms: i64) -> Option<f64> {
        let (from, to) = self.range(window);
        let at = (from..to).rev().find(|at| self.counts(*at, max_delay_ms))?;
        let value = self.samples[at].v;
        (!is_stale(value)).then_some(value)
    }

    fn counts(&self, at: usize, max_delay_ms: i64) -> bool {
        self.delays.as_ref().is_none_or(|delays| delays[at] <= max_delay_ms)
    }

    /// Places `[from, to)` in `samples` of those inside the window.
    fn range(&self, window: Window) -> (usize, usize) {
        let live = &self.samples[self.begin..];
        // The newest points are few and lie after the window; the rest is found by halving.
        let mut to = live.len();
        while to > 0 && live[to - 1].t > window.end {
            to -= 1;
        }
        let from = live[..to].partition_point(|sample| sample.t <= window.start());
        (self.begin + from, self.begin + to)
    }

    /// Whether its newest sample lies within the reach before a grid point, and is no marker.
    pub fn is_live(&self, t: Timestamp, reach_ms: i64) -> bool {
        self.newest > t - reach_ms && !self.ended
    }

    pub fn newest(&self) -> Timestamp {
        self.newest
    }

    /// The longest of its last few gaps.
    pub fn spacing_ms(&self) -> i64 {
        let known = self.gaps.iter().filter(|(end, gap)| *end != Timestamp::MIN && *end - *gap >= self.newest - RHYTHM_MS);
        known.map(|(_, gap)| *gap).max().unwrap_or(SPACING_UNKNOWN_MS)
    }

    /// An estimate of the memory it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Series>()
            + self.samples.capacity() * size_of::<Sample>()
            + self.targets.capacity() * size_of::<(ViewSlot, GroupIndex)>()
            + self.delays.as_ref().map_or(0, |delays| delays.capacity() * size_of::<i64>())
            + self.senders.as_ref().map_or(0, |senders| senders.capacity() * size_of::<SenderIndex>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::STALE_NAN;

    const ONE: SenderIndex = SenderIndex(1);

    fn sample(t: i64, v: f64) -> Sample {
        Sample { t: Timestamp(t), v }
    }

    fn times(series: &Series, end: i64, range: i64, max_delay_ms: i64) -> Vec<i64> {
        let mut scratch = Vec::new();
        let window = Window::new(Timestamp(end), range);
        series.window(window, max_delay_ms, &mut scratch).iter().map(|s| s.t.0).collect()
    }

    #[test]
    fn points_are_ordered_and_the_first_of_a_time_stays() {
        let mut series = Series::new(SeriesId(1));
        for (t, v, expected) in [
            (10, 1.0, Inserted::Added),
            (30, 3.0, Inserted::Added),
            (20, 2.0, Inserted::Added),
            (20, 2.0, Inserted::Same),
            (20, 9.0, Inserted::Conflict),
        ] {
            assert_eq!(series.insert(sample(t, v), 0, ONE), expected, "{t}");
        }
        assert_eq!(times(&series, 30, 20, 0), [20, 30]);
        assert_eq!(series.newest_in(Window::new(Timestamp(25), 10), 0), Some(2.0));
        series.trim(Timestamp(20));
        assert_eq!(times(&series, 100, 100, 0), [30]);
    }

    #[test]
    fn markers_leave_windows_and_end_instant_selection() {
        let mut series = Series::new(SeriesId(1));
        series.insert(sample(10, 1.0), 0, ONE);
        series.insert(sample(20, STALE_NAN), 0, ONE);
        assert_eq!(times(&series, 20, 20, 0), [10]);
        assert_eq!(series.newest_in(Window::new(Timestamp(20), 20), 0), None);
        assert_eq!(series.newest_in(Window::new(Timestamp(19), 20), 0), Some(1.0));
        series.trim(Timestamp(20));
        series.insert(sample(30, 3.0), 0, ONE);
        assert_eq!(times(&series, 30, 30, 0), [30]);
    }

    #[test]
    fn a_sample_counts_for_the_views_it_was_in_time_for() {
        let mut series = Series::new(SeriesId(1));
        series.serve([10, 50].into_iter(), 100);
        series.insert(sample(10, 1.0), 5, ONE);
        series.insert(sample(20, 2.0), 40, ONE);
        assert_eq!(times(&series, 20, 20, 10), [10]);
        assert_eq!(times(&series, 20, 20, 50), [10, 20]);
        assert_eq!(series.newest_in(Window::new(Timestamp(20), 20), 10), Some(1.0));
    }

    #[test]
    fn the_rhythm_is_the_longest_of_the_last_gaps() {
        let mut series = Series::new(SeriesId(1));
        assert_eq!(series.spacing_ms(), SPACING_UNKNOWN_MS);
        for t in [0, 15_000, 30_000, 60_000, 75_000] {
            series.seen(Timestamp(t), 0.0);
        }
        assert_eq!(series.spacing_ms(), 30_000);
        for t in [90_000, 105_000, 120_000, 119_000] {
            series.seen(Timestamp(t), 0.0);
        }
        assert_eq!((series.spacing_ms(), series.newest()), (15_000, Timestamp(120_000)));
        assert!(series.is_live(Timestamp(130_000), 300_000));
        series.seen(Timestamp(135_000), STALE_NAN);
        assert!(!series.is_live(Timestamp(140_000), 300_000));
    }

    #[test]
    fn the_nearest_samples_of_other_senders_are_found() {
        let (two, mut series) = (SenderIndex(2), Series::new(SeriesId(1)));
        series.insert(sample(10, 1.0), 0, ONE);
        series.insert(sample(30, 1.0), 0, ONE);
        assert!(series.is_only_sender(ONE) && !series.is_only_sender(two));
        assert_eq!(series.neighbours_of_others(Timestamp(20), two), (Some(Timestamp(10)), Some(Timestamp(30))));
        assert_eq!(series.neighbours_of_others(Timestamp(20), ONE), (None, None));
        series.insert(sample(20, 1.0), 0, two);
        assert_eq!(series.neighbours_of_others(Timestamp(40), ONE), (Some(Timestamp(20)), None));
        assert_eq!(series.neighbours_of_others(Timestamp(30), two), (Some(Timestamp(30)), Some(Timestamp(30))));
        assert!(!series.is_only_sender(ONE));
    }
}
