//! Query, views, and what comes of it. Rows that must not fire name the trap.

use prefold::model::{Labels, Timestamp};
use prefold::rewrite::{Outcome, QueryTime, explain};

use super::world::{TestView, World, ask, catalog, readable, same_answer, samples, with_records};

fn view(name: &'static str, expr: &str, step_s: i64) -> TestView {
    TestView { name, expr: expr.to_owned(), step_s, tenant: "", record: None }
}

fn recorded(name: &'static str, expr: &str, record: &'static str, labels: &[(&str, &str)]) -> TestView {
    let labels = Labels::from_pairs(labels.iter().copied());
    TestView { record: Some((record, labels)), ..view(name, expr, 30) }
}

/// Every view of the tables, by name.
pub fn views() -> Vec<TestView> {
    vec![
        view("s", "sum by (a, b) (rate(m[2m]))", 30),
        view("s5", "sum by (a, b) (rate(m[5m]))", 30),
        view("one", r#"sum by (b) (rate(m{a="1"}[2m]))"#, 30),
        view("two", r#"sum by (a, b) (rate(m{a=~"1|2"}[2m]))"#, 30),
        view("set", r#"sum by (a, b) (rate(m{a!=""}[2m]))"#, 30),
        view("pre", r#"sum by (a, c) (rate(m{b=~"x.*"}[2m]))"#, 30),
        view("all", "sum by (a, b, c) (rate(m[2m]))", 30),
        view("wide", "sum without (c) (rate(m[2m]))", 30),
        view("minute", "sum by (a, b) (rate(m[2m]))", 60),
        view("inc", "sum by (a, b) (increase(m[2m]))", 30),
        view("avgr", "avg by (a, b) (rate(m[2m]))", 30),
        view("cntr", "count by (a, b) (rate(m[2m]))", 30),
        view("maxr", "max by (a, b) (rate(m[2m]))", 30),
        view("avg", "avg by (a, b) (g)", 30),
        view("max", "max by (a, b) (g)", 30),
        view("min", "min by (a, b) (g)", 30),
        view("cnt", "count by (a, b) (g)", 30),
        view("grp", "group by (a, b) (g)", 30),
        view("sum", "sum by (a, b) (g)", 30),
        view("any", r#"sum by (__name__, a) ({__name__=~"g|h"})"#, 30),
        view("anyavg", r#"avg by (__name__, a) ({__name__=~"g|h"})"#, 30),
        view("last", r#"max by (__name__, a) (last_over_time({__name__=~"g|h"}[2m]))"#, 30),
        view("anyw", r#"sum without (b) ({__name__=~"g|h"})"#, 30),
        view("avgw", "avg without (c) (g)", 30),
        view("hist", "sum by (le, a) (rate(b_bucket[2m]))", 30),
        TestView { tenant: "other", ..view("foreign", "sum by (a, b) (rate(m[2m]))", 30) },
        recorded("rec", "sum by (a, b) (rate(m[2m]))", "ab:m:rate2m", &[("team", "core")]),
        recorded("ravg", "avg by (a) (g)", "a:g:avg", &[]),
        recorded("rmax", "max without (c) (g)", "g:max", &[("cost", "5$")]),
        recorded("rbad", "sum by (a) (g)", "g:sum", &[("a", "9")]),
    ]
}

pub fn named(names: &str) -> Vec<TestView> {
    let all = views();
    let find = |name: &str| all.iter().find(|view| view.name == name).unwrap_or_else(|| panic!("no view {name}")).clone();
    names.split_whitespace().map(find).collect()
}

pub fn range(start_s: i64, end_s: i64, step_s: i64) -> QueryTime {
    QueryTime::Range { start: Timestamp(start_s * 1000), end: Timestamp(end_s * 1000), step_ms: step_s * 1000 }
}

/// The rewritten text when views answer all of it; otherwise what is left of it with the slugs, or the slugs alone.
fn verdict(query: &str, outcome: &Outcome, catalog: &prefold::plan::Catalog) -> String {
    let slugs: Vec<String> = outcome.refusals.iter().map(|refused| format!("!{}", refused.slug())).collect();
    assert_eq!(outcome.whole, outcome.selectors_left == 0 && !outcome.reads.is_empty());
    assert!(outcome.selectors_left == 0 || !slugs.is_empty(), "{query}: something is left and nothing is refused");
    match (outcome.whole, outcome.reads.is_empty()) {
        (true, _) => readable(outcome, catalog),
        (false, true) => {
            assert_eq!(outcome.expr, prefold::promql::parse(query).unwrap(), "nothing is read, so nothing changes");
            slugs.join(" ")
        }
        (false, false) => format!("{} {}", readable(outcome, catalog), slugs.join(" ")),
    }
}

#[track_caller]
pub fn check_at(time: QueryTime, interval_ms: Option<i64>, names: &str, query: &str, expected: &str) {
    let (views, samples) = (named(names), samples());
    let catalog = catalog(&views);
    let (expr, outcome) = ask(query, time, interval_ms, &catalog);
    assert_eq!(verdict(query, &outcome, &catalog), expected, "{query} over {names}");
    assert!(explain(query, &outcome, &catalog).to_string().contains(query));
    let world = World { samples: &samples, catalog: &catalog, reads: Default::default() };
    let original = with_records(&samples, &views);
    if outcome.whole {
        let points = same_answer(&expr, &outcome, time, interval_ms, &original, &world);
        let empty_on_purpose = query.contains("nowhere") || query.contains("team!=");
        assert!(points.is_some_and(|points| points > 0) || empty_on_purpose, "{query}: nothing was compared");
        for t in [600, 690, 900] {
            let time = QueryTime::Instant(Timestamp(t * 1000));
            let (expr, outcome) = ask(query, time, interval_ms, &catalog);
            if outcome.whole {
                same_answer(&expr, &outcome, time, interval_ms, &original, &world);
            }
        }
    }
}

#[track_caller]
pub fn check(names: &str, query: &str, expected: &str) {
    check_at(range(600, 900, 60), None, names, query, expected);
}

#[test]
fn grouping() {
    check("s", "sum by (a, b) (rate(m[2m]))", "sum by (a, b) (s.sum)");
    check("s", "((sum((rate(m[120s]))) by (b, a)))", "((sum by (a, b) (s.sum)))");
    check("s", "sum by (a) (rate(m[2m]))", "sum by (a) (s.sum)");
    check("s", "sum(rate(m[2m]))", "sum(s.sum)");
    check("s", "sum by (__name__, a) (rate(m[2m]))", "sum by (a) (s.sum)"); // rate has dropped the name already
    check("s", "sum by (c) (rate(m[2m]))", "!grouping-too-coarse");
    check("s", "sum by (a, c) (rate(m[2m]))", "!grouping-too-coarse");
    check("s", "sum without (c) (rate(m[2m]))", "!grouping-too-coarse"); // `without` over `by`: unknown labels
    check("s", "sum without (a) (rate(m[2m]))", "!grouping-too-coarse");
    check("wide", "sum without (c) (rate(m[2m]))", "sum without (c) (wide.sum)");
    check("wide", "sum without (b, c) (rate(m[2m]))", "sum without (b, c) (wide.sum)");
    check("wide", "sum without (b) (rate(m[2m]))", "!grouping-too-coarse"); // c is gone
    check("wide", "sum without () (rate(m[2m]))", "!grouping-too-coarse");
    check("wide", "sum by (a) (rate(m[2m]))", "sum by (a) (wide.sum)");
    check("wide", "sum by (a, never) (rate(m[2m]))", "sum by (a, never) (wide.sum)");
    check("wide", "sum by (a, c) (rate(m[2m]))", "!grouping-too-coarse");
    check("one", r#"sum by (a, b) (rate(m{a="1"}[2m]))"#, "!grouping-too-coarse"); // known to be 1, but not stored
    check("any", "sum by (__name__, a) (g)", r#"sum by (__name__, a) (any.sum{__name__="g"})"#);
    check("anyw", r#"sum by (__name__) ({__name__=~"g|h"})"#, "!grouping-too-coarse"); // `without` drops the name
    check("sum", "sum by (__name__, a) (g)", "!grouping-too-coarse"); // the name is known, but not stored
    check("avgw", "avg without (c) (g)", "(sum without (c) (avgw.sum) / sum without (c) (avgw.count))");
    check("avgw", "avg without (b, c) (g)", "(sum without (b, c) (avgw.sum) / sum without (b, c) (avgw.count))");
    check("avgw", "count by (b) (g)", "sum by (b) (avgw.count)");
}

#[test]
fn matchers() {
    check("s", r#"sum by (a) (rate(m{b="x"}[2m]))"#, r#"sum by (a) (s.sum{b="x"})"#);
    check("s", r#"sum by (a) (rate(m{b!=""}[2m]))"#, r#"sum by (a) (s.sum{b!=""})"#); // an absent label is the empty one
    check("s", r#"sum by (a) (rate(m{b=""}[2m]))"#, r#"sum by (a) (s.sum{b=""})"#);
    check("s", r#"sum by (a) (rate(m{b=~"x.*"}[2m]))"#, r#"sum by (a) (s.sum{b=~"x.*"})"#);
    check("s", r#"sum by (a) (rate(m{b!~"x.*"}[2m]))"#, r#"sum by (a) (s.sum{b!~"x.*"})"#);
    check("s", r#"sum by (a) (rate(m{b=~".*", a=~"1"}[2m]))"#, r#"sum by (a) (s.sum{a="1"})"#);
    check(
        "s",
        r#"sum by (a) (rate(m{b="x",b="y"}[2m])) or sum(rate(m[2m]))"#,
        r#"sum by (a) (s.sum{b="x",b="y"}) or sum(s.sum)"#,
    );
    check("s", r#"sum by (a) (rate(m{c="p"}[2m]))"#, "!residual-label-missing");
    check("s", r#"sum by (a) (rate(m{c!="p"}[2m]))"#, "!residual-label-missing"); // a negative matcher filters too
    check("s", r#"sum by (a) (rate(m{c=""}[2m]))"#, "!residual-label-missing"); // no label stored is not label empty
    check("s", r#"sum by (a) (rate(m{nowhere=""}[2m]))"#, "!residual-label-missing");
    check("wide", r#"sum by (a) (rate(m{nowhere=""}[2m]))"#, r#"sum by (a) (wide.sum{nowhere=""})"#);
    check("wide", r#"sum by (a) (rate(m{c="p"}[2m]))"#, "!residual-label-missing");
    check("anyw", r#"sum without (b) (g)"#, "!residual-label-missing"); // the name was dropped, g and h are mixed
    check("any", r#"sum by (a) ({__name__=~"g|h"})"#, "sum by (a) (any.sum)");
    check("any", r#"sum by (a) ({__name__=~"g|h|i"})"#, "!no-view-for-metric"); // the view lacks i
    check("any", "sum by (a) (i)", "!no-view-for-metric");
    check("any", r#"sum by (a) ({a="1"})"#, "!no-view-for-metric");
    check("sum", r#"sum by (a) ({__name__=~"g|h"})"#, "!no-view-for-metric");
    check("sum", r#"sum by (a) ({__name__=~"g"})"#, "sum by (a) (sum.sum)");
    check("one", r#"sum(rate(m{a="1"}[2m]))"#, "sum(one.sum)");
    check("one", r#"sum by (b) (rate(m{a=~"1"}[2m]))"#, "sum by (b) (one.sum)");
    check("one", r#"sum by (b) (rate(m{a="1", a!="2"}[2m]))"#, "sum by (b) (one.sum)");
    check("one", r#"sum by (b) (rate(m{a=~"1|2"}[2m]))"#, "!matcher-not-implied"); // 2 is not in the view
    check("one", r#"sum by (b) (rate(m{a!="2"}[2m]))"#, "!matcher-not-implied");
    check("one", "sum by (b) (rate(m[2m]))", "!matcher-not-implied");
    check("two", r#"sum by (b) (rate(m{a="1"}[2m]))"#, r#"sum by (b) (two.sum{a="1"})"#);
    check("two", r#"sum by (b) (rate(m{a=~"2|1"}[2m]))"#, "sum by (b) (two.sum)");
    check("two", r#"sum by (b) (rate(m{a=~"1|2", a!="1"}[2m]))"#, r#"sum by (b) (two.sum{a!="1"})"#);
    check("two", r#"sum by (b) (rate(m{a=~"1|3"}[2m]))"#, "!matcher-not-implied");
    check("set", r#"sum by (b) (rate(m{a="3"}[2m]))"#, r#"sum by (b) (set.sum{a="3"})"#);
    check("set", r#"sum by (b) (rate(m{a=~"1|"}[2m]))"#, "!matcher-not-implied"); // the empty one is selected too
    check("pre", r#"sum by (a) (rate(m{b="xy"}[2m]))"#, "!residual-label-missing"); // implied, but x is mixed in
    check("pre", r#"sum by (a) (rate(m{b=~"x.*"}[2m]))"#, "sum by (a) (pre.sum)");
    check("pre", r#"sum by (a) (rate(m{b=~"x.+"}[2m]))"#, "!matcher-not-implied"); // true, but not decided: a no
    check("one two", r#"sum by (b) (rate(m{a="1"}[2m]))"#, "sum by (b) (one.sum)");
}

#[test]
fn functions_and_windows() {
    check("s", "sum by (a) (rate(m[5m]))", "!window-differs");
    check("s s5", "sum by (a) (rate(m[300s]))", "sum by (a) (s5.sum)");
    check("s", "sum by (a) (irate(m[2m]))", "!function-differs");
    check("s", "sum by (a) (m)", "!function-differs"); // not even the same question
    check("sum", "sum by (a) (last_over_time(g[5m]))", "!function-differs"); // the lookback is no window
    check("s", "sum by (a) (deriv(m[2m]))", "!function-differs");
    check("s", "sum by (a) (quantile_over_time(0.5, m[2m]))", "!function-differs");
    check("s", "sum by (a) (increase(m[2m]))", "(sum by (a) (s.sum) * 120)");
    check("inc", "sum by (a) (rate(m[2m]))", "(sum by (a) (inc.sum) / 120)");
    check("inc", r#"sum(rate(m{b="x"}[2m])) ^ 2"#, r#"(sum(inc.sum{b="x"}) / 120) ^ 2"#);
    check("cntr", "count by (a) (increase(m[2m]))", "sum by (a) (cntr.count)"); // a count does not see the factor
    check("maxr", "max by (a) (increase(m[2m]))", "(max by (a) (maxr.max) * 120)");
    check("avgr", "avg by (a) (increase(m[2m]))", "((sum by (a) (avgr.sum) / sum by (a) (avgr.count)) * 120)");
    check("avgr", "count by (a) (increase(m[2m]))", "sum by (a) (avgr.count)");
    check("s", "sum by (a) (delta(m[2m]))", "!function-differs");
    check("last", "max by (__name__) (last_over_time(g[2m]))", r#"max by (__name__) (last.max{__name__="g"})"#);
    check("last", r#"max(last_over_time({__name__=~"h|g"}[2m]))"#, "max(last.max)");
}

#[test]
fn aggregations() {
    check("avg", "avg by (a, b) (g)", "(sum by (a, b) (avg.sum) / sum by (a, b) (avg.count))");
    check("avg", "avg by (a) (g)", "(sum by (a) (avg.sum) / sum by (a) (avg.count))"); // no average of averages
    check("avg", r#"-avg(g{b="x"})"#, r#"-(sum(avg.sum{b="x"}) / sum(avg.count{b="x"}))"#);
    check("avg", "sum by (a) (g)", "sum by (a) (avg.sum)");
    check("avg", "count by (a) (g)", "sum by (a) (avg.count)");
    check("avg", "min by (a) (g)", "!aggregation-does-not-roll-up");
    check("max", "max by (b) (g)", "max by (b) (max.max)");
    check("max", "min by (b) (g)", "!aggregation-does-not-roll-up");
    check("max", "avg by (a, b) (g)", "!aggregation-does-not-roll-up");
    check("max", "sum(max by (a) (g))", "sum(max by (a) (max.max))"); // a sum of maxima, as asked
    check("max", "sum by (a) (g)", "!aggregation-does-not-roll-up"); // which is not the sum
    check("min", "min(g)", "min(min.min)");
    check("cnt", "count(g)", "sum(cnt.count)"); // not the number of groups
    check("cnt", "count by (a, b) (g)", "sum by (a, b) (cnt.count)");
    check("cnt", "sum by (a, b) (g)", "!aggregation-does-not-roll-up");
    check("cnt", "count(count by (a) (g))", "count(sum by (a) (cnt.count))");
    check("grp", "group by (a) (g)", "group by (a) (grp.group)");
    check("grp", "count(group by (a) (g))", "count(group by (a) (grp.group))");
    check("grp", "count by (a) (g)", "!aggregation-does-not-roll-up");
    check("sum", "avg by (a) (g)", "!aggregation-does-not-roll-up");
    check("anyavg", "avg by (__name__, a) (g)", "!aggregation-does-not-roll-up"); // a quotient drops the name
    check(
        "anyavg",
        "avg by (a) (g)",
        r#"(sum by (a) (anyavg.sum{__name__="g"}) / sum by (a) (anyavg.count{__name__="g"}))"#,
    );
    check("s", "topk(2, rate(m[2m]))", "!aggregation-does-not-roll-up");
    check("s", "topk by (a) (1, m)", "!aggregation-does-not-roll-up");
    check("s", "topk(2, sum by (a) (rate(m[2m])))", "topk(2, sum by (a) (s.sum))");
    check("s", "bottomk(1, sum by (b) (rate(m[2m])))", "bottomk(1, sum by (b) (s.sum))");
    check("s", "quantile(0.5, sum by (a) (rate(m[2m])))", "quantile(0.5, sum by (a) (s.sum))");
    check("cnt", r#"count_values("n", count by (a) (g))"#, r#"count_values("n", sum by (a) (cnt.count))"#);
    check("s", "stddev by (a) (rate(m[2m]))", "!aggregation-does-not-roll-up");
    check(
        "avg s max",
        "topk(scalar(max(g)) * 0 + 1, sum by (b) (rate(m[2m])))",
        "topk(scalar(max(max.max)) * 0 + 1, sum by (b) (s.sum))",
    );
}

#[test]
fn every_nested_position_counts() {
    check("s", "sum by (a) (rate(m[2m])) / sum(rate(m[2m]))", "sum by (a) (s.sum) / sum(s.sum)");
    check(
        "s",
        "sum by (a) (rate(m[2m])) / on () group_left () sum(rate(m[2m]))",
        "sum by (a) (s.sum) / on () group_left () sum(s.sum)",
    );
    check("s avg", "sum(rate(m[2m])) > bool scalar(avg(g))", "sum(s.sum) > bool scalar((sum(avg.sum) / sum(avg.count)))");
    check(
        "hist",
        "histogram_quantile(0.9, sum by (le) (rate(b_bucket[2m])))",
        "histogram_quantile(0.9, sum by (le) (hist.sum))",
    );
    check(
        "s",
        r#"label_replace(sum by (a) (rate(m[2m])), "z", "$1", "a", "(.*)")"#,
        r#"label_replace(sum by (a) (s.sum), "z", "$1", "a", "(.*)")"#,
    );
    check("s", "max_over_time(sum by (a) (rate(m[2m]))[5m:1m])", "max_over_time(sum by (a) (s.sum)[5m:1m])");
    check("s", "sum(max_over_time(sum by (a) (rate(m[2m]))[5m:1m]))", "sum(max_over_time(sum by (a) (s.sum)[5m:1m]))");
    check("s", r#"absent(sum by (a) (rate(m{a="7"}[2m])))"#, r#"absent(sum by (a) (s.sum{a="7"}))"#);
    check("s", "sort_desc(abs(-sum by (a) (rate(m[2m]))))", "sort_desc(abs(-sum by (a) (s.sum)))");
    check("s", "vector(1) + sum(rate(m[2m]))", "vector(1) + sum(s.sum)");
    check("s", "sum(rate(m[2m])) + sum(g)", "sum(s.sum) + sum(g) !no-view-for-metric");
    check("s", "timestamp(sum by (a) (rate(m[2m])))", "timestamp(sum by (a) (s.sum))");
    check("s", "time() + 1", "");
    check("s", "rate(m[2m])", "!aggregation-does-not-roll-up"); // single series cannot be had back from groups
    check("s", "sum(rate(m[2m]) * 2)", "!aggregation-does-not-roll-up"); // true by algebra, not by shape
    check("s", "sum(abs(m))", "!aggregation-does-not-roll-up");
    check("s", "sum by (a) (rate(m[2m]) > 1)", "!aggregation-does-not-roll-up"); // a filter inside is another question
    check("s", "sum(rate(m[2m:30s]))", "!aggregation-does-not-roll-up"); // a subquery's points are not the samples
    check("s", "rate(n[2m])", "!no-view-for-metric");
    check("foreign", "sum by (a) (rate(m[2m]))", "!no-view-for-metric"); // another tenant's
    check("s", "info(sum by (a) (rate(m[2m])))", "info(sum by (a) (s.sum)) !evaluation-unsupported");
}

#[test]
fn of_several_views_the_cheapest_answers() {
    check("all s", "sum by (a) (rate(m[2m]))", "sum by (a) (s.sum)");
    check("s all", "sum by (a, b, c) (rate(m[2m]))", "sum by (a, b, c) (all.sum)");
    check("wide all", "sum by (a) (rate(m[2m]))", "sum by (a) (all.sum)");
    check("sum avg", "sum by (a, b) (g)", "sum by (a, b) (sum.sum)"); // the same shape, whatever the ids
    // Refused by the one that got furthest: s passes the matchers, s5 stops at the window.
    check("s5 s", "sum by (c) (rate(m[2m]))", "!grouping-too-coarse");
    check("s5 one", "sum by (c) (rate(m[2m]))", "!matcher-not-implied");
}

#[test]
fn recorded_names() {
    let rec = r#"label_replace(label_replace(rec.sum, "__name__", "ab:m:rate2m", "", ""), "team", "core", "", "")"#;
    let with = |matcher: &str| rec.replace("rec.sum", &format!("rec.sum{{{matcher}}}"));
    check("rec", "ab:m:rate2m", rec);
    check("rec", r#"{__name__="ab:m:rate2m"}"#, rec);
    check("rec", "(ab:m:rate2m offset 1m)", &format!("({})", rec.replace("rec.sum", "rec.sum offset 1m")));
    check("rec", r#"ab:m:rate2m{a="1",team="core"}"#, &with(r#"a="1""#));
    check("rec", r#"ab:m:rate2m{team!="core"}"#, &with(r#"__name__="ab:m:rate2m""#)); // decided: none
    check("rec", r#"ab:m:rate2m{nowhere=""}"#, &with(r#"nowhere="""#));
    check("rec", r#"ab:m:rate2m{nowhere!=""}"#, &with(r#"nowhere!="""#));
    check("rec", "sum by (team, a) (ab:m:rate2m)", &format!("sum by (a, team) ({rec})"));
    check("rec", "count by (__name__) (ab:m:rate2m)", &format!("count by (__name__) ({rec})"));
    check("ravg", "a:g:avg", r#"label_replace((ravg.sum / ravg.count), "__name__", "a:g:avg", "", "")"#);
    check("ravg", "avg(a:g:avg)", r#"avg(label_replace((ravg.sum / ravg.count), "__name__", "a:g:avg", "", ""))"#);
    check(
        "rmax",
        r#"g:max{b="x",cost="5$"}"#,
        r#"label_replace(label_replace(rmax.max{b="x"}, "__name__", "g:max", "", ""), "cost", "5$$", "", "")"#,
    );
    check("rec", "max_over_time(ab:m:rate2m[5m])", "!record-not-rewritable"); // stored samples, not grid points
    check("rec", "sum(rate(ab:m:rate2m[5m]))", "!record-not-rewritable");
    check("rec", "max_over_time(ab:m:rate2m[5m:30s])", &format!("max_over_time({rec}[5m:30s])"));
    check("rec", "absent(ab:m:rate2m{a=\"1\"})", "!record-not-rewritable"); // absent() copies labels from the matchers
    check("rec", "timestamp((ab:m:rate2m))", "!record-not-rewritable"); // a call has no samples with times
    check("rbad", "g:sum", "!record-not-rewritable"); // its own label is overwritten: groups collide
    check_at(range(600, 900, 15), None, "rec", "ab:m:rate2m", "!step-off-grid");
    check_at(range(600, 900, 15), None, "rec", "sum(ab:m:rate2m)", "!step-off-grid");
    check("rec any", "sum by (a) (ab:m:rate2m)", &format!("sum by (a) ({rec})")); // a recorded name is never samples
}

/// What the parser reads, the walk survives on a small stack, and explain stays small.
#[test]
fn the_deepest_query_is_walked() {
    let work = || {
        let query = vec!["sum(rate(m[2m]))"; 2_000].join(" + ");
        let catalog = catalog(&named("s"));
        let (expr, outcome) = ask(&query, range(600, 900, 60), None, &catalog);
        assert!(outcome.whole && outcome.reads.len() == 1);
        assert!(explain(&query, &outcome, &catalog).tree.len() < 1_000_000);
        drop(expr);
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
}
