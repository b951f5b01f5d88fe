//! limitk and limit_ratio: choices that the suite counts, but does not name.

use prefold::model::Timestamp;
use prefold::promql::parse;
use prefold::query::{EvalOptions, Evaluated, MatrixSeries, Value, instant, range};

use super::engine::source;

/// The first ones of a group, in the order in which the source gives series, whatever their values; at each step anew.
#[test]
fn limitk_chooses_those_that_come_first() {
    let source =
        source("m{i=\"3\", g=\"x\"} 1 _ 3\nm{i=\"1\", g=\"x\"} 9x2\nm{i=\"2\", g=\"y\"} 5x2\nm{i=\"4\", g=\"x\"} NaNx2");
    let chosen = |query: &str| {
        let options = EvalOptions { lookback_ms: 60_000, ..EvalOptions::default() };
        match range(&parse(query).unwrap(), Timestamp(0), Timestamp(120_000), 60_000, &source, &options).unwrap().value {
            Value::Matrix(series) => {
                let one = |s: &MatrixSeries| {
                    format!("{}@{:?}", s.labels.get("i"), s.points.iter().map(|p| p.t.0 / 60_000).collect::<Vec<_>>())
                };
                series.iter().map(one).collect::<Vec<_>>().join(" ")
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(chosen("limitk(2, m)"), "1@[0, 1, 2] 3@[0, 2] 2@[1]");
    assert_eq!(chosen("limitk by (g) (1, m)"), "1@[1] 3@[0, 2] 2@[0, 1, 2]");
    assert_eq!(chosen("limitk(0, m)"), "");
}

/// Which share of the series limit_ratio chooses follows from their labels alone.
#[test]
fn limit_ratio_chooses_complements() {
    let lines: Vec<String> = (0..200).map(|i| format!("m{{i=\"{i}\"}} {i}")).collect();
    let source = source(&lines.join("\n"));
    let chosen = |query: &str| match instant(&parse(query).unwrap(), Timestamp(0), &source, &EvalOptions::default()) {
        Ok(Evaluated { value: Value::Vector(points), warnings, .. }) => (points.len(), warnings),
        other => panic!("{other:?}"),
    };
    for tenth in 0..=10 {
        let (low, high) = (format!("limit_ratio({tenth} / 10, m)"), format!("limit_ratio({tenth} / 10 - 1, m)"));
        let share = chosen(&low).0;
        assert!(share.abs_diff(tenth * 20) <= 30, "{share} of 200 for {tenth} tenths");
        if (1..10).contains(&tenth) {
            assert_eq!(chosen(&format!("{low} or {high}")).0, 200);
            assert_eq!(chosen(&format!("{low} and {high}")).0, 0);
        }
    }
    assert_eq!((chosen("limit_ratio(0, m)").0, chosen("limit_ratio(-1, m)").0), (0, 200));
    let warning = "PromQL warning: ratio value should be between -1 and 1, got 1.5, capping to 1";
    assert_eq!(chosen("limit_ratio(1.5, m)"), (200, vec![warning.to_owned()]));
}
