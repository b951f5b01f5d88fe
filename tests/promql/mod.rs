//! The PromQL parser against texts that others wrote: Prometheus' own parser and printer tests, its query tests, and the
//! expressions of published dashboards and rules, with the crate promql-parser as a second opinion on their structure.
//!
//! These see texts read wrongly, refused or lost in printing. They cannot see a misreading that both parsers share.

mod corpus;
pub mod mutation;
mod oracle;

use std::collections::BTreeSet;

use prefold::promql::parse;
use serde_json::Value;

use corpus::{dashboard_expressions, eval_queries, vectors};

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_else(|| panic!("a row without {key}: {row}"))
}

/// Reads a text; what reads must survive printing.
#[track_caller]
fn round_trip(text: &str) -> Result<prefold::promql::Expr, prefold::promql::ParseError> {
    let expr = parse(text)?;
    let printed = expr.to_string();
    match parse(&printed) {
        Ok(again) => assert_eq!(again, expr, "{text}\nprinted as {printed}"),
        Err(error) => panic!("{text}\nprinted as {printed}\n{error}"),
    }
    Ok(expr)
}

#[test]
fn prometheus_parser_tests_are_judged_alike() {
    let Some(rows) = vectors("promql_parse.jsonl") else { return };
    let (mut good, mut bad, mut same_message, mut slugs) = (0, 0, 0, Vec::new());
    for row in &rows {
        let expr = text(row, "expr");
        match (text(row, "expect"), round_trip(expr)) {
            ("good", Ok(_)) => good += 1,
            ("good", Err(error)) => match error.unsupported {
                Some(slug) => slugs.push(slug),
                None => panic!("{expr}: {error}"),
            },
            (_, Ok(read)) => panic!("{expr}: read as {read}"),
            (_, Err(error)) => {
                assert_eq!(error.unsupported, None, "{expr}: {error}");
                bad += 1;
                let same = row["err"][0].as_str() == Some(error.message.as_str());
                same_message += usize::from(same);
                if !same {
                    println!("{expr:.60}: {} / {}", error.message, row["err"][0]);
                }
            }
        }
    }
    let count = |slug: &str| slugs.iter().filter(|other| **other == slug).count();
    let not_read = [count("extended-range-selector"), count("native-histogram"), count("duration-expression")];
    println!("{good} read, {bad} refused, {same_message} of them in the same words, not read {not_read:?}");
    assert_eq!((good + slugs.len(), bad), (208, 146));
    assert_eq!(not_read.iter().sum::<usize>(), slugs.len());
    assert_eq!((good, same_message), (GOOD_READ, SAME_WORDS));
}

/// Of Prometheus' 208 good expressions; the others have arithmetic on durations.
const GOOD_READ: usize = 180;

/// Of Prometheus' 146 errors. The text of the one other, `(`, was cut short when it was taken over.
const SAME_WORDS: usize = 145;

/// Texts that Prometheus prints otherwise, because its tree keeps what ours holds to be equal.
const PRINTED_OTHERWISE: [(&str, &str); 2] = [
    // A name in braces is the same matcher as a name before them.
    ("{__name__=\"a\"}", "a"),
    // Labels of a grouping are sorted.
    ("count by(\"ööö\", job) (foo)", "count by (job, \"ööö\") (foo)"),
];

#[test]
fn prometheus_printer_tests_print_alike() {
    let Some(rows) = vectors("promql_printer.jsonl") else { return };
    let mut printed = 0;
    for row in &rows {
        let (expr, out) = (text(row, "expr"), text(row, "out"));
        let otherwise = PRINTED_OTHERWISE.iter().find(|(text, _)| *text == expr).map(|(_, out)| *out);
        match round_trip(expr) {
            Ok(read) => {
                assert_eq!(read.to_string(), otherwise.unwrap_or(out), "{expr}");
                printed += 1;
            }
            Err(error) => assert!(error.unsupported.is_some(), "{expr}: {error}"),
        }
    }
    // The others have modifiers or durations that are not read.
    assert_eq!((rows.len(), printed), (86, 52));
}

/// How the two parsers judge one text.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Verdict {
    Agreed,
    BothRefuse,
    OnlyWeRead,
    /// Matchers joined with `or`: valid in VictoriaMetrics only.
    OrMatchers,
}

fn judge(text: &str) -> Verdict {
    match (oracle::read(text), round_trip(text)) {
        (Ok(expected), Ok(read)) => {
            assert_eq!(expected, read, "{text}");
            Verdict::Agreed
        }
        (Ok(_), Err(error)) => panic!("{text}: {error}"),
        (Err(oracle::Refused::OrMatchers), Err(_)) => Verdict::OrMatchers,
        (Err(oracle::Refused::NotPromql), Err(_)) => Verdict::BothRefuse,
        (Err(_), Ok(_)) => Verdict::OnlyWeRead,
    }
}

#[test]
fn dashboard_expressions_agree_with_the_second_opinion() {
    let Some(expressions) = dashboard_expressions() else { return };
    let texts: Vec<&str> = expressions.iter().map(String::as_str).collect();
    // Compiling each regular expression four times takes long: all cores share it.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let verdicts: Vec<Verdict> = std::thread::scope(|scope| {
        let chunks = texts.chunks(texts.len().div_ceil(threads).max(1));
        let work: Vec<_> = chunks.map(|chunk| scope.spawn(|| chunk.iter().map(|text| judge(text)).collect())).collect();
        work.into_iter().flat_map(|thread| -> Vec<Verdict> { thread.join().expect("no text panics") }).collect()
    });
    let count = |verdict: Verdict| verdicts.iter().filter(|other| **other == verdict).count();
    let (agreed, both_refuse) = (count(Verdict::Agreed), count(Verdict::BothRefuse));
    println!("{} expressions: {agreed} agreed, {both_refuse} refused by both", texts.len());
    let only_we: Vec<_> = texts.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == Verdict::OnlyWeRead).collect();
    assert!(only_we.is_empty(), "{only_we:#?}");
    assert!(agreed * 1000 >= texts.len() * 995, "{agreed} of {}", texts.len());
}

#[test]
fn prometheus_query_tests_are_read() {
    let Some(queries) = eval_queries() else { return };
    let (mut read, mut refused, mut slugs) = (0, Vec::new(), BTreeSet::new());
    for (query, fails) in &queries {
        match round_trip(query) {
            Ok(_) => read += 1,
            Err(error) => match error.unsupported {
                Some(slug) => drop(slugs.insert(slug)),
                None if *fails => {}
                None => refused.push(format!("{query}: {error}")),
            },
        }
    }
    println!("{read} of {} read, not read for {slugs:?}", queries.len());
    assert!(refused.is_empty(), "{refused:#?}");
    assert_eq!(slugs.into_iter().collect::<Vec<_>>(), SLUGS);
    assert!(read >= 1100, "{read}");
}

/// All reasons for not reading valid PromQL.
const SLUGS: [&str; 3] = ["duration-expression", "extended-range-selector", "native-histogram"];
