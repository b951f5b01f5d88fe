//! Reads a script: commands, and the lines indented under them.

use super::expectation::Expectation;
use super::{Command, EvalCommand, EvalTime, LoadCommand, Script};
use crate::model::time::parse_duration;
use crate::model::{Labels, METRIC_NAME, Sample, Timestamp};
use crate::query::load::{SeriesLine, samples, series, series_line, value};
use crate::query::native::{CUSTOM, is_histogram};

/// A command's first line and the lines of its block, each with its number counted from 1.
struct Block<'t> {
    head: (usize, &'t str),
    body: Vec<(usize, &'t str)>,
}

/// Reads a script. A blank line or one that begins with `#` ends a block.
///
/// # Errors
/// The number of the first bad line, and what is wrong with it.
pub fn parse(text: &str) -> Result<Script, String> {
    let mut script = Script::default();
    for block in blocks(text) {
        let command = command(&block).map_err(|error| format!("line {}: {error}", block.head.0))?;
        script.commands.push(command);
    }
    Ok(script)
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            open = false;
            continue;
        }
        match blocks.last_mut().filter(|_| open) {
            Some(block) => block.body.push((at + 1, line)),
            None => {
                // `clear` has no block: what follows it is the next command.
                open = !line.eq_ignore_ascii_case("clear");
                blocks.push(Block { head: (at + 1, line), body: Vec::new() });
            }
        }
    }
    blocks
}

fn command(block: &Block<'_>) -> Result<Command, String> {
    let (line, head) = block.head;
    let (word, rest) = head.split_once(char::is_whitespace).unwrap_or((head, ""));
    match word.to_lowercase().as_str() {
        "clear" => Ok(Command::Clear),
        "load" => load(rest, &block.body, false).map(Command::Load),
        "load_with_nhcb" => load(rest, &block.body, true).map(Command::Load),
        eval if eval == "eval" || eval.starts_with("eval_") => {
            let (time, query) = eval_head(rest.trim())?;
            let expectation = Expectation::parse(eval.strip_prefix("eval_"), &block.body)?;
            Ok(Command::Eval(EvalCommand { line, query, time, expectation }))
        }
        _ => Err(format!("unknown command {word:?} (clear, load, eval)")),
    }
}

fn load(gap: &str, lines: &[(usize, &str)], with_native: bool) -> Result<LoadCommand, String> {
    let mut load = LoadCommand { gap_ms: parse_duration(gap.trim())?, ..LoadCommand::default() };
    for (number, line) in lines {
        let (labels, rest) = series(line).map_err(|error| format!("{error} (line {number})"))?;
        if let Some(labels) = of_start_timestamps(&labels, rest) {
            load.start_timestamps.push(labels);
            continue;
        }
        let series = series_line(line).map_err(|error| format!("{error} (line {number})"))?;
        match load.series.iter_mut().find(|known| known.labels == series.labels) {
            Some(known) => *known = series,
            None => load.series.push(series),
        }
    }
    if with_native {
        load.native_histograms = load.series.iter().filter_map(|series| native_of(series, load.gap_ms)).collect();
    }
    Ok(load)
}

/// The series of a line `name{..}@st` or `name@st`.
fn of_start_timestamps(labels: &Labels, rest: &str) -> Option<Labels> {
    const MARK: &str = "@st";
    match labels.metric().strip_suffix(MARK) {
        Some(metric) => Some(labels.with(METRIC_NAME, metric)),
        None => rest.starts_with(MARK).then(|| labels.clone()),
    }
}

/// The native histogram that a part of a classic one adds to, and when. A bucket without a bound adds nothing.
fn native_of(series: &SeriesLine, gap_ms: i64) -> Option<(Labels, Vec<Sample>)> {
    let metric = series.labels.metric();
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| metric.strip_suffix(suffix))?;
    let is_bound = |text: &str| text.parse::<f64>().is_ok_and(|bound| !bound.is_nan());
    if metric.ends_with("_bucket") && !is_bound(series.labels.get("le")) {
        return None;
    }
    let floats = samples(&series.items, gap_ms).into_iter().filter(|sample| !is_histogram(sample.v));
    let histograms = floats.map(|sample| Sample { t: sample.t, v: CUSTOM }).collect();
    Some((series.labels.with(METRIC_NAME, base).with("le", ""), histograms))
}

/// `instant [at T] QUERY` or `range from A to B step S QUERY`.
fn eval_head(text: &str) -> Result<(EvalTime, String), String> {
    let usage = || "write `eval instant at 5m QUERY` or `eval range from 0 to 10m step 1m QUERY`".to_owned();
    let (kind, rest) = text.split_once(char::is_whitespace).ok_or_else(usage)?;
    let (mut words, mut rest) = (Vec::new(), rest.trim_start());
    let expected: &[&str] = match kind {
        "instant" if rest.starts_with("at ") => &["at"],
        "instant" => &[],
        "range" => &["from", "to", "step"],
        _ => return Err(usage()),
    };
    for keyword in expected {
        let after = rest.strip_prefix(keyword).filter(|after| after.starts_with(char::is_whitespace)).ok_or_else(usage)?;
        let (word, after) = after.trim_start().split_once(char::is_whitespace).ok_or_else(usage)?;
        words.push(duration(word)?);
        rest = after.trim_start();
    }
    let time = match words.as_slice() {
        [start, end, step_ms] => EvalTime::Range { start: Timestamp(*start), end: Timestamp(*end), step_ms: *step_ms },
        [at] => EvalTime::Instant(Timestamp(*at)),
        _ => EvalTime::Instant(Timestamp(0)),
    };
    Ok((time, rest.to_owned()))
}

/// A duration that may be negative, or a number of seconds.
pub(super) fn duration(text: &str) -> Result<i64, String> {
    let seconds = value(text).filter(|seconds| seconds.is_finite()).ok_or_else(|| format!("bad duration {text:?}"))?;
    Ok((seconds * 1000.0).round() as i64)
}
