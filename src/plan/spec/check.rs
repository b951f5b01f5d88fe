//! What a rule means, and whether that can be kept.
//!
//! Structure was checked before: here every key that is present has the right type, and keys in error are absent from
//! what is read, so that nothing is reported twice.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::problem::Report;
use super::read::{ReadOptions, SEE_SCHEMA};
use super::tree::{Node, Place, Value, member};
use super::types::{LimitsSpec, RuleSpec};
use crate::model::matcher::is_label_name;
use crate::model::time::{format_duration, parse_duration};
use crate::model::{Labels, METRIC_NAME};
use crate::plan::job::{Rule, RuleLimits};
use crate::plan::normalize::{NotKept, normalize};
use crate::plan::view::{Shape, View};
use crate::promql::{Expr, ExprKind, Grouping, TimeShift};

const SECOND: i64 = 1_000;
const DAY: i64 = 86_400_000;
const STEP_MS: (i64, i64) = (SECOND, DAY);
const MAX_DELAY_MS: (i64, i64) = (SECOND, 3_600_000);
const WINDOW_MS: (i64, i64) = (1, 7 * DAY);
const RETENTION_MS: (i64, i64) = (SECOND, 3650 * DAY);
const MAX_DELAY_DEFAULT_MS: i64 = 30 * SECOND;
const RETENTION_DEFAULT_MS: i64 = 30 * DAY;
/// Few targets are scraped more often than this; assumed when the interval is not known.
const SCRAPE_INTERVAL_ASSUMED_MS: i64 = 5 * SECOND;
/// What a counter's name ends in.
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

/// A rule in its file.
pub struct RuleText<'a> {
    pub source: &'a str,
    /// `rules[3]`
    pub field: String,
    pub node: &'a Node,
    /// The job's `defaults`.
    pub defaults: Option<&'a Node>,
    pub index: usize,
}

impl RuleText<'_> {
    /// Where a key's value stands: in the rule, else in the defaults, else where it is missing.
    fn at(&self, key: &str) -> (String, Place) {
        if let Some(node) = self.node.get(key) {
            return (member(&self.field, key), node.place);
        }
        match self.defaults.and_then(|defaults| defaults.get(key)) {
            Some(node) => (member("defaults", key), node.place),
            None => (member(&self.field, key), self.node.place),
        }
    }

    /// Whether a key is given, be it in error.
    fn has(&self, key: &str) -> bool {
        self.node.get(key).is_some() || self.defaults.is_some_and(|defaults| defaults.get(key).is_some())
    }

    /// The place of a byte of the expression, whether that is one string or a list of lines.
    fn within_expr(&self, byte: usize) -> Place {
        let Some(node) = self.node.get("expr") else { return self.node.place };
        let mut rest = byte;
        for line in node.items() {
            let Value::Text(text) = &line.value else { continue };
            if rest <= text.len() {
                return line.place_within(self.source, rest);
            }
            rest -= text.len() + 1;
        }
        node.place_within(self.source, byte)
    }
}

type Defaults = serde_json::Map<String, serde_json::Value>;

/// Reads and checks one rule; `None` when it has errors.
pub fn check_rule(
    text: &RuleText<'_>,
    defaults: Option<&Defaults>,
    options: &ReadOptions,
    report: &mut Report,
) -> Option<Rule> {
    let errors = report.errors();
    let spec = read(text, defaults, report)?;
    let expr = spec.expr.joined();
    let kept = kept(text, &expr, report).and_then(|kept| keep_labels(text, &spec, kept, report));
    let step_ms = step(text, &spec, report);
    let max_delay_ms = duration(text, "max_delay", spec.max_delay.as_deref(), MAX_DELAY_DEFAULT_MS, MAX_DELAY_MS, report);
    let retention_ms = retention(text, &spec, step_ms, report);
    let labels = labels(text, &spec, kept.as_ref().map(|kept| &kept.shape), report);
    if let Some(kept) = &kept {
        window(text, kept, options, report);
        counter_name(text, kept, report);
        record(text, &spec, &kept.shape, report);
    }
    if report.errors() > errors {
        return None;
    }
    Some(Rule {
        index: text.index,
        expr,
        view: View::new(options.tenant.clone(), kept?.shape, step_ms?, max_delay_ms?),
        record: spec.record.as_deref().map(Into::into),
        labels,
        overdue_tolerance: spec.overdue_tolerance.unwrap_or(0.0),
        retention_ms: retention_ms?,
        limits: limits(spec.limits.as_ref()),
    })
}

/// The rule's keys over the defaults'.
fn read(text: &RuleText<'_>, defaults: Option<&Defaults>, report: &mut Report) -> Option<RuleSpec> {
    let serde_json::Value::Object(own) = text.node.to_json(&text.field, report.bad()) else { return None };
    let field = member(&text.field, "expr");
    if !own.contains_key("expr") || report.bad().iter().any(|bad| bad.starts_with(&field)) {
        return None; // reported with the structure
    }
    let mut merged = defaults.cloned().unwrap_or_default();
    merged.extend(own);
    serde_json::from_value(serde_json::Value::Object(merged))
        .map_err(|error| report.error(text.field.clone(), text.node.place, error.to_string(), SEE_SCHEMA))
        .ok()
}

/// What is to be kept, and where in the file the aggregation's argument begins.
struct Kept {
    shape: Shape,
    argument: Place,
}

/// The expression's normal form, unless it is none that can be kept.
fn kept(text: &RuleText<'_>, expr: &str, report: &mut Report) -> Option<Kept> {
    let field = member(&text.field, "expr");
    let parsed = match crate::promql::parse(expr) {
        Ok(parsed) => parsed,
        Err(error) => {
            let remedy = match error.beyond_limits {
                true => "keep its parts as rules of their own, and combine them in the query",
                false => "correct it there; what Prometheus 3 takes for PromQL is read",
            };
            report.error(field, text.within_expr(error.source.start as usize), error.message, remedy);
            return None;
        }
    };
    let argument = text.within_expr(argument_start(&parsed));
    match normalize(&parsed) {
        Ok((shape, shift)) if shift == TimeShift::default() => Some(Kept { shape, argument }),
        Ok(_) => {
            let remedy = "leave it out: a query that has one is answered from the same view";
            report.error(field, argument, "a rule's selector has no offset and no @", remedy);
            None
        }
        Err(why) => {
            let place = match why {
                NotKept::Function(_) | NotKept::Argument => argument,
                NotKept::NotAnAggregation | NotKept::Aggregation(_) => text.within_expr(parsed.peel().source.start as usize),
            };
            report.error(field, place, why.to_string(), why.remedy());
            None
        }
    }
}

/// Where what is under the aggregation begins.
fn argument_start(expr: &Expr) -> usize {
    let node = match &expr.peel().kind {
        ExprKind::Aggregate(aggregate) => aggregate.expr.peel(),
        _ => expr.peel(),
    };
    node.source.start as usize
}

/// Adds `keep_labels` to the labels of `by`.
fn keep_labels(text: &RuleText<'_>, spec: &RuleSpec, kept: Kept, report: &mut Report) -> Option<Kept> {
    let Some(labels) = spec.keep_labels.as_ref().filter(|labels| !labels.is_empty()) else { return Some(kept) };
    let (field, place) = text.at("keep_labels");
    let Grouping::By(names) = &kept.shape.grouping else {
        let message = "cannot be used with `without`, which already keeps every other label";
        report.error(field, place, message, "leave keep_labels out, or take these labels out of `without (...)`");
        return None;
    };
    for label in labels.iter().filter(|label| names.iter().any(|name| name == label.as_str())) {
        report.note(field.clone(), place, format!("{label} is already in `by (...)`"), "");
    }
    let all = names.iter().cloned().chain(labels.iter().map(SmolStr::from));
    let grouping = Grouping::by(all);
    Some(Kept { shape: Shape { grouping, ..kept.shape }, ..kept })
}

fn step(text: &RuleText<'_>, spec: &RuleSpec, report: &mut Report) -> Option<i64> {
    if !text.has("step") {
        let (field, place) = text.at("step");
        let remedy = "add it here or in defaults: the distance between two results, such as \"30s\"";
        report.error(field, place, "is missing", remedy);
        return None;
    }
    // In error already when the key is there and could not be read.
    duration(text, "step", Some(spec.step.as_deref()?), 0, STEP_MS, report)
}

fn retention(text: &RuleText<'_>, spec: &RuleSpec, step_ms: Option<i64>, report: &mut Report) -> Option<i64> {
    let kept_ms = duration(text, "retention", spec.retention.as_deref(), RETENTION_DEFAULT_MS, RETENTION_MS, report)?;
    if let Some(step_ms) = step_ms.filter(|step_ms| kept_ms <= *step_ms) {
        let (field, place) = text.at("retention");
        let message =
            format!("must be longer than the step of {}, not {}", format_duration(step_ms), format_duration(kept_ms));
        report.error(field, place, message, "keep results longer, or shorten the step");
        return None;
    }
    Some(kept_ms)
}

/// A duration within its bounds.
fn duration(
    text: &RuleText<'_>,
    key: &str,
    written: Option<&str>,
    default_ms: i64,
    (least, most): (i64, i64),
    report: &mut Report,
) -> Option<i64> {
    let Some(written) = written else { return Some(default_ms) };
    let ms = parse_duration(written).ok()?;
    if (least..=most).contains(&ms) {
        return Some(ms);
    }
    let (field, place) = text.at(key);
    let message = format!("must be between {} and {}, not {written}", format_duration(least), format_duration(most));
    report.error(field, place, message, nearer(ms, least, most));
    None
}

/// What to do about a duration out of its bounds.
fn nearer(ms: i64, least: i64, most: i64) -> String {
    match ms < least {
        true => format!("make it {} or longer", format_duration(least)),
        false => format!("make it {} or shorter", format_duration(most)),
    }
}

/// The labels set on recorded series.
fn labels(text: &RuleText<'_>, spec: &RuleSpec, shape: Option<&Shape>, report: &mut Report) -> Labels {
    let none = BTreeMap::new();
    let labels = spec.labels.as_ref().unwrap_or(&none);
    let (field, place) = text.at("labels");
    let own = text.node.get("labels").or_else(|| text.defaults.and_then(|defaults| defaults.get("labels")));
    for entry in own.map_or(&[][..], Node::entries) {
        let field = member(&field, &entry.key);
        if entry.key == METRIC_NAME {
            report.error(field, entry.key_place, "the metric's name is not a label to set", "use record");
        } else if !is_label_name(&entry.key) {
            let message = format!("{:?} is not a label name", entry.key);
            report.error(field, entry.key_place, message, "use letters, digits and _, and no digit first");
        } else if let Some(Grouping::By(names)) = shape.map(|shape| &shape.grouping)
            && names.iter().any(|name| *name == entry.key)
        {
            let message = "would overwrite a label by which the rule groups, and so make several series one";
            report.error(field, entry.key_place, message, "give it another name");
        }
    }
    if !labels.is_empty() && !text.has("record") && text.node.get("labels").is_some() {
        let message = "has no effect without record: labels are set on the series queried under that name";
        report.warning(field, place, message, "add record, or leave labels out");
    }
    Labels::from_pairs(labels)
}

fn window(text: &RuleText<'_>, kept: &Kept, options: &ReadOptions, report: &mut Report) {
    let (shape, place) = (&kept.shape, kept.argument);
    let Some(function) = shape.function else { return };
    let field = member(&text.field, "expr");
    let (least, most) = WINDOW_MS;
    if !(least..=most).contains(&shape.window_ms) {
        let message = format!(
            "the window must be between {} and {}, not {}",
            format_duration(least),
            format_duration(most),
            format_duration(shape.window_ms)
        );
        return report.error(field, place, message, nearer(shape.window_ms, least, most));
    }
    let interval_ms = options.scrape_interval_ms.unwrap_or(SCRAPE_INTERVAL_ASSUMED_MS);
    if function.counter && shape.window_ms < interval_ms.saturating_mul(2) {
        let message = format!(
            "a window of {} is shorter than two scrape intervals of {}, and {}() needs two samples",
            format_duration(shape.window_ms),
            format_duration(interval_ms),
            function.name
        );
        report.note(field, place, message, "");
    }
}

fn counter_name(text: &RuleText<'_>, kept: &Kept, report: &mut Report) {
    let (Some(function), Some(metric)) = (kept.shape.function, kept.shape.selector.metric()) else { return };
    if function.counter && !COUNTER_SUFFIXES.iter().any(|suffix| metric.ends_with(suffix)) {
        let (field, place) = (member(&text.field, "expr"), kept.argument);
        let message = format!("{}() is for counters, and {metric} is not named like one", function.name);
        report.warning(field, place, message, "a gauge wants delta() or avg_over_time()");
    }
}

fn record(text: &RuleText<'_>, spec: &RuleSpec, shape: &Shape, report: &mut Report) {
    let (Some(record), Some(metric)) = (spec.record.as_deref(), shape.selector.metric()) else { return };
    if record == metric {
        let (field, place) = text.at("record");
        report.error(field, place, "is the metric that the rule itself reads", "choose another name");
    }
}

fn limits(spec: Option<&LimitsSpec>) -> RuleLimits {
    let default = RuleLimits::default();
    RuleLimits {
        input_series: spec.and_then(|limits| limits.input_series).unwrap_or(default.input_series),
        output_series: spec.and_then(|limits| limits.output_series).unwrap_or(default.output_series),
    }
}
