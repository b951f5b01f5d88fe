//! Views and queries nobody thought of: whenever a rewrite answers, the values are equal.
//!
//! Half of the queries are bent views (fewer labels, more matchers, another aggregation), so that many are answered; the
//! test holds a floor under how many. Left out: several metric names under a function that drops the name, where
//! Prometheus itself fails; the world has such names for bare selectors and last_over_time. topk above a view takes all
//! there is: which of two equal values it takes depends on the order of series, which PromQL does not define.

use std::cell::Cell;

use prefold::model::Timestamp;
use prefold::promql::Grouping;
use prefold::rewrite::QueryTime;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, TestRunner};

use super::world::{TestView, World, ask, catalog, grouping_text, same_answer, samples};

const CASES: u32 = 6_000;

const AGGREGATIONS: [&str; 6] = ["sum", "avg", "count", "min", "max", "group"];
const MORE_AGGREGATIONS: [&str; 4] = ["stddev", "topk", "quantile", "bottomk"];
const COUNTER_FUNCTIONS: [&str; 3] = ["rate", "increase", "irate"];
const GAUGE_FUNCTIONS: [&str; 8] = [
    "",
    "last_over_time",
    "avg_over_time",
    "sum_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "present_over_time",
];
const WINDOWS: [&str; 2] = ["2m", "5m"];
const LABELS: [&str; 4] = ["__name__", "a", "b", "c"];
const MATCHERS: [&str; 16] = [
    r#"a="1""#,
    r#"a="""#,
    r#"a!="2""#,
    r#"a!="""#,
    r#"a=~"1|2""#,
    r#"a=~"1|""#,
    r#"a!~"1|2""#,
    r#"a=~".+""#,
    r#"b="x""#,
    r#"b!="x""#,
    r#"b=~"x.*""#,
    r#"b!~"x.*""#,
    r#"b=~"xy?""#,
    r#"b=~".*""#,
    r#"c="p""#,
    r#"c!="p""#,
];

/// An aggregation, in parts that can be bent.
#[derive(Clone, Debug)]
struct Question {
    aggregation: &'static str,
    grouping: Grouping,
    function: &'static str,
    window: &'static str,
    metric: &'static str,
    matchers: Vec<&'static str>,
}

impl Question {
    /// `shift` stands after the selector.
    fn text(&self, shift: &str) -> String {
        let selector = match self.metric {
            "g|h" => format!(r#"{{__name__=~"g|h",{}}}"#, self.matchers.join(",")),
            metric => format!("{metric}{{{}}}", self.matchers.join(",")),
        };
        let argument = match self.function {
            "" => format!("{selector} {shift}"),
            function => format!("{function}({selector}[{}] {shift})", self.window),
        };
        let parameter = match self.aggregation {
            "topk" | "bottomk" => "2, ",
            "quantile" => "0.5, ",
            _ => "",
        };
        format!("{} {} ({parameter}{argument})", self.aggregation, grouping_text(&self.grouping))
    }
}

fn grouping() -> impl Strategy<Value = Grouping> {
    let names = |least: usize| subsequence(LABELS.to_vec(), least..=4);
    prop_oneof![3 => names(1).prop_map(Grouping::by), 1 => subsequence(LABELS.to_vec(), 0..=2).prop_map(Grouping::without)]
}

fn source() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop_oneof![
        2 => select(COUNTER_FUNCTIONS.to_vec()).prop_map(|function| ("m", function)),
        2 => select(GAUGE_FUNCTIONS.to_vec()).prop_map(|function| ("g", function)),
        1 => select(vec!["", "last_over_time"]).prop_map(|function| ("g|h", function)),
    ]
}

fn question(aggregations: Vec<&'static str>, matchers_max: usize) -> impl Strategy<Value = Question> {
    let matchers = subsequence(MATCHERS.to_vec(), 0..=matchers_max);
    (select(aggregations), grouping(), source(), select(WINDOWS.to_vec()), matchers).prop_map(
        |(aggregation, grouping, (metric, function), window, matchers)| Question {
            aggregation,
            grouping,
            function,
            window,
            metric,
            matchers,
        },
    )
}

/// How a view is bent into a query.
#[derive(Clone, Debug)]
struct Bend {
    of: usize,
    aggregation: Option<&'static str>,
    keep: Vec<bool>,
    without: bool,
    matchers: Vec<&'static str>,
    swap_rate: bool,
    one_metric: bool,
}

fn bend() -> impl Strategy<Value = Bend> {
    let aggregation = proptest::option::weighted(0.5, select(AGGREGATIONS.to_vec()));
    let matchers = subsequence(MATCHERS.to_vec(), 0..=2);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (0..3usize, aggregation, prop::collection::vec(any::<bool>(), 4), matchers, flags).prop_map(
        |(of, aggregation, keep, matchers, (without, swap_rate, one_metric))| Bend {
            of,
            aggregation,
            keep,
            without,
            matchers,
            swap_rate,
            one_metric,
        },
    )
}

fn bent(view: &Question, bend: &Bend) -> Question {
    let chosen =
        |names: Vec<&'static str>| names.into_iter().zip(&bend.keep).filter(|(_, keep)| **keep).map(|(name, _)| name);
    let grouping = match &view.grouping {
        Grouping::By(names) => Grouping::by(chosen(LABELS.to_vec()).filter(|name| names.iter().any(|kept| kept == name))),
        Grouping::Without(names) if bend.without => {
            Grouping::without(chosen(LABELS.to_vec()).chain(LABELS).filter(|l| bend.keep[0] || names.iter().any(|n| n == l)))
        }
        Grouping::Without(names) => Grouping::by(chosen(LABELS.to_vec()).filter(|name| !names.iter().any(|n| n == name))),
    };
    let function = match (bend.swap_rate, view.function) {
        (true, "rate") => "increase",
        (true, "increase") => "rate",
        (_, function) => function,
    };
    let metric = if bend.one_metric && view.metric == "g|h" { "h" } else { view.metric };
    let matchers = view.matchers.iter().chain(&bend.matchers).copied().collect();
    let aggregation = bend.aggregation.unwrap_or(view.aggregation);
    Question { aggregation, grouping, function, window: view.window, metric, matchers }
}

#[derive(Clone, Debug)]
struct Case {
    views: Vec<(Question, i64)>,
    query: String,
    time: QueryTime,
}

fn case() -> impl Strategy<Value = Case> {
    let views = prop::collection::vec((question(AGGREGATIONS.to_vec(), 1), select(vec![30, 30, 60])), 3);
    let any_aggregation = [AGGREGATIONS.as_slice(), MORE_AGGREGATIONS.as_slice()].concat();
    let fresh = (question(any_aggregation.clone(), 2), question(any_aggregation, 2));
    let bends = (bend(), bend(), prop::bool::weighted(0.2));
    let shift = || select(vec!["", "", "", "offset 30s", "offset 1m", "offset -2m", "offset 10s", "@ 600", "@ end()"]);
    let shell = select(vec![
        "X",
        "X",
        "X",
        "X",
        "X + Y",
        "X / on (a) group_left () sum by (a) (Y)",
        "X or Y",
        "max_over_time(X[5m:1m])",
        "sum_over_time(X[4m:30s] offset 1m)",
        "topk(90, X)",
        "quantile by (a) (0.5, X)",
        "max(X) - -min(Y)",
        "absent(X)",
        "sum by (b) (X > 1)",
        "last_over_time((X - Y)[3m:45s])",
    ]);
    let start = select(vec![600, 600, 660, 690, 705]);
    let step = select(vec![30, 60, 60, 120, 45]);
    (views, fresh, bends, (shift(), shift()), shell, start, step, any::<bool>()).prop_map(
        |(views, fresh, (x, y, use_fresh), shifts, shell, start, step, instant)| {
            let pick = |bend: &Bend, fresh: Question| if use_fresh { fresh } else { bent(&views[bend.of].0, bend) };
            let (x, y) = (pick(&x, fresh.0).text(shifts.0), pick(&y, fresh.1).text(shifts.1));
            // The letters are replaced apart, since the texts may hold them in turn.
            let query: String = shell
                .chars()
                .map(|letter| match letter {
                    'X' => x.clone(),
                    'Y' => y.clone(),
                    other => other.to_string(),
                })
                .collect();
            let start = Timestamp(start * 1000);
            let time = match instant {
                true => QueryTime::Instant(start),
                false => QueryTime::Range { start, end: start + 4 * step * 1000, step_ms: step * 1000 },
            };
            Case { views, query, time }
        },
    )
}

#[test]
fn whatever_is_rewritten_has_the_same_values() {
    let samples = samples();
    let (replaced, whole, compared) = (Cell::new(0u32), Cell::new(0u32), Cell::new(0usize));
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let run = TestRunner::new(config).run(&case(), |case| {
        let named = case.views.iter().zip(["v0", "v1", "v2"]).map(|((view, step_s), name)| TestView {
            name,
            expr: view.text(""),
            step_s: *step_s,
            tenant: "",
            record: None,
        });
        let catalog = catalog(&named.collect::<Vec<_>>());
        let (expr, outcome) = ask(&case.query, case.time, None, &catalog);
        prop_assert!(outcome.selectors_left == 0 || !outcome.refusals.is_empty(), "{} is left unexplained", case.query);
        if outcome.reads.is_empty() {
            prop_assert_eq!(&outcome.expr, &expr);
            return Ok(());
        }
        let world = World { samples: &samples, catalog: &catalog, reads: Default::default() };
        let points = same_answer(&expr, &outcome, case.time, None, &samples, &world);
        replaced.set(replaced.get() + 1);
        whole.set(whole.get() + u32::from(outcome.whole));
        compared.set(compared.get() + points.unwrap_or(0));
        Ok(())
    });
    let (replaced, whole, compared) = (replaced.get(), whole.get(), compared.get());
    println!("{replaced} of {CASES} random queries rewritten, {whole} wholly, {compared} points equal");
    if let Err(error) = run {
        panic!("{error}");
    }
    assert!(replaced > CASES / 6 && whole > CASES / 9, "only {replaced} of {CASES} rewritten, {whole} wholly");
    assert!(compared > CASES as usize, "only {compared} points compared");
}
