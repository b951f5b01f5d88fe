//! The expressions of published dashboards and rules, adapted to what is scraped here and to how long it is scraped.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use prefold::model::{Labels, METRIC_NAME, Matcher, Selector};
use prefold::promql::{Expr, ExprKind, parse};
use prefold::query::MemorySource;
use regex::{Captures, Regex};

/// `[5m]`, `[1h:]`, `[1h:5m]`
static RANGES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[\s*((?:\d+(?:ms|[smhdwy]))+)\s*(:\s*(?:(?:\d+(?:ms|[smhdwy]))+)?\s*)?\]").unwrap());

/// `offset 1d`, `offset -5m`
static OFFSETS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?i)\boffset\s+(-?)(?:\d+(?:ms|[smhdwy]))+").unwrap());

/// What ranges and offsets become, so that samples collected for a while fill them. Windows are of different lengths, so
/// that no one length hides what another shows; no multiple of a subquery's step, so that none of its steps stands on an edge.
pub struct Scale {
    windows: [&'static str; 4],
    step: &'static str,
    offset: &'static str,
}

pub const SECONDS: Scale = Scale { windows: ["7s", "9s", "11s", "15s"], step: "2s", offset: "4s" };
pub const MINUTES: Scale = Scale { windows: ["1m10s", "2m15s", "3m10s", "5m"], step: "13s", offset: "30s" };

/// The corpus, each expression once; `None` where there is none.
pub fn corpus() -> Option<BTreeSet<String>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora");
    let path = std::env::var_os("PREFOLD_CORPORA").map_or_else(beside, PathBuf::from).join("expressions/dev.jsonl.gz");
    if !path.is_file() {
        eprintln!("skipped: there is no {}", path.display());
        return None;
    }
    let output = Command::new("gzip").arg("-dc").arg(&path).output().expect("gzip is installed");
    let text = String::from_utf8(output.stdout).expect("the expressions are UTF-8");
    let expressions = text.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        row["expr"].as_str().unwrap_or_default().to_owned()
    });
    Some(expressions.collect())
}

/// The expression with windows and offsets of a scale, and with the matchers that some series here satisfies. `None` when
/// it is not PromQL or asks for a metric that is not there.
pub fn adapt(text: &str, source: &MemorySource, scale: Scale) -> Option<String> {
    let mut expr = parse(&scale.applied(text)).ok()?;
    let mut all_there = !expr.selectors().is_empty();
    relax(&mut expr, source, &mut all_there);
    all_there.then(|| expr.to_string())
}

impl Scale {
    fn applied(&self, text: &str) -> String {
        let range = |captures: &Captures<'_>| {
            let window = self.windows[captures[1].bytes().map(usize::from).sum::<usize>() % self.windows.len()];
            if captures.get(2).is_some() { format!("[{window}:{}]", self.step) } else { format!("[{window}]") }
        };
        OFFSETS.replace_all(&RANGES.replace_all(text, range), format!("offset ${{1}}{}", self.offset)).into_owned()
    }
}

fn relax(expr: &mut Expr, source: &MemorySource, all_there: &mut bool) {
    if let ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } = &mut expr.kind {
        match satisfied(&selector.selector, source) {
            Some(satisfied) => selector.selector = satisfied,
            None => *all_there = false,
        }
    }
    expr.children_mut().into_iter().for_each(|child| relax(child, source, all_there));
}

/// The selector without the matchers that would leave nothing; `None` when no series has the metric's name.
fn satisfied(selector: &Selector, source: &MemorySource) -> Option<Selector> {
    let named: Vec<&Matcher> = selector.on(METRIC_NAME).collect();
    let matching = |labels: &&Labels| named.iter().all(|m| m.matches(labels.metric()));
    let mut series: Vec<&Labels> = source.iter().map(|(labels, _)| labels).filter(matching).collect();
    if series.is_empty() || named.is_empty() {
        return None;
    }
    let mut kept: Vec<Matcher> = named.into_iter().cloned().collect();
    for matcher in selector.matchers().iter().filter(|matcher| matcher.name != METRIC_NAME) {
        let left: Vec<&Labels> = series.iter().filter(|l| matcher.matches(l.get(&matcher.name))).copied().collect();
        if !left.is_empty() {
            series = left;
            kept.push(matcher.clone());
        }
    }
    Some(Selector::new(kept))
}

#[test]
fn expressions_are_adapted_to_what_is_there() {
    let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
    let source = MemorySource::from_iter([
        (labels(&[("__name__", "a"), ("job", "node"), ("mode", "idle")]), Vec::new()),
        (labels(&[("__name__", "a"), ("job", "node"), ("mode", "user")]), Vec::new()),
    ]);
    for (text, expected) in [
        (r#"sum(rate(a{job="other", mode!="idle"}[5m]))"#, Some(r#"sum(rate(a{mode!="idle"}[11s]))"#)),
        ("max_over_time(a{mode=~\"idle|b\"}[1h:5m] offset 1d)", Some("max_over_time(a{mode=~\"idle|b\"}[9s:2s] offset 4s)")),
        ("a + b", None),
        ("1", None),
        ("a +", None),
    ] {
        assert_eq!(adapt(text, &source, SECONDS).as_deref(), expected, "{text}");
    }
}
