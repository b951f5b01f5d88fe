//! Floats beside native histograms: what is passed over, counted, dropped, and what is refused because it would need to look
//! inside one. The suite has more of this; here stands what it leaves open, and each refusal.

use prefold::model::Timestamp;
use prefold::promql::parse;
use prefold::query::load::load_lines;
use prefold::query::{EvalOptions, MemorySource, Value, instant, range};

const SERIES: &str = "
f{a=\"1\"} 1 2 3 4
f{a=\"2\"} 5 6 7 8
h{a=\"1\"} {{count:1 sum:1}}x3
h{a=\"2\"} {{count:2 sum:2}}x3
mix{a=\"1\"} 1 {{count:1}} 3 {{count:2}}
mix{a=\"2\"} {{count:1}} 2 {{count:1}} 4
own{a=\"1\"} {{schema:-53 count:1 custom_values:[1]}}x3
own{a=\"2\"} {{schema:-53 count:1 custom_values:[2]}}x3
b{a=\"1\", le=\"1\"} 1x3
b{a=\"1\", le=\"+Inf\"} 2x3
b{a=\"1\"} {{count:2}} _ {{count:2}} _
";

/// The answer at two and a half minutes, sorted, then what is noted; or why there is none.
fn answer(query: &str) -> String {
    let mut source = MemorySource::new();
    load_lines(&mut source, 60_000, SERIES.trim()).unwrap();
    let options = EvalOptions { query: query.to_owned(), ..EvalOptions::default() };
    let expr = parse(query).unwrap();
    let answer = match instant(&expr, Timestamp(150_000), &source, &options) {
        Ok(answer) => answer,
        Err(error) => return error.message,
    };
    let mut lines: Vec<String> = match answer.value {
        Value::Vector(points) => points.iter().map(|p| format!("{} {}", p.labels, p.sample.v)).collect(),
        Value::Scalar(sample) => vec![sample.v.to_string()],
        other => panic!("{other:?}"),
    };
    lines.sort();
    lines.extend(answer.warnings.into_iter().chain(answer.infos).map(|note| note.replace("PromQL ", "")));
    lines.join("; ")
}

#[track_caller]
fn check(query: &str, expected: &str) {
    assert_eq!(answer(query), expected, "{query}");
}

const REFUSED: &str = "native-histogram is not evaluated here: ask the upstream database";

#[test]
fn a_selector_is_refused_only_when_it_shows_a_native_histogram() {
    check("f", r#"f{a="1"} 3; f{a="2"} 7"#);
    check("mix offset 30s", REFUSED); // a="2" is one
    check(r#"mix{a="1"}"#, r#"mix{a="1"} 3"#);
    check(r#"mix{a="1"} offset 1m"#, REFUSED);
    check("h", REFUSED);
    check("-h", REFUSED);
    check("count(-h)", "{} 2");
    check("abs(mix)", r#"{a="1"} 3"#);
    check("hour(mix)", r#"{a="1"} 0"#);
    check("timestamp(mix)", r#"{a="1"} 120; {a="2"} 120"#);
    check(
        "timestamp(mix + 0)",
        r#"{a="1"} 150; info: incompatible sample types encountered for binary operator "+": histogram + float (1:11)"#,
    );
    check("timestamp(mix * 1)", r#"{a="1"} 150; {a="2"} 150"#);
    check("scalar(mix)", "3");
    check("sort(mix)", r#"mix{a="1"} 3"#);
    check("absent(h)", "");
    check("histogram_count(f)", "");
    check("histogram_count(h)", REFUSED);
}

#[test]
fn groups_pass_over_or_drop_or_count_native_histograms() {
    check("max(mix)", r#"{} 3; info: ignored histogram in max aggregation (1:5)"#);
    check("max(h)", "info: ignored histogram in max aggregation (1:5)");
    check("stddev(mix)", r#"{} 0; info: ignored histogram in stddev aggregation (1:8)"#);
    check("quantile(0.5, mix)", r#"{} 3; info: ignored histogram in quantile aggregation (1:15)"#);
    check("topk(5, mix)", r#"mix{a="1"} 3; info: ignored histogram in topk aggregation (1:1)"#);
    check("count(mix)", "{} 2");
    check("group(h)", "{} 1");
    check("sum(mix)", "warning: encountered a mix of histograms and floats for aggregation (1:5)");
    check("count(limitk(1, h))", "{} 1");
    check("count(limit_ratio(1, h))", "{} 2");
    check("sum(h)", REFUSED);
    check("count(sum by (a) (h))", "{} 2"); // of one alone it is the sum
    check("avg(h)", REFUSED);
    check("sum({__name__=~\"f|h\"})", "warning: encountered a mix of histograms and floats for aggregation (1:5)");
    check("sum({__name__=~\"own|b\", le!=\"+Inf\"})", REFUSED); // bounds that do not fit are said before the mix
    check("count_values(\"v\", h)", REFUSED);
}

#[test]
fn windows_pass_over_or_drop_or_count_native_histograms() {
    let ignored = "ignored histograms in a range containing both floats and histograms for metric name";
    let mixed = "encountered a mix of histograms and floats for metric name";
    check("max_over_time(mix[3m])", &format!(r#"{{a="1"}} 3; {{a="2"}} 2; info: {ignored} "mix" (1:15)"#));
    check("max_over_time(h[3m])", "");
    check("deriv(mix[3m])", &format!(r#"{{a="1"}} {}; info: {ignored} "mix" (1:7)"#, 1.0 / 60.0));
    check("quantile_over_time(2, h[3m])", "");
    check("predict_linear(mix[2m], 60)", &format!(r#"info: {ignored} "mix" (1:16)"#));
    check("double_exponential_smoothing(h[3m], 2, 0.5)", "invalid smoothing factor. Expected: 0 < sf < 1, got: 2.000000");
    check("rate(mix[3m])", &format!(r#"warning: {mixed} "mix" (1:6)"#));
    check("irate(mix[3m])", &format!(r#"warning: {mixed} "mix" (1:7)"#));
    check("sum_over_time(mix[3m])", &format!(r#"warning: {mixed} "mix" (1:15)"#));
    check("rate(h[1m])", ""); // a single one
    check("rate(h[3m])", REFUSED);
    check("idelta(h[3m])", REFUSED);
    check("sum_over_time(h[1m])", REFUSED);
    check("count_over_time(mix[3m])", r#"{a="1"} 3; {a="2"} 3"#);
    check("last_over_time(mix[3m])", REFUSED);
    check("last_over_time(mix{a=\"1\"}[3m])", r#"mix{a="1"} 3"#);
    check("ts_of_first_over_time(mix[3m])", r#"{a="1"} 0; {a="2"} 0"#);
    check("changes(mix[3m])", r#"{a="1"} 2; {a="2"} 2"#);
    check("resets(h[3m])", REFUSED);
    check("max_over_time(mix[3m:1m])", &format!(r#"{{a="1"}} 3; {{a="2"}} 2; info: {ignored} "mix" (1:15)"#));
}

#[test]
fn operators_combine_native_histograms_with_few_things() {
    let incompatible = "incompatible sample types encountered for binary operator";
    check("f + on (a) h", &format!(r#"info: {incompatible} "+": float + histogram (1:1)"#));
    check("1 < mix", &format!(r#"mix{{a="1"}} 3; info: {incompatible} "<": float < histogram (1:1)"#));
    check("mix == bool 3", &format!(r#"{{a="1"}} 1; info: {incompatible} "==": histogram == float (1:1)"#));
    check("f </ 2", &format!(r#"info: {incompatible} "</": float </ float (1:1)"#));
    check("count by (__name__) (h </ 2)", "h 2");
    check("count(f * on (a) h)", "{} 2");
    check("count(h / 2)", "{} 2");
    check("2 / h", &format!(r#"info: {incompatible} "/": float / histogram (1:1)"#));
    check("h + h", REFUSED);
    check("h == h", REFUSED);
    check("h * on (a) h", &format!(r#"info: {incompatible} "*": histogram * histogram (1:1)"#));
    check("f and on (a) mix", r#"f{a="1"} 3; f{a="2"} 7"#);
    check("count(mix or f)", "{} 2");
    // Pairs that do not fit are no match: neither an ambiguous one, nor one that keeps a fill value out.
    check("f + on () h{a=\"1\"}", &format!(r#"info: {incompatible} "+": float + histogram (1:1)"#));
    check("f{a=\"1\"} + on (a) fill(0) h{a=\"1\"}", &format!(r#"info: {incompatible} "+": float + histogram (1:1)"#));
}

#[test]
fn buckets_beside_a_native_histogram_count_for_nothing() {
    let mix = "vector contains a mix of classic and native histograms";
    check("histogram_quantile(0.5, b)", &format!("warning: {mix} (1:25)"));
    check("histogram_quantile(0.5, b offset 1m)", &format!("warning: {mix} (1:25)"));
    check("histogram_quantile(0.5, h)", REFUSED);
    check("histogram_fraction(0, 1, h)", REFUSED);
}

/// Only the steps that show one count.
#[test]
fn a_range_is_refused_where_any_step_shows_a_native_histogram() {
    let mut source = MemorySource::new();
    load_lines(&mut source, 60_000, "m 1 2 {{count:1}} 4 5").unwrap();
    let at = |from: i64, to: i64, query: &str| {
        let (from, to) = (Timestamp(from * 60_000), Timestamp(to * 60_000));
        range(&parse(query).unwrap(), from, to, 60_000, &source, &EvalOptions::default()).is_ok()
    };
    assert!(at(0, 1, "m") && at(3, 4, "m") && !at(0, 4, "m") && at(0, 4, "count(m)") && at(0, 4, "m > 0"));
}
