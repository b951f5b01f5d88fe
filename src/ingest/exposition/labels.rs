//! The metric's name and the label set that open a sample's line, and the label set of an exemplar.

use std::borrow::Cow;

use super::families::MetricKind;
use super::line::{Line, UnknownEscapes, quote};
use super::number::{canonical_float, parse_float};
use super::{Limits, Refused};
use crate::model::METRIC_NAME;

/// A name and its value.
pub type Pair<'b> = (Cow<'b, str>, Cow<'b, str>);

/// In what the two formats' label sets differ.
pub struct Syntax {
    /// Spaces and tabs may stand around names, values and signs.
    pub blanks: bool,
    /// A comma may follow the last label, or be missing between two.
    pub commas_loose: bool,
    pub unknown_escapes: UnknownEscapes,
}

/// Prometheus' text format.
pub const TEXT: Syntax = Syntax { blanks: true, commas_loose: true, unknown_escapes: UnknownEscapes::Refused };

/// OpenMetrics.
pub const OPENMETRICS: Syntax = Syntax { blanks: false, commas_loose: false, unknown_escapes: UnknownEscapes::Kept };

/// Reads a series, `name{a="b"}` or `{"name",a="b"}`, into `out`, `__name__` first.
pub fn series<'b>(line: &mut Line<'b>, syntax: &Syntax, limits: &Limits, out: &mut Vec<Pair<'b>>) -> Result<(), Refused> {
    out.clear();
    let name = line.metric_name();
    out.push((Cow::Borrowed(METRIC_NAME), Cow::Borrowed(name)));
    if name.is_empty() && line.peek() != Some(b'{') {
        return Err(format!("expected a metric name, found {}", line.found()).into());
    }
    let mut after_name = *line;
    skip_blanks(&mut after_name, syntax);
    if after_name.eat(b'{') {
        *line = after_name;
        let quoted_name = braces(line, syntax, limits, out)?;
        match (quoted_name, name.is_empty()) {
            (Some(quoted), true) => out[0].1 = quoted,
            (Some(_), false) => return Err("the metric has two names".to_owned().into()),
            (None, true) => return Err("the metric has no name".to_owned().into()),
            (None, false) => {}
        }
    } else if !matches!(line.peek(), None | Some(b' ' | b'\t')) {
        return Err(format!("expected a value after the metric name, found {}", line.found()).into());
    }
    check(out, limits)
}

/// Writes the bound of a bucket or a quantile the canonical way, as Prometheus 3 stores it: `le="1"` is `le="1.0"`.
///
/// `kind` is what the newest TYPE line says, of whatever metric: that is what Prometheus goes by.
pub fn write_bound(kind: Option<MetricKind>, labels: &mut [Pair<'_>]) {
    let bound = match kind {
        Some(MetricKind::Histogram) => "le",
        Some(MetricKind::Summary) => "quantile",
        _ => return,
    };
    let Some((_, text)) = labels.iter_mut().find(|(name, _)| name == bound) else { return };
    if let Ok(number) = parse_float(text.as_bytes()) {
        let canonical = canonical_float(number);
        if *text != canonical {
            *text = Cow::Owned(canonical);
        }
    }
}

/// Reads an exemplar's labels, `{a="b"}`, and returns how many characters they have together.
pub fn exemplar_characters(line: &mut Line<'_>, syntax: &Syntax, limits: &Limits) -> Result<usize, Refused> {
    if !line.eat(b'{') {
        return Err(format!("expected the labels of an exemplar, found {}", line.found()).into());
    }
    let mut labels = Vec::new();
    if braces(line, syntax, limits, &mut labels)?.is_some() {
        return Err("an exemplar has labels only, no name".to_owned().into());
    }
    Ok(labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum())
}

/// What stands between braces, the opening one already read. Returns the metric's name if it stands there.
fn braces<'b>(
    line: &mut Line<'b>,
    syntax: &Syntax,
    limits: &Limits,
    out: &mut Vec<Pair<'b>>,
) -> Result<Option<Cow<'b, str>>, Refused> {
    let mut metric = None;
    skip_blanks(line, syntax);
    if line.eat(b'}') {
        return Ok(None);
    }
    loop {
        match label(line, syntax)? {
            (name, Some(value)) => out.push((name, value)),
            (name, None) if metric.is_none() => metric = Some(name),
            _ => return Err("the metric has two names".to_owned().into()),
        }
        if out.len() > limits.labels_per_sample_max {
            return Err(Refused::beyond_limits(format!("more than {} labels", limits.labels_per_sample_max)));
        }
        skip_blanks(line, syntax);
        let comma = line.eat(b',');
        skip_blanks(line, syntax);
        if (!comma || syntax.commas_loose) && line.eat(b'}') {
            return Ok(metric);
        }
        let letter = line.peek().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        let label_may_follow = comma || (syntax.commas_loose && letter);
        if !label_may_follow {
            return Err(format!("expected a comma or a closing brace, found {}", line.found()).into());
        }
    }
}

/// One label, or a quoted name alone.
fn label<'b>(line: &mut Line<'b>, syntax: &Syntax) -> Result<(Cow<'b, str>, Option<Cow<'b, str>>), String> {
    let quoted = line.peek() == Some(b'"');
    let name = if quoted { line.quoted(syntax.unknown_escapes)? } else { Cow::Borrowed(line.label_name()) };
    if name.is_empty() {
        return Err(format!("expected a label name, found {}", line.found()));
    }
    skip_blanks(line, syntax);
    if quoted && matches!(line.peek(), Some(b',' | b'}')) {
        return Ok((name, None));
    }
    if !line.eat(b'=') {
        return Err(format!("expected an equals sign after label {}, found {}", quote(name.as_bytes()), line.found()));
    }
    skip_blanks(line, syntax);
    let value =
        line.quoted(syntax.unknown_escapes).map_err(|reason| format!("label {}: {reason}", quote(name.as_bytes())))?;
    Ok((name, Some(value)))
}

fn skip_blanks(line: &mut Line<'_>, syntax: &Syntax) {
    if syntax.blanks {
        line.skip_blanks();
    }
}

/// Names once each, and within the limits.
fn check(labels: &[Pair<'_>], limits: &Limits) -> Result<(), Refused> {
    for (at, (name, value)) in labels.iter().enumerate() {
        if labels[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(format!("label {} stands twice", quote(name.as_bytes())).into());
        }
        if name.len() > limits.label_name_bytes_max {
            let (name, most) = (quote(name.as_bytes()), limits.label_name_bytes_max);
            return Err(Refused::beyond_limits(format!("label name {name} is longer than {most} bytes")));
        }
        if value.len() > limits.label_value_bytes_max {
            let (name, most) = (quote(name.as_bytes()), limits.label_value_bytes_max);
            return Err(Refused::beyond_limits(format!("the value of label {name} is longer than {most} bytes")));
        }
    }
    Ok(())
}
