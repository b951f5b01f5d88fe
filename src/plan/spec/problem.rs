//! What is wrong with a file, where, and what to do about it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::tree::Place;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// It works, and probably not as meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// One finding. Ordered by file and place, so that a list reads from top to bottom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub file: PathBuf,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// The way to the value, such as `rules[0].step`; empty for the file as a whole.
    pub field: String,
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do; an error always says it.
    pub remedy: String,
}

impl Problem {
    /// Whether the file is refused because of this.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// `jobs/x.json:7:15: rules[0].step: what is wrong; what to do`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file.display(), self.line, self.column)?;
        match self.severity {
            Severity::Error => {}
            Severity::Warning => f.write_str("warning: ")?,
            Severity::Note => f.write_str("note: ")?,
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", printable(&self.field))?;
        }
        f.write_str(&printable(&self.message))?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", printable(&self.remedy))?;
        }
        Ok(())
    }
}

/// One line, and nothing a terminal would obey: keys and values come from the file.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return text.into();
    }
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// The problems of one file while it is read.
#[derive(Debug)]
pub struct Report {
    file: PathBuf,
    problems: Vec<Problem>,
    /// The fields in error: what reads the tree afterwards leaves them out.
    bad: BTreeSet<String>,
}

impl Report {
    pub fn new(file: &Path) -> Report {
        Report { file: file.to_owned(), problems: Vec::new(), bad: BTreeSet::new() }
    }

    pub fn error(&mut self, field: impl Into<String>, place: Place, message: impl Into<String>, remedy: impl Into<String>) {
        let (field, remedy) = (field.into(), remedy.into());
        debug_assert!(!remedy.is_empty(), "an error says what to do: {field}");
        self.bad.insert(field.clone());
        self.add(Severity::Error, field, place, message.into(), remedy);
    }

    pub fn warning(
        &mut self,
        field: impl Into<String>,
        place: Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Warning, field.into(), place, message.into(), remedy.into());
    }

    pub fn note(&mut self, field: impl Into<String>, place: Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Note, field.into(), place, message.into(), remedy.into());
    }

    fn add(&mut self, severity: Severity, field: String, place: Place, message: String, remedy: String) {
        let (line, column) = (place.line, place.column);
        self.problems.push(Problem { file: self.file.clone(), line, column, field, severity, message, remedy });
    }

    /// The fields that were found in error.
    pub fn bad(&self) -> &BTreeSet<String> {
        &self.bad
    }

    /// How many errors there are so far: who checks several things compares before and after.
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.is_error()).count()
    }

    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
