//! The binary as a process: killed, restarted, sent rubbish, asked from a command line.
//!
//! Sees: an acknowledged sample that a kill loses or a retry doubles, a result that depends on when the process died, a
//! request or file that ends the process or is answered with the wrong status or words, a process that does not stop.
//! Cannot see: what a power cut takes (a killed process loses no page cache; log and store have tests with torn writes).

mod cli;
mod corpora;
mod crash;
mod disk_full;
mod going_away;
mod hostile;
mod lifecycle;
pub mod processes;
mod readers;
mod receiver;
mod refused;
mod remote_write;
mod scraping;
pub mod sink;
pub mod sink_receiver;
mod uncovered;

/// A generator of its own, so that a printed seed repeats a run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}
