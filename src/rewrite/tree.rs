//! An expression as a tree of lines, for people: one node a line, views with the rule that keeps them.

use std::fmt::Write;

use super::refusal::ViewName;
use crate::model::time::format_duration;
use crate::plan::Catalog;
use crate::promql::{At, Expr, ExprKind, Grouping, Origin, TimeShift, VectorSelector};

/// Levels drawn as a tree; what is deeper stands on one line.
const DEPTH_MAX: usize = 40;

/// The tree of an expression, every line ended.
pub(super) fn draw(expr: &Expr, catalog: &Catalog) -> String {
    let mut out = String::new();
    node(expr.peel(), catalog, ("", ""), DEPTH_MAX, &mut out);
    out
}

/// `indent`: what stands before this node, and before the lines below it.
fn node(expr: &Expr, catalog: &Catalog, indent: (&str, &str), depth: usize, out: &mut String) {
    out.push_str(indent.0);
    if depth == 0 {
        let _ = writeln!(out, "{expr}");
        return;
    }
    out.push_str(&name(expr, catalog));
    out.push('\n');
    let parts = expr.children();
    for (at, part) in parts.iter().enumerate() {
        let (branch, below) = if at + 1 == parts.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let (branch, below) = (format!("{}{branch}", indent.1), format!("{}{below}", indent.1));
        node(part.peel(), catalog, (&branch, &below), depth - 1, out);
    }
}

fn name(expr: &Expr, catalog: &Catalog) -> String {
    match &expr.kind {
        ExprKind::Number(number) => number.0.to_string(),
        ExprKind::String(text) => format!("{text:?}"),
        ExprKind::Vector(selector) => selected(selector, catalog, String::new()),
        ExprKind::Matrix { selector, range_ms } => selected(selector, catalog, format!("[{}]", format_duration(*range_ms))),
        ExprKind::Subquery { range_ms, step_ms, shift, .. } => {
            let step = step_ms.map(format_duration).unwrap_or_default();
            format!("subquery [{}:{step}]{}", format_duration(*range_ms), shifted(shift))
        }
        ExprKind::Call { function, .. } => format!("{function}()"),
        ExprKind::Aggregate(aggregate) => {
            let (word, names) = match &aggregate.grouping {
                Grouping::By(names) => ("by", names),
                Grouping::Without(names) => ("without", names),
            };
            format!("{} {word} ({})", aggregate.op, names.join(", "))
        }
        ExprKind::Binary(binary) => binary.op.symbol().to_owned(),
        ExprKind::Negate(_) => "-".to_owned(),
        ExprKind::Paren(inner) => name(inner, catalog),
        ExprKind::Modified(_) => "modified range".to_owned(),
    }
}

fn selected(selector: &VectorSelector, catalog: &Catalog, range: String) -> String {
    let shift = shifted(&selector.shift);
    let Origin::View { view, field } = &selector.origin else {
        return format!("samples {}{range}{shift}", selector.selector);
    };
    let mut text = format!("view {view}");
    if let Some(entry) = catalog.get(*view) {
        let fields = entry.view.shape.aggregation.fields;
        let field = fields.get(usize::from(*field)).copied().unwrap_or("?");
        let _ = write!(text, " ({field}; {})", ViewName::of(entry));
    }
    if !selector.selector.matchers().is_empty() {
        let _ = write!(text, " {}", selector.selector);
    }
    format!("{text}{range}{shift}")
}

fn shifted(shift: &TimeShift) -> String {
    let mut text = match shift.at {
        None => String::new(),
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
        Some(At::Time(t)) => format!(" @ {}", t.seconds()),
    };
    if shift.offset_ms != 0 {
        let _ = write!(text, " offset {}", format_duration(shift.offset_ms));
    }
    text
}
