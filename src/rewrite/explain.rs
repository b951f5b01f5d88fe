//! What a rewrite did, for people and for scripts.

use std::fmt;

use serde::Serialize;

use super::outcome::Outcome;
use super::tree;
use crate::model::time::format_duration;
use crate::plan::Catalog;

/// A rewritten query, explained. As JSON it is what `prefold explain --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The query as it was asked.
    pub query: String,
    /// The query over views.
    pub rewritten: String,
    /// Views answer all of it.
    pub whole: bool,
    /// Selectors over samples that are left.
    pub selectors_left: usize,
    /// It may be answered in pieces of its steps.
    pub splittable: bool,
    pub views: Vec<ExplainedView>,
    pub refusals: Vec<ExplainedRefusal>,
    /// The rewritten query, one node a line.
    #[serde(skip)]
    pub tree: String,
}

/// A view that is read, and who keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedView {
    pub id: String,
    pub job: String,
    pub rule: String,
    /// As the job writes it.
    pub expr: String,
    pub step_ms: i64,
}

/// A part of the query that was not replaced, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedRefusal {
    pub slug: String,
    pub sentence: String,
    pub remedy: String,
    /// The bytes `[start, end)` of the query's text that it is about.
    pub start: u32,
    pub end: u32,
}

/// Explains what [`super::rewrite`] gave for the expression of a query's text, and a catalog.
pub fn explain(query: &str, outcome: &Outcome, catalog: &Catalog) -> Explanation {
    let entries = outcome.views().into_iter().filter_map(|id| catalog.get(id));
    let views = entries.map(|entry| ExplainedView {
        id: entry.view.id.to_string(),
        job: entry.job.to_string(),
        rule: entry.rule.to_string(),
        expr: entry.expr.clone(),
        step_ms: entry.view.step_ms,
    });
    let refusals = outcome.refusals.iter().map(|refused| ExplainedRefusal {
        slug: refused.slug().to_owned(),
        sentence: refused.to_string(),
        remedy: refused.remedy().to_owned(),
        start: refused.source.start,
        end: refused.source.end,
    });
    Explanation {
        query: query.to_owned(),
        rewritten: outcome.expr.to_string(),
        whole: outcome.whole,
        selectors_left: outcome.selectors_left,
        splittable: outcome.splittable,
        views: views.collect(),
        refusals: refusals.collect(),
        tree: tree::draw(&outcome.expr, catalog),
    }
}

/// For the terminal.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.query)?;
        match (self.whole, self.views.is_empty()) {
            (true, _) => writeln!(f, "is answered from views:\n")?,
            (false, false) => writeln!(f, "is answered in part from views (selectors left: {}):\n", self.selectors_left)?,
            (false, true) => writeln!(f, "is not answered from views:\n")?,
        }
        for line in self.tree.lines() {
            writeln!(f, "  {line}")?;
        }
        for view in &self.views {
            writeln!(f, "\nview {} every {}", view.id, format_duration(view.step_ms))?;
            writeln!(f, "  rule {} of job {}: {}", view.rule, view.job, view.expr)?;
        }
        for refusal in &self.refusals {
            writeln!(f, "\n{}: {}", refusal.slug, refusal.sentence)?;
            if let Some(part) = self.query.get(refusal.start as usize..refusal.end as usize).filter(|part| !part.is_empty())
            {
                writeln!(f, "  in: {part}")?;
            }
            writeln!(f, "  {}", refusal.remedy)?;
        }
        Ok(())
    }
}
