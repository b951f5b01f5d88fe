//! Jobs and rules: what SREs write, after it was read and checked.

use std::path::PathBuf;

use smol_str::SmolStr;

use super::view::View;
use crate::model::Labels;

/// One file in jobs/.
#[derive(Clone, Debug)]
pub struct Job {
    pub name: SmolStr,
    pub description: String,
    pub owner: String,
    pub file: PathBuf,
    pub rules: Vec<Rule>,
}

/// An expression to keep pre-aggregated.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its place in the file, from 0: what metrics and the views page call it by when it has no record name.
    pub index: usize,
    /// The expression as written.
    pub expr: String,
    pub view: View,
    /// The name under which its results are also queried.
    pub record: Option<SmolStr>,
    /// Labels set on the recorded series.
    pub labels: Labels,
    /// Share of a view's live series that may be overdue before it is uncovered.
    pub overdue_tolerance: f64,
    /// How long results are kept.
    pub retention_ms: i64,
    pub limits: RuleLimits,
}

impl Rule {
    /// What metrics and status pages call it: its record name, else its number in the job.
    pub fn name(&self) -> SmolStr {
        self.record.clone().unwrap_or_else(|| SmolStr::from(self.index.to_string()))
    }
}

/// Beyond these a view is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleLimits {
    pub input_series: u64,
    pub output_series: u64,
}

impl Default for RuleLimits {
    fn default() -> RuleLimits {
        RuleLimits { input_series: 1_000_000, output_series: 50_000 }
    }
}
