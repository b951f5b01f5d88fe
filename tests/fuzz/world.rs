//! Series with everything that a float can be, and one evaluation of a text over them.
//!
//! Also used by the targets of `fuzz/`.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use prefold::model::Timestamp;
use prefold::promql::parse;
use prefold::query::load::load_lines;
use prefold::query::{EvalOptions, Evaluated, MemorySource, QueryError, QueryLimits, instant, range};

/// When generated expressions are evaluated, in ms.
pub const AT: i64 = 600_000;
pub const STEP_MS: i64 = 60_000;

const SERIES: &str = "
m{a=\"1\", b=\"x\"} 0+1x20
m{a=\"1\", b=\"xy\"} 5+2x6 _x3 1+3x5 stale
m{a=\"2\"} 1 1 2 3 5 8 13 _ _ _ 0 1 1 2
n{a=\"1\", b=\"x\"} 10-1x20
n{a=\"2\", b=\"x\"} _x5 3x9
n{a=\"3\", c=\"z\"} NaN Inf -Inf 0 -0 1 NaN 2
odd{a=\"nan\"} NaNx20
odd{a=\"inf\"} Infx10 -Infx10
odd{a=\"big\"} 1.7e308 -1.7e308 1.7e308 1.7e308 1e-320 5e-324 -5e-324 0 1e308 1.7e308 1.7e308
odd{a=\"stale\"} 1 stale 2 stale 3 stale 4 stale 5 stale 6
c_total{a=\"1\"} 0+10x4 0+7x9 1e15
c_total{a=\"2\"} 9e15+1x20
h_bucket{a=\"1\", le=\"0.1\"} 0+1x20
h_bucket{a=\"1\", le=\"1\"} 0+3x20
h_bucket{a=\"1\", le=\"+Inf\"} 0+4x20
h_bucket{a=\"2\", le=\"0.1\"} 5x20
h_bucket{a=\"2\", le=\"1\"} 4x20
h_bucket{a=\"2\", le=\"-Inf\"} 1x20
h_bucket{a=\"2\", le=\"NaN\"} 1x20
h_bucket{a=\"2\", le=\"\"} 1x20
h_bucket{a=\"2\", le=\"+Inf\"} NaNx20
h_bucket{a=\"1\"} _ {{count:1}} _ {{count:2}}x7
native{a=\"1\", b=\"x\"} {{count:1 sum:2}}x20
native{a=\"2\"} {{schema:-53 count:1 custom_values:[1]}}x9 _ {{count:3}}x9
mix{a=\"1\"} 1 {{count:1}} 2 3 {{count:2}}x2 4 5 6 stale {{count:3}} 7 8
mix{a=\"2\", b=\"x\"} {{count:1}}x8 1+1x9
";

static SOURCE: LazyLock<MemorySource> = LazyLock::new(|| {
    let mut source = MemorySource::new();
    load_lines(&mut source, STEP_MS, SERIES.trim()).expect("the series are well formed");
    source
});

pub fn source() -> &'static MemorySource {
    &SOURCE
}

/// An evaluation that ends: few samples, and seconds.
pub fn options(query: &str) -> EvalOptions {
    let deadline = Some(Instant::now() + Duration::from_secs(10));
    let limits = QueryLimits { samples_max: 100_000, deadline, ..QueryLimits::default() };
    EvalOptions { query: query.to_owned(), limits, ..EvalOptions::default() }
}

/// What a text gave.
pub struct Evaluation {
    pub instant: Result<Evaluated, QueryError>,
    /// [`AT`] is its third step.
    pub range: Result<Evaluated, QueryError>,
}

/// Reads a text, prints and reads it again, evaluates it at an instant and over a range. `None` when it is not PromQL.
///
/// # Panics
/// When printing changes it.
pub fn evaluate(text: &str, source: &MemorySource, at: Timestamp) -> Option<Evaluation> {
    let expr = parse(text).ok()?;
    let printed = expr.to_string();
    assert_eq!(parse(&printed).as_ref(), Ok(&expr), "{text}\nis printed as {printed}");
    let instant = instant(&expr, at, source, &options(text));
    let (start, end) = (at - 2 * STEP_MS, at + 2 * STEP_MS);
    let range = range(&expr, start, end, STEP_MS, source, &options(text));
    Some(Evaluation { instant, range })
}
