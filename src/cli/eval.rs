//! `prefold eval`: PromQL over a file of series, with nothing else running.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::could_not_run;
use crate::model::time::{parse_instant, parse_seconds};
use crate::model::{Sample, Timestamp};
use crate::node::config::sources;
use crate::promql::{Expr, parse};
use crate::proxy::json;
use crate::query::script::{self, Command};
use crate::query::{self, EvalOptions, Evaluated, MemorySource, QueryError, Value};

/// Evaluates a query over the series of a file.
#[derive(Clone, Debug, clap::Args)]
pub struct EvalArgs {
    /// The query, in PromQL
    #[arg(allow_hyphen_values = true)]
    query: String,
    /// Series in the format of .test files: `load 30s`, then lines such as `up{job="a"} 1 1 _ 0x5`, the first value at the
    /// epoch; evals in it are passed over
    #[arg(long)]
    data: PathBuf,
    /// The instant of an instant query: RFC 3339 or Unix seconds
    #[arg(
        long,
        allow_negative_numbers = true,
        required_unless_present = "start",
        conflicts_with_all = ["start", "end", "step"]
    )]
    time: Option<String>,
    /// First instant of a range query
    #[arg(long, allow_negative_numbers = true, requires_all = ["end", "step"])]
    start: Option<String>,
    /// Last instant of a range query
    #[arg(long, allow_negative_numbers = true, requires = "start")]
    end: Option<String>,
    /// Step of a range query: a duration such as 30s, or seconds
    #[arg(long, requires = "start")]
    step: Option<String>,
    /// How far back a selector looks for a sample: a duration, or seconds
    #[arg(long, default_value = "5m")]
    lookback: String,
    /// The answer as Prometheus' API gives it
    #[arg(long)]
    json: bool,
}

enum When {
    Instant(Timestamp),
    Range { start: Timestamp, end: Timestamp, step_ms: i64 },
}

/// 0 when there is an answer, 1 when evaluation fails, 2 for wrong usage, 3 when the file could not be read.
pub fn run(args: &EvalArgs) -> ExitCode {
    let (when, options, expr) = match asked(args) {
        Ok(asked) => asked,
        Err(message) => {
            eprintln!("prefold eval: {message}");
            return ExitCode::from(2);
        }
    };
    let source = match load(&args.data) {
        Ok(source) => source,
        Err(message) => return could_not_run("eval", &message),
    };
    let answer = evaluate(&expr, &when, &source, &options);
    let status = u8::from(answer.is_err());
    let written = if args.json { write_json(&answer) } else { write_text(&answer) };
    // Whoever reads us may have gone away: then nothing is left to say.
    written.map_or(ExitCode::from(3), |()| ExitCode::from(status))
}

/// When and how a query is evaluated, and the query.
fn asked(args: &EvalArgs) -> Result<(When, EvalOptions, Expr), String> {
    let lookback_ms = parse_seconds(&args.lookback)?;
    let options = EvalOptions { query: args.query.clone(), lookback_ms, ..EvalOptions::default() };
    let expr = parse(&args.query).map_err(|error| error.to_string())?;
    Ok((when(args)?, options, expr))
}

fn when(args: &EvalArgs) -> Result<When, String> {
    let instant = |text: &Option<String>| parse_instant(text.as_deref().unwrap_or_default());
    match &args.step {
        Some(step) => {
            Ok(When::Range { start: instant(&args.start)?, end: instant(&args.end)?, step_ms: parse_seconds(step)? })
        }
        None => instant(&args.time).map(When::Instant),
    }
}

fn load(path: &Path) -> Result<MemorySource, String> {
    let text = sources::read_if_present(path).map_err(|error| error.to_string())?;
    let text = text.ok_or_else(|| format!("{}: no such file", path.display()))?;
    let script = script::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut source = MemorySource::new();
    for command in &script.commands {
        match command {
            Command::Load(load) => load.into_source(&mut source),
            Command::Clear => source = MemorySource::new(),
            Command::Eval(_) => {}
        }
    }
    Ok(source)
}

fn evaluate(expr: &Expr, when: &When, source: &MemorySource, options: &EvalOptions) -> Result<Evaluated, QueryError> {
    match *when {
        When::Instant(at) => query::instant(expr, at, source, options),
        When::Range { start, end, step_ms } => query::range(expr, start, end, step_ms, source, options),
    }
}

fn write_json(answer: &Result<Evaluated, QueryError>) -> io::Result<()> {
    let body = match answer {
        Ok(answer) => {
            let notes = json::Notes { warnings: answer.warnings.clone(), infos: answer.infos.clone() };
            json::success_body(&json::result(&answer.value), &notes)
        }
        Err(error) => json::error_body(error.kind.error_type(), &error.message),
    };
    writeln!(io::stdout().lock(), "{body}")
}

/// One line per series; warnings, infos and errors to stderr.
fn write_text(answer: &Result<Evaluated, QueryError>) -> io::Result<()> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return writeln!(io::stderr().lock(), "prefold eval: {error}"),
    };
    let mut err = io::stderr().lock();
    answer.warnings.iter().chain(&answer.infos).try_for_each(|note| writeln!(err, "{note}"))?;
    let mut out = io::stdout().lock();
    match &answer.value {
        Value::Scalar(sample) => writeln!(out, "{}", sample.v),
        Value::String { text, .. } => writeln!(out, "{text}"),
        Value::Vector(points) => points.iter().try_for_each(|one| writeln!(out, "{} {}", one.labels, one.sample.v)),
        Value::Matrix(series) => series.iter().try_for_each(|one| {
            write!(out, "{}", one.labels)?;
            one.points.iter().try_for_each(|Sample { t, v }| write!(out, " {v}@{}", t.seconds()))?;
            writeln!(out)
        }),
    }
}
