//! The rows about time: grids, offsets, `@`, subqueries.

use prefold::model::Timestamp;
use prefold::rewrite::QueryTime;

use super::table::{check, check_at, named, range};
use super::world::{ask, catalog};

#[test]
fn time() {
    let whole = "sum(s.sum)";
    check_at(range(600, 900, 30), None, "s", "sum(rate(m[2m]))", whole);
    check_at(range(600, 900, 15), None, "s", "sum(rate(m[2m]))", "!step-off-grid");
    check_at(range(600, 900, 15), None, "s5", "sum(rate(m[2m]))", "!window-differs"); // blamed on what comes first
    check_at(range(615, 900, 30), None, "s", "sum(rate(m[2m]))", "!step-off-grid");
    check_at(range(615, 900, 30), None, "s", "sum(rate(m[2m] offset 15s))", "sum(s.sum offset 15s)");
    check_at(range(600, 600, 15), None, "s", "sum(rate(m[2m]))", whole); // one step has no distance
    check_at(range(600, 629, 30), None, "minute", "sum(rate(m[2m]))", "sum(minute.sum)");
    check_at(range(600, 900, 30), None, "minute", "sum(rate(m[2m]))", "!step-off-grid");
    check_at(range(600, 900, 30), None, "minute s", "sum(rate(m[2m]))", whole); // the coarse grid does not answer
    check_at(QueryTime::Instant(Timestamp(600_000)), None, "s", "sum(rate(m[2m]))", whole);
    check_at(QueryTime::Instant(Timestamp(600_001)), None, "s", "sum(rate(m[2m]))", "!step-off-grid");
    check("s", "sum(rate(m[2m] offset 5m))", "sum(s.sum offset 5m)");
    check("s", "sum(rate(m[2m] offset -1m))", "sum(s.sum offset -1m)");
    check("s", "sum(rate(m[2m] offset 10s))", "!step-off-grid");
    check("s", "sum(rate(m[2m] @ 750))", "sum(s.sum @ 750.000)");
    check("s", "sum(rate(m[2m] @ 760 offset 10s))", "sum(s.sum @ 760.000 offset 10s)");
    check("s", "sum(rate(m[2m] @ 751))", "!step-off-grid");
    check_at(range(600, 915, 60), None, "s", "sum(rate(m[2m] @ end()))", "!step-off-grid"); // the end is not a step
    check_at(range(601, 900, 7), None, "s", "sum(rate(m[2m] @ end()))", "sum(s.sum @ end())"); // read once, on the grid
    check_at(range(601, 900, 7), None, "s", "sum(rate(m[2m] @ start()))", "!step-off-grid");
}

#[test]
fn subqueries_have_steps_of_their_own() {
    let query = "max_over_time(sum(rate(m[2m]))[5m:])";
    check("s", query, "!step-off-grid"); // the step is upstream's secret
    check_at(range(600, 900, 60), Some(60_000), "s", query, "max_over_time(sum(s.sum)[5m:1m])");
    check_at(range(600, 900, 60), Some(45_000), "s", query, "!step-off-grid");
    check("s", "max_over_time(sum(rate(m[2m] @ 600))[5m:])", "!step-off-grid"); // how many points is a secret still
    check("s", "max_over_time(sum(rate(m[2m]))[5m:15s])", "!step-off-grid");
    check_at(range(601, 900, 7), None, "s", "sum_over_time(sum(rate(m[2m]))[5m:30s])", "sum_over_time(sum(s.sum)[5m:30s])");
    check("s", "sum_over_time(sum(rate(m[2m]))[5m:30s] offset 7s)", "sum_over_time(sum(s.sum)[5m:30s] offset 7s)");
    check("s", "sum_over_time(sum(rate(m[2m] offset 7s))[5m:30s])", "!step-off-grid");
    check("s", "sum_over_time(sum(rate(m[2m] @ 600))[5m:7s])", "sum_over_time(sum(s.sum @ 600.000)[5m:7s])");
    check("s", "sum_over_time(sum(rate(m[2m]))[5m:30s] @ 777)", "sum_over_time(sum(s.sum)[5m:30s] @ 777.000)");
    check(
        "s",
        "max_over_time(sum_over_time(sum(rate(m[2m]))[2m:30s])[3m:7s] offset 11s)",
        "max_over_time(sum_over_time(sum(s.sum)[2m:30s])[3m:7s] offset 11s)",
    );
    check("s", "max_over_time(sum_over_time(sum(rate(m[2m]))[2m:7s])[3m:30s])", "!step-off-grid"); // the inner one counts
    check(
        "s",
        "max_over_time(sum(rate(m[2m]))[1m:30s]) + sum_over_time(g[5m:])",
        "max_over_time(sum(s.sum)[1m:30s]) + sum_over_time(g[5m:]) !no-view-for-metric",
    );
}

#[test]
fn what_may_be_answered_in_pieces() {
    for (query, splittable) in [
        ("sum(rate(m[2m]))", true),
        ("sum(rate(m[2m] @ 600))", true),
        ("sum(rate(m[2m] @ start()))", false),
        ("max_over_time(sum(rate(m[2m]))[5m:1m] @ end())", false),
        ("sum(rate(m[2m])) + sum(g @ end())", false),
    ] {
        let (_, outcome) = ask(query, range(600, 900, 60), None, &catalog(&named("s")));
        assert_eq!(outcome.splittable, splittable, "{query}");
    }
}
