//! The walk through a query: at every aggregation a view is looked for, and below the first that answers nothing is left.
//!
//! An aggregation over a selector is the unit that is replaced: everything above it (quantiles of histograms, ranks,
//! arithmetic, subqueries, label functions) is a function of its value and stays. So each subtree is judged once, from the
//! top, and what is replaced is as large as possible.

use smol_str::SmolStr;

use super::candidate::choose;
use super::condition::Wanted;
use super::moments::{Enclosing, Moments};
use super::outcome::{Outcome, Refused, ViewRead};
use super::refusal::{Refusal, ViewName};
use super::{Question, Shortfall, record};
use crate::model::{METRIC_NAME, Selector, ViewId};
use crate::plan::{Catalog, CatalogEntry, NotKept, Semantics, Shape, normalize};
use crate::promql::{Aggregate, At, Binary, Expr, ExprKind, Origin, SourceRange, TimeShift, VectorSelector};

/// What the walk knows and has found.
pub(super) struct Walk<'a> {
    question: Question<'a>,
    catalog: &'a Catalog,
    /// What decides between views that both answer a subtree.
    shortfall: Shortfall<'a>,
    moments: Moments,
    /// As many as the query has different reads of views.
    reads: Vec<ViewRead>,
    /// Recorded names, each once.
    records: Vec<SmolStr>,
    /// At most one per selector of the query.
    refusals: Vec<Refused>,
    selectors_left: usize,
    /// How many subtrees were replaced so far.
    replaced: usize,
    /// The walk is below an aggregation that was refused: its selector has its refusal already.
    blamed: bool,
}

impl<'a> Walk<'a> {
    pub fn new(question: &Question<'a>, catalog: &'a Catalog, shortfall: Shortfall<'a>) -> Walk<'a> {
        Walk {
            question: *question,
            catalog,
            shortfall,
            moments: Moments { time: question.time, within: Vec::new(), unknown_steps: 0 },
            reads: Vec::new(),
            records: Vec::new(),
            refusals: Vec::new(),
            selectors_left: 0,
            replaced: 0,
            blamed: false,
        }
    }

    pub fn run(mut self, expr: &Expr) -> Outcome {
        // A duration that cannot be known is for whoever evaluates the query to complain of.
        let known = expr.with_known_durations(self.question.time.span());
        let rewritten = self.expr(known.as_deref().unwrap_or(expr));
        Outcome {
            expr: rewritten,
            whole: self.selectors_left == 0 && !self.reads.is_empty(),
            reads: self.reads,
            records: self.records,
            refusals: self.refusals,
            selectors_left: self.selectors_left,
            splittable: !uses_bounds(expr),
        }
    }

    /// What it calls is kept out of it, whatever the optimiser thinks: what is nested is as many of its frames.
    fn expr(&mut self, expr: &Expr) -> Expr {
        let kind = match &expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) => expr.kind.clone(),
            ExprKind::Vector(selector) => return self.vector(expr, selector),
            ExprKind::Matrix { selector, .. } => return self.matrix(expr, selector),
            ExprKind::Subquery { expr, range_ms, step_ms, shift } => self.subquery(expr, *range_ms, *step_ms, *shift),
            ExprKind::Call { function, args } => self.call(function, args),
            ExprKind::Aggregate(aggregate) => return self.aggregate(expr, aggregate),
            ExprKind::Binary(_) => return self.chain(expr),
            ExprKind::Negate(inner) => ExprKind::Negate(Box::new(self.expr(inner))),
            ExprKind::Paren(inner) => ExprKind::Paren(Box::new(self.expr(inner))),
            // No view keeps what its modifier asks for.
            ExprKind::Modified(modified) => {
                modified.plain.selectors().into_iter().for_each(|selector| self.leave(expr.source, selector));
                expr.kind.clone()
            }
        };
        Expr::new(kind, expr.source)
    }

    /// Operators, those of a chain one after another: it may be far longer than anything else is nested.
    #[inline(never)]
    fn chain(&mut self, expr: &Expr) -> Expr {
        let (mut operators, mut first) = (Vec::new(), expr);
        while let ExprKind::Binary(binary) = &first.kind {
            operators.push((first.source, binary));
            first = &binary.lhs;
        }
        let mut lhs = self.expr(first);
        for (source, binary) in operators.into_iter().rev() {
            let rhs = self.expr(&binary.rhs);
            let (op, return_bool, matching) = (binary.op, binary.return_bool, binary.matching.clone());
            lhs = Expr::new(ExprKind::Binary(Box::new(Binary { op, lhs, rhs, return_bool, matching })), source);
        }
        lhs
    }

    /// A recorded name, or a selector that is left.
    #[inline(never)]
    fn vector(&mut self, expr: &Expr, selector: &VectorSelector) -> Expr {
        let Some((entry, labels)) = self.recorded(selector) else {
            self.leave(expr.source, selector);
            return expr.clone();
        };
        match record::read(selector, entry, labels, &self.moments, expr.source) {
            Ok(read) => {
                self.note(entry.view.id, selector.shift);
                let record = selector.selector.metric().unwrap_or_default();
                if !self.records.iter().any(|known| known == record) {
                    self.records.push(record.into());
                }
                read
            }
            Err(refusal) => self.refuse_selector(expr, refusal),
        }
    }

    #[inline(never)]
    fn matrix(&mut self, expr: &Expr, selector: &VectorSelector) -> Expr {
        match self.recorded(selector) {
            Some(_) => self.refuse_selector(expr, record::not_rewritable(selector, "in a range selector")),
            None => {
                self.leave(expr.source, selector);
                expr.clone()
            }
        }
    }

    /// Around a view, the step that a subquery leaves to a setting is written out, so that whoever evaluates it cannot take another.
    #[inline(never)]
    fn subquery(&mut self, expr: &Expr, range_ms: i64, step_ms: Option<i64>, shift: TimeShift) -> ExprKind {
        let step_known = step_ms.or(self.question.evaluation_interval_ms).filter(|step_ms| *step_ms > 0);
        match step_known {
            Some(step_ms) => {
                self.moments.within.push(Enclosing { range_ms, step_ms, shift: self.question.time.resolve(shift) });
            }
            None => self.moments.unknown_steps += 1,
        }
        let replaced_before = self.replaced;
        let inner = self.expr(expr);
        match step_known {
            Some(_) => drop(self.moments.within.pop()),
            None => self.moments.unknown_steps -= 1,
        }
        let step_ms = if self.replaced > replaced_before { step_known } else { step_ms };
        ExprKind::Subquery { expr: Box::new(inner), range_ms, step_ms, shift }
    }

    #[inline(never)]
    fn call(&mut self, function: &SmolStr, args: &[Expr]) -> ExprKind {
        let args = match function.as_str() {
            "info" => self.info(args),
            // These two look at the selector itself, not at its values.
            "absent" | "timestamp" => args.iter().map(|arg| self.looked_at(arg)).collect(),
            _ => args.iter().map(|arg| self.expr(arg)).collect(),
        };
        ExprKind::Call { function: function.clone(), args }
    }

    /// `info(v, selector)` reads series of names that stand nowhere in the query.
    fn info(&mut self, args: &[Expr]) -> Vec<Expr> {
        let source = args.first().map(|arg| arg.source).unwrap_or_default();
        let what = "info() reads series that the query does not name".to_owned();
        self.refusals.push(Refused { source, refusal: Refusal::EvaluationUnsupported { what } });
        self.selectors_left += 1;
        args.iter().enumerate().map(|(at, arg)| if at == 0 { self.expr(arg) } else { arg.clone() }).collect()
    }

    fn looked_at(&mut self, arg: &Expr) -> Expr {
        match &arg.peel().kind {
            ExprKind::Vector(selector) if self.recorded(selector).is_some() => {
                self.refuse_selector(arg, record::not_rewritable(selector, "under absent() or timestamp()"))
            }
            _ => self.expr(arg),
        }
    }

    #[inline(never)]
    fn aggregate(&mut self, expr: &Expr, aggregate: &Aggregate) -> Expr {
        let refusal = match self.asked(aggregate) {
            None => None,
            Some(selector) => match normalize(expr) {
                Ok((shape, shift)) => match self.answer(&shape, shift, expr.source) {
                    Ok(answer) => return answer,
                    Err(refusal) => Some(refusal),
                },
                Err(not_kept) => self.never_kept(not_kept, selector),
            },
        };
        let blamed = std::mem::replace(&mut self.blamed, refusal.is_some());
        if let Some(refusal) = refusal {
            self.refusals.push(Refused { source: expr.source, refusal });
        }
        let inner = self.expr(&aggregate.expr);
        self.blamed = blamed;
        let param = aggregate.param.as_ref().map(|param| self.expr(param));
        let (op, grouping) = (aggregate.op.clone(), aggregate.grouping.clone());
        Expr::new(ExprKind::Aggregate(Box::new(Aggregate { op, grouping, param, expr: inner })), expr.source)
    }

    /// The selector an aggregation stands over, directly or with one range function between, unless its name is recorded.
    fn asked<'e>(&self, aggregate: &'e Aggregate) -> Option<&'e VectorSelector> {
        let selector = match &aggregate.expr.peel().kind {
            ExprKind::Vector(selector) => selector,
            ExprKind::Call { args, .. } => args.iter().find_map(|arg| match &arg.peel().kind {
                ExprKind::Matrix { selector, .. } => Some(selector),
                _ => None,
            })?,
            _ => return None,
        };
        (selector.origin == Origin::Samples && self.recorded(selector).is_none()).then_some(selector)
    }

    /// A call of its own, whatever the optimiser thinks: its locals would stand in every frame of the walk down.
    #[inline(never)]
    fn answer(&mut self, shape: &Shape, shift: TimeShift, source: SourceRange) -> Result<Expr, Refusal> {
        let (tenant, semantics) = (self.question.tenant, Semantics::Prometheus);
        let wanted = Wanted { shape, tenant, semantics, shift, moments: &self.moments };
        let (entry, draft) = choose(&wanted, self.catalog, self.shortfall)?;
        let answer = draft.expr(&wanted, entry.view.id, source);
        self.note(entry.view.id, shift);
        Ok(answer)
    }

    /// Notes that a subtree is replaced by a read.
    fn note(&mut self, view: ViewId, shift: TimeShift) {
        self.replaced += 1;
        let read = ViewRead::new(view, self.question.time.resolve(shift), &self.moments.within);
        if !self.reads.contains(&read) {
            self.reads.push(read);
        }
    }

    /// Why no view of this metric could ever answer an aggregation; `None` leaves the blame to its selector.
    fn never_kept(&self, not_kept: NotKept, selector: &VectorSelector) -> Option<Refusal> {
        let Some(entry) = self.keeper(&selector.selector) else { return Some(no_view(&selector.selector)) };
        let view = ViewName::of(entry);
        let kept = &entry.view.shape;
        match not_kept {
            NotKept::Aggregation(wanted) => {
                Some(Refusal::AggregationDoesNotRollUp { view, wanted, kept: kept.aggregation.name })
            }
            NotKept::Function(wanted) => Some(Refusal::FunctionDiffers { view, wanted, kept: kept.function_name() }),
            NotKept::NotAnAggregation | NotKept::Argument => None,
        }
    }

    /// Some view of this tenant over the metric: the first by id.
    fn keeper(&self, selector: &Selector) -> Option<&'a CatalogEntry> {
        let of_metric = |entry: &&CatalogEntry| {
            let mut kept = entry.view.shape.selector.on(METRIC_NAME);
            entry.view.tenant == self.question.tenant && kept.all(|m| m.implied_by(selector.on(METRIC_NAME)))
        };
        self.catalog.candidates(selector.metric()).into_iter().map(|entry| &**entry).find(of_metric)
    }

    fn recorded(&self, selector: &VectorSelector) -> Option<(&'a CatalogEntry, &'a crate::model::Labels)> {
        let (entry, labels) = self.catalog.record(selector.selector.metric()?)?;
        (selector.origin == Origin::Samples && entry.view.tenant == self.question.tenant).then_some((&**entry, labels))
    }

    /// A selector over samples stays. Unless an aggregation above took the blame, it says why.
    fn leave(&mut self, source: SourceRange, selector: &VectorSelector) {
        if selector.origin != Origin::Samples {
            return;
        }
        self.selectors_left += 1;
        if !self.blamed {
            let refusal = match self.keeper(&selector.selector) {
                Some(entry) => Refusal::SeriesNotKept { view: ViewName::of(entry) },
                None => no_view(&selector.selector),
            };
            self.refusals.push(Refused { source, refusal });
        }
    }

    fn refuse_selector(&mut self, expr: &Expr, refusal: Refusal) -> Expr {
        self.selectors_left += 1;
        self.refusals.push(Refused { source: expr.source, refusal });
        expr.clone()
    }
}

fn no_view(selector: &Selector) -> Refusal {
    Refusal::NoViewForMetric { metric: selector.metric().map(Into::into) }
}

/// Whether a value depends on where the query starts, ends or how it steps.
fn uses_bounds(expr: &Expr) -> bool {
    let moving = |shift: &TimeShift| matches!(shift.at, Some(At::Start | At::End));
    let mut found = false;
    expr.visit(&mut |expr| {
        found |= match &expr.kind {
            ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => moving(&selector.shift),
            ExprKind::Subquery { shift, .. } => moving(shift),
            // The step of a query of one step is 0.
            ExprKind::Call { function, .. } => matches!(function.as_str(), "start" | "end" | "range" | "step"),
            ExprKind::Modified(modified) => modified.uses_query_range(),
            _ => false,
        };
    });
    found
}
