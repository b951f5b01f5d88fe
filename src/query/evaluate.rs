//! The evaluator: walks the expression once and gives each node its values over all steps.

use std::sync::Arc;

use super::annotations::Annotations;
use super::budget::Budget;
use super::error::QueryError;
use super::native::is_histogram;
use super::options::EvalOptions;
use super::row::{NameRemoval, Row};
use super::select::Selections;
use super::source::SeriesSource;
use super::steps::Steps;
use super::value::{EvalStats, Evaluated, Value};
use super::{aggregate, binary, function};
use crate::model::{Labels, Timestamp};
use crate::promql::{Expr, ExprKind, Modified, RangeEdge};

/// What a node evaluates to. Range vectors exist only as arguments and are read by `range_vector`.
pub(super) enum Operand {
    /// One value per step.
    Scalar(Vec<f64>),
    Vector(Vec<Row>),
    String(String),
}

/// One evaluation of one query.
pub(super) struct Evaluator<'a> {
    pub options: &'a EvalOptions,
    pub source: &'a dyn SeriesSource,
    /// The steps of the whole query; inside a subquery nodes are evaluated at others.
    pub query: Steps,
    /// Start and end as the query names them; the last step may be earlier than the end.
    pub query_interval: (Timestamp, Timestamp),
    /// The step of a range query, 0 for an instant query.
    pub query_step_ms: i64,
    pub names: NameRemoval,
    pub notes: Annotations,
    pub budget: Budget,
    pub stats: EvalStats,
    /// Everything selected so far; freed at the end of the query.
    pub selections: Selections,
    depth: usize,
}

impl<'a> Evaluator<'a> {
    pub fn new(
        query: Steps,
        query_interval: (Timestamp, Timestamp),
        query_step_ms: i64,
        source: &'a dyn SeriesSource,
        options: &'a EvalOptions,
    ) -> Self {
        Evaluator {
            options,
            source,
            query,
            query_interval,
            query_step_ms,
            names: if options.delayed_name_removal { NameRemoval::AtTheEnd } else { NameRemoval::AtOnce },
            notes: Annotations::default(),
            budget: Budget::new(options.limits.samples_max),
            stats: EvalStats::default(),
            selections: Selections::default(),
            depth: 0,
        }
    }

    pub fn finish(self, value: Value) -> Evaluated {
        let (warnings, infos) = self.notes.render(&self.options.query);
        Evaluated { value, warnings, infos, stats: self.stats }
    }

    /// # Errors
    /// When the query was cancelled or is out of time.
    pub fn check(&self) -> Result<(), QueryError> {
        self.options.limits.check()
    }

    /// The values of a node; its result is counted in the budget, what its operands held no longer is.
    pub fn eval(&mut self, expr: &Expr, steps: &Steps) -> Result<Operand, QueryError> {
        self.check()?;
        self.depth += 1;
        if self.depth > self.options.limits.depth_max {
            let depth_max = self.options.limits.depth_max;
            return Err(QueryError::bad_data(format!("expression is nested more than {depth_max} levels deep")));
        }
        let held = self.budget.held();
        let operand = match self.invariant(expr, steps)? {
            Some(operand) => operand,
            None => self.eval_kind(expr, steps)?,
        };
        self.budget.go_back(held);
        match &operand {
            Operand::Vector(rows) => rows.iter().try_for_each(|row| self.budget.hold_row(row))?,
            Operand::Scalar(values) => self.budget.hold(values.len(), values.len())?,
            Operand::String(_) => {}
        }
        self.depth -= 1;
        Ok(operand)
    }

    /// The values of a node, whatever it costs.
    pub fn eval_kind(&mut self, expr: &Expr, steps: &Steps) -> Result<Operand, QueryError> {
        match &expr.kind {
            ExprKind::Number(number) => Ok(Operand::Scalar(vec![number.0; steps.count])),
            ExprKind::String(text) => Ok(Operand::String(text.clone())),
            ExprKind::Vector(selector) => self.instant_vector(selector, expr.source, steps).map(Operand::Vector),
            ExprKind::Matrix { .. } | ExprKind::Subquery { .. } => {
                Err(QueryError::bad_data("a range vector can only be the argument of a function"))
            }
            ExprKind::Call { function, args } => function::call(self, function, args, expr.source, steps),
            ExprKind::Aggregate(node) => aggregate::aggregate(self, node, expr.source, steps).map(Operand::Vector),
            ExprKind::Binary(node) => binary::binary(self, node, expr.source, steps),
            ExprKind::Negate(inner) => self.negate(inner, steps),
            ExprKind::Paren(inner) => self.eval(inner, steps),
            ExprKind::Modified(modified) => Err(unsupported_modifier(modified)),
        }
    }

    fn negate(&mut self, inner: &Expr, steps: &Steps) -> Result<Operand, QueryError> {
        match self.eval(inner, steps)? {
            Operand::Scalar(mut values) => {
                values.iter_mut().for_each(|v| *v = -*v);
                Ok(Operand::Scalar(values))
            }
            Operand::Vector(mut rows) => {
                for row in &mut rows {
                    row.update_all(|_, v| Some(if is_histogram(v) { v } else { -v }));
                }
                self.names.drop_names(rows).map(Operand::Vector)
            }
            Operand::String(_) => Err(QueryError::bad_data("unary expression only allowed on scalars and vectors")),
        }
    }

    /// The rows of a node that must be an instant vector.
    pub fn vector(&mut self, expr: &Expr, steps: &Steps) -> Result<Vec<Row>, QueryError> {
        match self.eval(expr, steps)? {
            Operand::Vector(rows) => Ok(rows),
            Operand::Scalar(_) | Operand::String(_) => Err(QueryError::bad_data("expected an instant vector")),
        }
    }

    /// The values per step of a node that must be a scalar.
    pub fn scalar(&mut self, expr: &Expr, steps: &Steps) -> Result<Vec<f64>, QueryError> {
        match self.eval(expr, steps)? {
            Operand::Scalar(values) => Ok(values),
            Operand::Vector(_) | Operand::String(_) => Err(QueryError::bad_data("expected a scalar")),
        }
    }

    /// The text of a node that must be a string.
    pub fn string<'e>(&self, expr: &'e Expr) -> Result<&'e str, QueryError> {
        match &expr.peel().kind {
            ExprKind::String(text) => Ok(text),
            _ => Err(QueryError::bad_data("expected a string literal")),
        }
    }
}

/// Any text but the empty one names a label. Where a query's string is no text, the parser puts the replacement character,
/// which no query can hold otherwise.
pub(super) fn is_label(name: &str) -> bool {
    !name.is_empty() && !name.contains(char::REPLACEMENT_CHARACTER)
}

/// A selector or subquery that is still no plain one once its durations are known.
pub(super) fn unsupported_modifier(modified: &Modified) -> QueryError {
    QueryError::unsupported(modified.edge.map_or("duration expression", RangeEdge::word))
}

/// A vector of one series without labels.
pub(super) fn unlabelled(values: Vec<f64>) -> Vec<Row> {
    Row::new(Arc::new(Labels::EMPTY), values).into_iter().collect()
}
