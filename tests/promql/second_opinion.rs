//! The crate promql-parser reads the same trees, but for what it is known not to read or to read wrongly.

use prefold::promql::{Expr, ExprKind};

use super::corpus::{dashboard_expressions, eval_queries, vectors};
use super::{oracle, round_trip, text};

/// How the two parsers judge one text.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Verdict {
    Agreed,
    BothRefuse,
    /// Read here, refused by the crate, for a reason of [`newer`].
    Newer,
    /// The place in [`DEFECTS`].
    Defect(usize),
    /// Matchers joined with `or`: valid in VictoriaMetrics only.
    OrMatchers,
}

/// Where promql-parser 0.11.1 errs, told by a part of the text, and how. Of its printing nothing is used. What it does not
/// read because it is newer is in [`newer`].
const DEFECTS: [(&str, &str); 14] = [
    ("99999999999999999999", "a number beyond the greatest float is read as infinite"),
    ("9.5e10", "a duration beyond 292 years is read"),
    ("\u{fffd}", "the replacement character is read, which Prometheus refuses"),
    ("`\\a\\b\\f", "a raw string's backslashes are taken for escapes"),
    ("\\xFF\\377", "a byte above 0x7f is read as the character of that number"),
    ("a\\xc5z", "a byte above 0x7f is read as the character of that number"),
    ("`a\\dos\\path`", "a raw string's backslashes are taken for escapes"),
    ("anchored{", "a metric cannot be called so"),
    ("smoothed{", "a metric cannot be called so"),
    ("(anchored)", "a label cannot be called so"),
    ("(smoothed)", "a label cannot be called so"),
    ("info(rate(http_request_counter_total{}[5m]), target_info{", "info() takes a metric's name"),
    ("{foo=\"bar\"} == 1)", "info() takes any expression"),
    ("info(metric", "info() does not take matchers that match the empty string"),
];

/// Why promql-parser does not read a query: what Prometheus has behind flags is newer than the crate.
fn newer(expr: &Expr) -> Option<&'static str> {
    let mut reason = None;
    expr.visit(&mut |expr| {
        let found = match &expr.kind {
            ExprKind::Modified(modified) if modified.edge.is_some() => Some("anchored and smoothed"),
            ExprKind::Modified(_) => Some("arithmetic on durations"),
            ExprKind::Binary(binary) if binary.op.is_trim() => Some("operators that trim native histograms"),
            _ => None,
        };
        reason = reason.or(found);
    });
    reason
}

fn judge(text: &str) -> Result<Verdict, String> {
    let found = match (oracle::read(text), round_trip(text)) {
        (Ok(expected), Ok(read)) if expected == read => return Ok(Verdict::Agreed),
        (Err(oracle::Refused::OrMatchers), Err(_)) => return Ok(Verdict::OrMatchers),
        (Err(oracle::Refused::NotPromql), Err(_)) => return Ok(Verdict::BothRefuse),
        (Err(_), Ok(read)) if newer(&read).is_some() => return Ok(Verdict::Newer),
        (Ok(expected), Ok(read)) => format!("{text}: read as {read}, by promql-parser as {expected}"),
        (Ok(expected), Err(error)) => format!("{text}: {error}, read by promql-parser as {expected}"),
        (Err(_), Ok(read)) => format!("{text}: read as {read}, refused by promql-parser"),
    };
    DEFECTS.iter().position(|(part, _)| text.contains(part)).map(Verdict::Defect).ok_or(found)
}

#[test]
fn dashboard_expressions_agree_with_the_second_opinion() {
    let Some(expressions) = dashboard_expressions() else { return };
    let texts: Vec<&str> = expressions.iter().map(String::as_str).collect();
    // Compiling each regular expression four times takes long: all cores share it.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let verdicts: Result<Vec<Verdict>, String> = std::thread::scope(|scope| {
        let chunks = texts.chunks(texts.len().div_ceil(threads).max(1));
        let work: Vec<_> = chunks.map(|chunk| scope.spawn(|| chunk.iter().map(|text| judge(text)).collect())).collect();
        work.into_iter()
            .flat_map(|thread| -> Vec<Result<Verdict, String>> { thread.join().expect("no text panics") })
            .collect()
    });
    let verdicts = verdicts.unwrap();
    let count = |verdict: Verdict| verdicts.iter().filter(|other| **other == verdict).count();
    let (agreed, both_refuse) = (count(Verdict::Agreed), count(Verdict::BothRefuse));
    println!("{} expressions: {agreed} agreed, {both_refuse} refused by both", texts.len());
    assert_eq!(count(Verdict::Newer), 0);
    assert!(!verdicts.iter().any(|verdict| matches!(verdict, Verdict::Defect(_))));
    assert!(agreed * 1000 >= texts.len() * 995, "{agreed} of {}", texts.len());
}

#[test]
fn prometheus_own_texts_agree_with_the_second_opinion() {
    let (Some(rows), Some(queries)) = (vectors("promql_parse.jsonl"), eval_queries()) else { return };
    let mut texts: Vec<String> = rows.iter().map(|row| text(row, "expr").to_owned()).collect();
    texts.extend(queries.into_iter().map(|(query, _)| query));
    let verdicts: Vec<Verdict> = texts.iter().map(|text| judge(text).unwrap()).collect();
    let count = |verdict: Verdict| verdicts.iter().filter(|other| **other == verdict).count();
    let (agreed, newer) = (count(Verdict::Agreed), count(Verdict::Newer));
    println!("{} texts: {agreed} agreed, {newer} are newer than promql-parser", texts.len());
    for (place, (part, defect)) in DEFECTS.iter().enumerate() {
        assert!(count(Verdict::Defect(place)) > 0, "{part}: {defect}: not any more");
    }
    assert!(agreed > 1300 && newer > 100, "{agreed} {newer}");
}
