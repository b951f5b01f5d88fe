//! Matchers and selectors, and when one implies another.
//!
//! A regular expression is anchored and `.` matches a newline, as in Prometheus. `implies` is the containment test that
//! rewriting stands on: true only when it is certain, so that unknown means no.

mod literals;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use regex::Regex;
use smol_str::SmolStr;

use self::literals::literal_set;
use super::labels::{Labels, METRIC_NAME};
use super::quote::quoted;

/// How a matcher compares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

impl MatchOp {
    pub fn symbol(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }

    fn negative(self) -> bool {
        matches!(self, MatchOp::NotEqual | MatchOp::NotRegex)
    }
}

/// The most bytes a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 4 << 20;

/// One condition on one label. Made by [`Matcher::new`], which compiles the regular expression.
#[derive(Clone)]
pub struct Matcher {
    pub name: SmolStr,
    pub op: MatchOp,
    pub value: SmolStr,
    /// Compiled when `op` is a regular expression.
    regex: Option<Arc<Regex>>,
    /// The values a positive form of this matcher accepts, when they are few and known: `=` has one, `=~"a|b"` two.
    literals: Option<Arc<BTreeSet<SmolStr>>>,
}

impl Matcher {
    /// # Errors
    /// When the value is not a regular expression, or one too large.
    pub fn new(name: impl Into<SmolStr>, op: MatchOp, value: impl Into<SmolStr>) -> Result<Matcher, String> {
        let (name, value) = (name.into(), value.into());
        let (regex, literals) = match op {
            MatchOp::Equal | MatchOp::NotEqual => (None, Some(BTreeSet::from([value.clone()]))),
            MatchOp::Regex | MatchOp::NotRegex => (Some(Arc::new(compile(&value)?)), literal_set(&value)),
        };
        Ok(Matcher { name, op, value, regex, literals: literals.map(Arc::new) })
    }

    /// `name="value"`, which cannot fail.
    pub fn equal(name: impl Into<SmolStr>, value: impl Into<SmolStr>) -> Matcher {
        let value = value.into();
        let literals = Some(Arc::new(BTreeSet::from([value.clone()])));
        Matcher { name: name.into(), op: MatchOp::Equal, value, regex: None, literals }
    }

    /// Whether a label's value (empty when absent) satisfies this.
    pub fn matches(&self, value: &str) -> bool {
        match (&self.literals, &self.regex) {
            (Some(literals), _) => literals.contains(value) != self.op.negative(),
            (None, Some(regex)) => regex.is_match(value) != self.op.negative(),
            (None, None) => false,
        }
    }

    /// Whether an absent label satisfies this.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The only values this can accept, when they are known and finitely many.
    pub fn accepted(&self) -> Option<&BTreeSet<SmolStr>> {
        if self.op.negative() { None } else { self.literals.as_deref() }
    }

    /// The only values this refuses, when they are known and finitely many.
    pub fn refused(&self) -> Option<&BTreeSet<SmolStr>> {
        if self.op.negative() { self.literals.as_deref() } else { None }
    }

    /// Whether every value accepted by all of `known` (matchers on this label) is accepted by this.
    ///
    /// Decided on literal sets and identity; for anything else the answer is no, which is always safe.
    pub fn implied_by<'a>(&self, known: impl Iterator<Item = &'a Matcher> + Clone) -> bool {
        if self.matches_everything() {
            return true;
        }
        let mut accepted = known.clone().filter_map(Matcher::accepted);
        if let Some(first) = accepted.next() {
            let all: Vec<&Matcher> = known.collect();
            return first.iter().filter(|value| all.iter().all(|m| m.matches(value))).all(|value| self.matches(value));
        }
        match self.refused() {
            Some(refused) => refused.iter().all(|value| known.clone().any(|m| !m.matches(value))),
            None => known.clone().any(|m| m == self),
        }
    }

    /// `.*` and its like: accepts every value, the empty one included.
    pub fn matches_everything(&self) -> bool {
        (self.op == MatchOp::Regex && (self.value == ".*" || self.value == "(.*)"))
            || (self.op.negative() && self.literals.as_ref().is_some_and(|l| l.is_empty()))
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(&format!("^(?s:{pattern})$"))
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| format!("bad regular expression {pattern:?}: {}", last_line(&error.to_string())))
}

/// A regex error is a drawing of several lines; its last one says what is wrong.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
}

/// Identity is text: two expressions that accept the same values by different means are different matchers.
impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl PartialOrd for Matcher {
    fn partial_cmp(&self, other: &Matcher) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Matcher {
    fn cmp(&self, other: &Matcher) -> std::cmp::Ordering {
        (&self.name, self.op, &self.value).cmp(&(&other.name, other.op, &other.value))
    }
}

impl std::hash::Hash for Matcher {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.name, self.op, &self.value).hash(state);
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.name, self.op.symbol(), quoted(&self.value))
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All of a selector's matchers, the metric's name among them; sorted, without duplicates.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Selector(Vec<Matcher>);

impl Selector {
    pub fn new(mut matchers: Vec<Matcher>) -> Selector {
        matchers.sort();
        matchers.dedup();
        Selector(matchers)
    }

    pub fn matchers(&self) -> &[Matcher] {
        &self.0
    }

    /// The matchers on one label.
    pub fn on<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Matcher> + Clone {
        self.0.iter().filter(move |matcher| matcher.name == name)
    }

    /// The metric's name when exactly one is selected by equality.
    pub fn metric(&self) -> Option<&str> {
        self.on(METRIC_NAME).find(|m| m.op == MatchOp::Equal).map(|m| m.value.as_str())
    }

    /// Whether a series is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|matcher| matcher.matches(labels.get(&matcher.name)))
    }

    /// Whether every series this selects, `wider` selects too. No when unknown.
    pub fn implies(&self, wider: &Selector) -> bool {
        wider.0.iter().all(|matcher| matcher.implied_by(self.on(&matcher.name)))
    }

    /// What this asks beyond what `wider` already guarantees.
    pub fn residual(&self, wider: &Selector) -> Vec<Matcher> {
        self.0.iter().filter(|matcher| !matcher.implied_by(wider.on(&matcher.name))).cloned().collect()
    }
}

/// `name{a="b"}` with the name pulled out when it is a plain one.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metric = self.metric().filter(|name| is_metric_name(name));
        f.write_str(metric.unwrap_or_default())?;
        let rest: Vec<String> = self
            .0
            .iter()
            .filter(|m| !(m.name == METRIC_NAME && m.op == MatchOp::Equal && Some(m.value.as_str()) == metric))
            .map(|m| {
                if is_label_name(&m.name) {
                    m.to_string()
                } else {
                    format!("{}{}{}", quoted(&m.name), m.op.symbol(), quoted(&m.value))
                }
            })
            .collect();
        if metric.is_none() || !rest.is_empty() {
            write!(f, "{{{}}}", rest.join(","))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`: what can stand before braces unquoted.
pub fn is_metric_name(name: &str) -> bool {
    is_plain(name, |byte| byte == b':')
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`: what can stand in braces unquoted.
pub fn is_label_name(name: &str) -> bool {
    is_plain(name, |_| false)
}

fn is_plain(name: &str, also: impl Fn(u8) -> bool) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || also(b));
    first && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || also(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};

    fn m(op: MatchOp, value: &str) -> Matcher {
        Matcher::new("l", op, value).unwrap()
    }

    #[test]
    fn regular_expressions_are_anchored_and_dots_match_newlines() {
        assert!(m(Regex, "a.c").matches("a\nc") && !m(Regex, "a").matches("ab"));
        assert!(m(Regex, "a|b").matches("b") && !m(Regex, "a|b").matches("ab"));
        assert!(m(NotRegex, "a|b").matches("") && !m(NotRegex, "a|b").matches("a"));
        assert!(Matcher::new("l", Regex, "(").unwrap_err().contains("bad regular expression"));
        assert!(Matcher::new("l", Regex, "((a{1000}){1000}){1000}").is_err());
    }

    /// As PromQL reads it, not as Rust does.
    #[test]
    fn texts_are_escaped_as_in_promql() {
        let odd = "a\"b\\\n\u{1b}\u{7f}'\u{200b}ä";
        let written = r#""a\"b\\\n\x1b\x7f'\u200bä""#;
        assert_eq!(m(Equal, odd).to_string(), format!("l={written}"));
        let selector = Selector::new(vec![Matcher::equal(METRIC_NAME, "x"), Matcher::equal("a\u{1b}", odd)]);
        assert_eq!(selector.to_string(), format!(r#"x{{"a\x1b"={written}}}"#));
        assert_eq!(Labels::from_pairs([(METRIC_NAME, "x"), ("l", odd)]).to_string(), format!("x{{l={written}}}"));
    }

    #[track_caller]
    fn check_implies(known: &[Matcher], wanted: Matcher, expected: bool) {
        assert_eq!(wanted.implied_by(known.iter()), expected, "{known:?} => {wanted:?}");
        if expected {
            for value in ["", "a", "b", "c", "ab", "x"] {
                assert!(!known.iter().all(|k| k.matches(value)) || wanted.matches(value), "unsound at {value:?}");
            }
        }
    }

    #[test]
    fn implication_is_decided_on_literals_and_unknown_means_no() {
        check_implies(&[m(Equal, "a")], m(Regex, "a|b"), true);
        check_implies(&[m(Regex, "a|b")], m(Regex, "(a|b|c)"), true);
        check_implies(&[m(Regex, "a|b|c"), m(NotEqual, "c")], m(Regex, "a|b"), true);
        check_implies(&[m(Regex, "a|x")], m(Regex, "a|b"), false);
        check_implies(&[m(Equal, "a")], m(NotEqual, "b"), true);
        check_implies(&[m(NotRegex, "b|c")], m(NotEqual, "b"), true);
        check_implies(&[m(NotEqual, "b")], m(NotRegex, "b|c"), false);
        check_implies(&[m(Equal, "a")], m(Regex, "a.*"), true);
        check_implies(&[m(Regex, "a.*")], m(Regex, "a.*"), true);
        check_implies(&[m(Regex, "ab.*")], m(Regex, "a.*"), false); // true in fact; automata decide it in a later issue
        check_implies(&[], m(Regex, ".*"), true);
        check_implies(&[], m(NotEqual, "a"), false);
        check_implies(&[m(NotEqual, "")], m(NotEqual, ""), true);
        check_implies(&[m(Regex, "[ab]")], m(Regex, "a|b"), true);
    }

    #[test]
    fn residual_is_what_the_wider_selector_does_not_guarantee() {
        let eq = |n: &str, v: &str| Matcher::equal(n, v);
        let wanted = Selector::new(vec![eq("__name__", "x"), eq("app", "A"), eq("env", "prod")]);
        let have = Selector::new(vec![eq("__name__", "x"), eq("app", "A")]);
        assert!(wanted.implies(&have) && !have.implies(&wanted));
        assert_eq!(wanted.residual(&have), vec![eq("env", "prod")]);
        assert_eq!(wanted.to_string(), r#"x{app="A",env="prod"}"#);
    }
}
