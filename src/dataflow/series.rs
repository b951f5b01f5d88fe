//! The points of one series that open windows still need, and what is known of its rhythm.
//!
//! Points are kept as points, ordered by time, staleness markers among them. Of two at one time the first in the log stays.
//! Every sample and every grid point reads a [`Series`], and there are very many: it is small, and what few series have
//! stands elsewhere.

use crate::model::window::Window;
use crate::model::{Sample, Timestamp, is_stale};

use super::message::SenderIndex;
use super::rhythm::Rhythm;

/// Whether a sample entered the window state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inserted {
    Added,
    /// There was one at this time, with the same bits.
    Same,
    /// There was one at this time, with another value, which stays.
    Conflict,
}

/// What a series' views ask of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// The least max_delay of its views: what came within it counts for all of them.
    pub max_delay_ms_least: i64,
    /// The longest max_delay of its views: what came later counts for none.
    pub max_delay_ms_most: i64,
    /// The longest window of its views.
    pub window_ms_max: i64,
}

impl Terms {
    /// Points at or before this are in no window that is still open.
    #[inline]
    pub fn horizon(&self, log_time: Timestamp) -> Timestamp {
        log_time - (self.max_delay_ms_most + self.window_ms_max)
    }
}

/// The sender of a series that has no samples.
const NOBODY: SenderIndex = SenderIndex(u32::MAX);
/// The sender of a series whose samples are not all from one.
const SEVERAL: SenderIndex = SenderIndex(u32::MAX - 1);

/// One series of a partition.
pub struct Series {
    /// Ordered by time; those before `begin` are dropped and not yet moved out. At most twice as many as open windows need,
    /// or a handful.
    samples: Vec<Sample>,
    /// Time of its newest sample, counted or late; `Timestamp::MIN` before the first.
    newest: Timestamp,
    rhythm: Rhythm,
    begin: u32,
    /// Who sent all samples kept.
    sender: SenderIndex,
    /// Where what its views ask stands among the partition's terms.
    pub terms: u32,
    /// Whether its newest sample is a staleness marker.
    ended: bool,
    /// What few series have; `None` while there is nothing in it.
    rare: Option<Box<Rare>>,
}

/// What must be known of the samples of few series.
#[derive(Default)]
struct Rare {
    /// Who sent each sample, beside `samples`, while they are not all from one.
    senders: Option<Vec<SenderIndex>>,
    /// How late each sample came, beside `samples`, once its views differ in max_delay.
    delays: Option<Vec<i64>>,
    /// Staleness markers among the samples.
    markers: usize,
}

impl Default for Series {
    fn default() -> Series {
        Series {
            samples: Vec::new(),
            newest: Timestamp::MIN,
            rhythm: Rhythm::default(),
            begin: 0,
            sender: NOBODY,
            terms: 0,
            ended: false,
            rare: None,
        }
    }
}

impl Series {
    /// Takes over what its views ask: called when it is assigned to groups. `place` is where these terms stand.
    pub fn serve(&mut self, place: u32, terms: &Terms) {
        self.terms = place;
        let delays = self.rare.as_ref().and_then(|rare| rare.delays.as_ref());
        if terms.max_delay_ms_most > terms.max_delay_ms_least && delays.is_none() {
            // Samples already here came within the max_delay of every view that reads them.
            let delays = vec![i64::MIN; self.samples.len()];
            self.rare.get_or_insert_default().delays = Some(delays);
        }
    }

    /// Whether all samples kept, and this one, are from one sender.
    #[inline]
    pub fn is_only_sender(&self, sender: SenderIndex) -> bool {
        self.sender == sender
    }

    /// Sees and keeps a sample as nearly all are: newer than every other, no marker, of a series with nothing rare about it.
    /// Gives whether it was one; if not, nothing has happened.
    #[inline]
    pub fn append(&mut self, sample: Sample, terms: &Terms, log_time: Timestamp) -> bool {
        if sample.t <= self.newest || self.rare.is_some() || is_stale(sample.v) {
            return false;
        }
        self.see_newest(sample);
        if self.samples.len() == self.samples.capacity() {
            self.make_room(terms.horizon(log_time));
        }
        self.samples.push(sample);
        true
    }

    /// Notes that a sample was seen, whether or not it counts.
    pub fn see(&mut self, sample: Sample) {
        if sample.t > self.newest {
            self.see_newest(sample);
        }
    }

    #[inline]
    fn see_newest(&mut self, sample: Sample) {
        if self.newest != Timestamp::MIN {
            self.rhythm.note(sample.t - self.newest);
        }
        self.newest = sample.t;
        self.ended = is_stale(sample.v);
    }

    /// Keeps a sample that counts for at least one view.
    pub fn insert(&mut self, sample: Sample, delay_ms: i64, sender: SenderIndex, horizon: Timestamp) -> Inserted {
        self.trim(horizon);
        let live = self.live();
        let place = live.partition_point(|kept| kept.t < sample.t);
        if let Some(kept) = live.get(place).filter(|kept| kept.t == sample.t) {
            return if *kept == sample { Inserted::Same } else { Inserted::Conflict };
        }
        self.note_sender(sender);
        let place = self.begin as usize + place;
        self.samples.insert(place, sample);
        if is_stale(sample.v) {
            self.rare.get_or_insert_default().markers += 1;
        }
        if let Some(rare) = &mut self.rare {
            if let Some(delays) = &mut rare.delays {
                delays.insert(place, delay_ms);
            }
            if let Some(senders) = &mut rare.senders {
                senders.insert(place, sender);
            }
        }
        Inserted::Added
    }

    fn note_sender(&mut self, sender: SenderIndex) {
        match self.sender {
            NOBODY => self.sender = sender,
            SEVERAL => {}
            known if known == sender => {}
            known => {
                self.rare.get_or_insert_default().senders = Some(vec![known; self.samples.len()]);
                self.sender = SEVERAL;
            }
        }
    }

    /// The times of the nearest samples of another sender at or before, and at or after, an instant.
    pub fn neighbours_of_others(&self, t: Timestamp, sender: SenderIndex) -> (Option<Timestamp>, Option<Timestamp>) {
        let (live, begin) = (self.live(), self.begin as usize);
        let senders = self.rare.as_ref().and_then(|rare| rare.senders.as_ref());
        let is_other = |at: &usize| senders.map_or(self.sender, |senders| senders[begin + *at]) != sender;
        let (after, to) = (live.partition_point(|kept| kept.t < t), live.partition_point(|kept| kept.t <= t));
        let before = (0..to).rev().find(is_other).map(|at| live[at].t);
        (before, (after..live.len()).find(is_other).map(|at| live[at].t))
    }

    fn live(&self) -> &[Sample] {
        &self.samples[self.begin as usize..]
    }

    /// Drops the points at or before an instant, and moves the others there once those are many. What is appended next may
    /// make the memory grow to the double.
    #[cold]
    fn make_room(&mut self, horizon: Timestamp) {
        self.trim(horizon);
        if self.begin as usize * 8 >= self.samples.len() {
            self.move_out();
        }
    }

    fn trim(&mut self, horizon: Timestamp) {
        let dropped = self.live().iter().take_while(|sample| sample.t <= horizon);
        let (count, markers) =
            dropped.fold((0, 0), |(count, markers), sample| (count + 1, markers + usize::from(is_stale(sample.v))));
        self.begin += count;
        if let Some(rare) = &mut self.rare {
            rare.markers -= markers;
        }
        if self.begin > 8 && self.begin as usize * 2 > self.samples.len() {
            self.move_out();
        }
    }

    fn move_out(&mut self) {
        let dropped = ..std::mem::take(&mut self.begin) as usize;
        self.samples.drain(dropped);
        let Some(rare) = &mut self.rare else { return };
        if let Some(delays) = &mut rare.delays {
            delays.drain(dropped);
        }
        if let Some(senders) = &mut rare.senders {
            senders.drain(dropped);
            if senders.windows(2).all(|two| two[0] == two[1]) {
                self.sender = senders.first().copied().unwrap_or(NOBODY);
                rare.senders = None;
            }
        }
        if rare.senders.is_none() && rare.delays.is_none() && rare.markers == 0 {
            self.rare = None;
        }
    }

    /// The samples of a window that count for a view of this max_delay, markers removed; `scratch` holds them if they had
    /// to be picked out.
    #[inline]
    pub fn window<'a>(&'a self, window: Window, max_delay_ms: i64, scratch: &'a mut Vec<Sample>) -> &'a [Sample] {
        let (from, to) = self.range(window);
        let Some(rare) = &self.rare else { return &self.samples[from..to] };
        scratch.clear();
        let counted = (from..to).filter(|at| rare.counts(*at, max_delay_ms));
        scratch.extend(counted.map(|at| self.samples[at]).filter(|sample| !is_stale(sample.v)));
        scratch
    }

    /// The newest sample of a window that counts for a view of this max_delay; none when it is a marker.
    pub fn newest_in(&self, window: Window, max_delay_ms: i64) -> Option<f64> {
        let (from, to) = self.range(window);
        let counts = |at: &usize| self.rare.as_ref().is_none_or(|rare| rare.counts(*at, max_delay_ms));
        let value = self.samples[(from..to).rev().find(counts)?].v;
        (!is_stale(value)).then_some(value)
    }

    /// Places `[from, to)` in `samples` of those inside the window.
    #[inline]
    fn range(&self, window: Window) -> (usize, usize) {
        let live = self.live();
        // The newest points are few and lie after the window; the rest is found by halving.
        let mut to = live.len();
        while to > 0 && live[to - 1].t > window.end {
            to -= 1;
        }
        let from = live[..to].partition_point(|sample| sample.t <= window.start());
        (self.begin as usize + from, self.begin as usize + to)
    }

    /// Whether its newest sample lies within the reach before a grid point, and is no marker.
    #[inline]
    pub fn is_live(&self, t: Timestamp, reach_ms: i64) -> bool {
        self.newest > t - reach_ms && !self.ended
    }

    pub fn newest(&self) -> Timestamp {
        self.newest
    }

    /// The longest of its last few gaps.
    #[inline]
    pub fn spacing_ms(&self) -> i64 {
        self.rhythm.spacing_ms()
    }

    /// An estimate of the memory it takes.
    #[inline]
    pub fn bytes(&self) -> usize {
        let rare = self.rare.as_ref().map_or(0, |rare| rare.bytes());
        size_of::<Series>() + self.samples.capacity() * size_of::<Sample>() + rare
    }
}

impl Rare {
    fn counts(&self, at: usize, max_delay_ms: i64) -> bool {
        self.delays.as_ref().is_none_or(|delays| delays[at] <= max_delay_ms)
    }

    fn bytes(&self) -> usize {
        size_of::<Rare>()
            + self.delays.as_ref().map_or(0, |delays| delays.capacity() * size_of::<i64>())
            + self.senders.as_ref().map_or(0, |senders| senders.capacity() * size_of::<SenderIndex>())
    }
}

#[cfg(test)]
mod tests;
