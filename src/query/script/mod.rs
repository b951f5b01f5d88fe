//! Test scripts: load series, evaluate, compare.
//!
//! The format is that of Prometheus' own engine tests, so that one runner drives them, the tests of jobs (`prefold test`) and
//! ours. What a command's answer comes from is the caller's: an engine, or a job's views.

mod expectation;
mod parse;
mod run;

pub use expectation::{Expectation, ExpectedValue, TextMatch};
pub use parse::parse;
pub use run::{Outcome, Verdict, run};

use super::load::{SeriesLine, samples};
use super::memory::MemorySource;
use crate::model::{Labels, Sample, Timestamp};

/// A script's commands in order.
#[derive(Debug, Default)]
pub struct Script {
    pub commands: Vec<Command>,
}

#[derive(Debug)]
pub enum Command {
    /// Forgets all series.
    Clear,
    Load(LoadCommand),
    Eval(EvalCommand),
}

/// `load <gap>` and its series.
#[derive(Debug, Default)]
pub struct LoadCommand {
    /// Milliseconds between items.
    pub gap_ms: i64,
    pub series: Vec<SeriesLine>,
    /// Native histograms that are also made of the classic ones.
    pub native_histograms: Vec<(Labels, Vec<Sample>)>,
    /// Series that have start timestamps, which are not kept.
    pub start_timestamps: Vec<Labels>,
}

impl LoadCommand {
    /// Adds what is loaded to the series there are.
    pub fn into_source(&self, source: &mut MemorySource) {
        for line in &self.series {
            source.add(line.labels.clone(), samples(&line.items, self.gap_ms));
        }
        for (labels, histograms) in &self.native_histograms {
            source.add(labels.clone(), histograms.clone());
        }
        self.start_timestamps.iter().for_each(|labels| source.note_start_timestamps(labels.clone()));
    }
}

/// `eval ...` and what it must give.
#[derive(Clone, Debug)]
pub struct EvalCommand {
    /// Counted from 1.
    pub line: usize,
    pub query: String,
    pub time: EvalTime,
    pub expectation: Expectation,
}

/// At what time or times a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvalTime {
    Instant(Timestamp),
    Range { start: Timestamp, end: Timestamp, step_ms: i64 },
}
