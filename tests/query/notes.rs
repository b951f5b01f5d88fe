//! Warnings and infos: once each, of the right place, and only where something is to be said. The suite compares the texts.

use prefold::model::Timestamp;
use prefold::promql::parse;
use prefold::query::{EvalOptions, instant, range};

use super::engine::source;

/// One text is said once, of the place where it came up last; for a range as for an instant.
#[test]
fn a_note_is_said_once_of_its_last_place() {
    let source = source("a 1 2 3\nb 1 2 3");
    let (from, to) = (Timestamp(60_000), Timestamp(120_000));
    for (query, places) in [
        ("rate(a[5m]) + increase(a[5m])", &["a: 1:24"][..]),
        ("rate(a[5m])\n + rate(b[5m])", &["a: 1:6", "b: 2:9"]),
        ("rate(a[5m] offset 1h)", &[]), // no value, no note
        ("quantile(2, a) + quantile_over_time(2, a[5m])", &["1:37"]),
        ("sort(sort(a))", &["1:1"]),
    ] {
        let options = EvalOptions { query: query.to_owned(), ..EvalOptions::default() };
        let answer = range(&parse(query).unwrap(), from, to, 60_000, &source, &options).unwrap();
        let place = |note: &String| {
            let metric = note.split('"').nth(1).map_or(String::new(), |metric| format!("{metric}: "));
            metric + note.rsplit(['(', ')']).nth(1).unwrap()
        };
        let noted: Vec<String> = answer.warnings.iter().chain(&answer.infos).map(place).collect();
        assert_eq!(noted, places, "{query}");
    }
}

/// What tells a counter: its name, or where asked for its label.
#[test]
fn counters_are_told_by_name_or_by_type() {
    let source = source("a 1 2 3\na_total 1 2 3\nb{__type__=\"counter\"} 1 2 3\nb_total{__type__=\"gauge\"} 1 2 3");
    let noted = |query: &str, type_labels: bool| -> Vec<String> {
        let options = EvalOptions { type_labels, ..EvalOptions::default() };
        let answer = instant(&parse(query).unwrap(), Timestamp(120_000), &source, &options).unwrap();
        answer
            .infos
            .iter()
            .map(|info| info.trim_start_matches("PromQL info: metric might not be a counter, ").to_owned())
            .collect()
    };
    let (name, label) =
        ("name does not end in _total/_sum/_count/_bucket", "__type__ label is not set to \"counter\" or \"histogram\"");
    for (metric, by_name, by_type) in [
        ("a", Some(format!("{name}: \"a\"")), Some(format!("{label}, got \"\": \"a\""))),
        ("a_total", None, Some(format!("{label}, got \"\": \"a_total\""))),
        ("b", Some(format!("{name}: \"b\"")), None),
        ("b_total", None, Some(format!("{label}, got \"gauge\": \"b_total\""))),
    ] {
        for query in [format!("rate({metric}[5m])"), format!("increase({metric}[5m])")] {
            assert_eq!(noted(&query, false), Vec::from_iter(by_name.clone()), "{query}");
            assert_eq!(noted(&query, true), Vec::from_iter(by_type.clone()), "{query}");
        }
        assert_eq!(
            (noted(&format!("irate({metric}[5m])"), true), noted(&format!("rate({metric}[1m])"), true)),
            (vec![], vec![])
        );
    }
}
