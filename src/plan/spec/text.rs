//! A job as people read it: `prefold check --plan`, and the NAME.plan files beside the jobs.
//!
//! Stable on purpose: a change of a plan file is how a reviewer sees that a view became another one.

use std::fmt::Write;

use crate::model::time::format_duration;
use crate::model::{METRIC_NAME, Matcher};
use crate::plan::job::{Job, Rule};
use crate::plan::view::{Shape, View};
use crate::promql::Grouping;

/// The job's views, their fingerprints and what each operator does.
pub fn plan_text(job: &Job) -> String {
    let rules = if job.rules.len() == 1 { "rule" } else { "rules" };
    let mut text = format!("job {}: {} {rules}\n", job.name, job.rules.len());
    for rule in &job.rules {
        rule_text(&mut text, rule);
    }
    text
}

/// Writing to a String cannot fail.
fn line(text: &mut String, key: &str, value: &str) {
    let _ = writeln!(text, "  {key:<10} {value}");
}

fn rule_text(text: &mut String, rule: &Rule) {
    let (view, shape) = (&rule.view, &rule.view.shape);
    let _ = writeln!(text, "\nrule {}", rule.index);
    for (index, part) in rule.expr.lines().enumerate() {
        line(text, if index == 0 { "expr" } else { "" }, part);
    }
    line(text, "view", &shape.to_string());
    line(
        text,
        "grid",
        &format!("every {}, final {} later", format_duration(view.step_ms), format_duration(view.max_delay_ms)),
    );
    line(text, "id", &view.id.to_string());
    if let Some(record) = &rule.record {
        let labels = if rule.labels.is_empty() { String::new() } else { rule.labels.to_string() };
        line(text, "record", &format!("{record}{labels}"));
    }
    line(text, "kept", &format!("{}, overdue tolerance {}", format_duration(rule.retention_ms), rule.overdue_tolerance));
    let limits = format!("{} input series, {} output series", rule.limits.input_series, rule.limits.output_series);
    line(text, "limits", &limits);
    let _ = writeln!(text, "  operators");
    for (name, what) in operators(view) {
        let _ = writeln!(text, "    {name:<10} {what}");
    }
    let _ = writeln!(text, "  normal form");
    for part in view.normal_form().lines() {
        let _ = writeln!(text, "    {part}");
    }
}

/// What samples pass through, in order.
fn operators(view: &View) -> [(&'static str, String); 6] {
    let shape = &view.shape;
    let aggregation = shape.aggregation;
    let delay = format_duration(view.max_delay_ms);
    [
        ("filter", format!("series {}, samples at most {delay} late", filter(shape))),
        ("partition", format!("series to groups {}", groups(shape))),
        ("window", window(view)),
        ("aggregate", format!("{} per group and log partition, in the order of series ids", aggregation.name)),
        ("combine", format!("the log partitions' partials, then store {}", aggregation.fields.join(", "))),
        ("final", format!("T is emitted once, when every partition's log time has passed T + {delay}")),
    ]
}

fn filter(shape: &Shape) -> String {
    let matchers: Vec<String> = shape.selector.matchers().iter().map(Matcher::to_string).collect();
    match matchers.is_empty() {
        true => "of any name and labels".to_owned(),
        false => format!("with {}", matchers.join(" and ")),
    }
}

fn groups(shape: &Shape) -> String {
    match &shape.grouping {
        Grouping::By(names) if names.is_empty() => "of no labels: one group".to_owned(),
        Grouping::By(names) => format!("of {}", names.join(", ")),
        Grouping::Without(names) if names.is_empty() => format!("of every label but {METRIC_NAME}"),
        Grouping::Without(names) => format!("of every label but {METRIC_NAME}, {}", names.join(", ")),
    }
}

fn window(view: &View) -> String {
    let (step, range) = (format_duration(view.step_ms), format_duration(view.shape.window_ms));
    match view.shape.function {
        Some(function) => format!("{} over (T - {range}, T], for T every {step}", function.name),
        None => format!("the newest sample in (T - {range}, T] unless it is a staleness marker, for T every {step}"),
    }
}
