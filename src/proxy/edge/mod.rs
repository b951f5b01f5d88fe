//! The edge: grid points that are not final yet, asked of upstream once per view and shared by all queries (S5).
//!
//! Dashboards end at now, and the newest steps cost a database nearly as much as all others. So upstream is not asked with
//! each query, but with the view's expression at the grid point, once, by whoever comes first; the others wait for that
//! answer or find it kept. It stands in for the view's value until the view has its own; then the two are compared.
//!
//! An answer that was given while samples of its grid point may still have been on their way ([`settle_ms`]) is replaced by
//! a second one later, so that what is shown for the rest of max_delay is not what was true in its first second.

mod answers;
mod points;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::upstream::{Purpose, Upstream};
use crate::function::aggregation;
use crate::model::{Clock, Labels, Timestamp, ViewId};
use crate::plan::{Shape, View};

pub use answers::Settled;
pub use points::EdgePoints;

use answers::{Answers, Kept};

/// How many grid points upstream is asked for at once; others wait.
const ASKED_AT_ONCE: usize = 8;

/// How long upstream's failure to answer is believed.
const FAILURE_BELIEVED_MS: i64 = 5_000;

/// The most answers kept or awaited, whatever their size.
const ANSWERS_MAX: usize = 20_000;

/// One field of a view at one grid point. The oldest grid points come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EdgeKey {
    pub t: Timestamp,
    pub view: ViewId,
    pub field: u8,
}

/// Upstream's values of a view's groups.
pub type EdgeValues = Arc<Vec<(Arc<Labels>, f64)>>;

/// What came of asking.
type Outcome = Result<EdgeValues, Arc<str>>;

/// Upstream's answers at the edge.
pub struct Edge {
    clock: Arc<dyn Clock>,
    /// Locked for look-ups and changes, never while upstream is asked.
    answers: Mutex<Answers>,
    asking: Arc<Semaphore>,
    /// Values kept at once, over all answers.
    values_max: usize,
}

/// Until this long after a grid point, samples of it may be on their way to upstream: a third of what the rule allows.
pub fn settle_ms(view: &View) -> i64 {
    view.max_delay_ms / 3
}

impl Edge {
    pub fn new(clock: Arc<dyn Clock>, values_max: usize) -> Edge {
        Edge { clock, answers: Mutex::default(), asking: Arc::new(Semaphore::new(ASKED_AT_ONCE)), values_max }
    }

    /// Upstream's values of these fields and grid points, asked now where nobody has.
    ///
    /// # Errors
    /// Why one of them cannot be had; then the query's own expression is to be asked.
    pub async fn points(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        wanted: &[(EdgeKey, &View)],
    ) -> Result<EdgePoints, String> {
        let now = self.clock.now();
        let answers = wanted.iter().map(|(key, view)| self.answer(upstream, *key, view, now));
        let answers: Vec<_> = answers.collect::<Result<_, String>>()?;
        let mut points = EdgePoints::default();
        for ((key, _), answer) in wanted.iter().zip(answers) {
            points.add(*key, awaited(answer).await.map_err(|error| error.to_string())?);
        }
        Ok(points)
    }

    /// The answer kept or on its way, or a new one asked for.
    fn answer(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        key: EdgeKey,
        view: &View,
        now: Timestamp,
    ) -> Result<watch::Receiver<Option<Outcome>>, String> {
        let query = expression(&view.shape, key.field)?;
        let mut answers = self.answers.lock();
        if let Some(kept) = answers.get(&key).filter(|kept| is_good(kept, key, view, now)) {
            return Ok(kept.outcome.clone());
        }
        if !answers.make_room(ANSWERS_MAX, self.values_max) {
            return Err("more is asked at the edge than limits.edge_values_max allows".to_owned());
        }
        let (tell, outcome) = watch::channel(None);
        answers.insert(key, Kept { asked_at: now, outcome: outcome.clone() });
        drop(answers);
        let (edge, upstream, tenant) = (Arc::clone(self), Arc::clone(upstream), view.tenant.clone());
        // A task of its own: whoever asked first may go away, and others wait.
        tokio::spawn(async move {
            let answer = edge.ask(&upstream, &tenant, &query, key.t).await;
            edge.answers.lock().answered(key, answer.as_ref().map_or(0, |values| values.len()));
            tell.send_replace(Some(answer));
        });
        Ok(outcome)
    }

    async fn ask(&self, upstream: &Upstream, tenant: &str, query: &str, t: Timestamp) -> Outcome {
        let _permit = self.asking.acquire().await.map_err(|_| Arc::from("the proxy is shutting down"))?;
        let points = upstream.instant(tenant, query, t, Purpose::Edge).await.map_err(Arc::from)?;
        if points.len() > self.values_max {
            return Err(
                format!("upstream's answer has more series than limits.edge_values_max ({})", self.values_max).into()
            );
        }
        Ok(Arc::new(points.into_iter().map(|point| (point.labels, point.sample.v)).collect()))
    }

    /// How many values are kept.
    pub fn values(&self) -> usize {
        self.answers.lock().values()
    }

    /// Takes out the answers whose view has its own value by now, and those that nobody will ask for again.
    pub fn take_settled(&self, final_to: impl Fn(ViewId) -> Option<Timestamp>, keep_ms: i64) -> Vec<Settled> {
        let mut known: BTreeMap<ViewId, Option<Timestamp>> = BTreeMap::new();
        let is_final = |key: &EdgeKey| {
            let final_to = known.entry(key.view).or_insert_with(|| final_to(key.view));
            final_to.is_some_and(|final_to| key.t <= final_to)
        };
        self.answers.lock().take_settled(is_final, self.clock.now() - keep_ms)
    }
}

async fn awaited(mut answer: watch::Receiver<Option<Outcome>>) -> Outcome {
    loop {
        if let Some(outcome) = &*answer.borrow_and_update() {
            return outcome.clone();
        }
        if answer.changed().await.is_err() {
            return Err("asking upstream was given up".into());
        }
    }
}

/// Whether an answer may be shared: a failure for a while, an early one until its grid point has settled.
fn is_good(kept: &Kept, key: EdgeKey, view: &View, now: Timestamp) -> bool {
    let failed = match &*kept.outcome.borrow() {
        Some(outcome) => outcome.is_err(),
        // Whoever asked is gone without an answer.
        None => kept.outcome.has_changed().is_err(),
    };
    let settled = key.t + settle_ms(view);
    match failed {
        true => now - kept.asked_at < FAILURE_BELIEVED_MS,
        false => kept.asked_at >= settled || now < settled,
    }
}

/// What upstream is asked for a stored field: fields are named after the aggregation that they are.
///
/// # Errors
/// When there is no such field.
pub fn expression(shape: &Shape, field: u8) -> Result<String, String> {
    let name = shape.aggregation.fields.get(usize::from(field)).copied().unwrap_or_default();
    let aggregation = aggregation(name).ok_or_else(|| format!("{name:?} is not an aggregation"))?;
    Ok(Shape { aggregation, ..shape.clone() }.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::aggregation::AGGREGATIONS;
    use crate::plan::normalize;
    use crate::promql::parse;

    #[test]
    fn every_stored_field_can_be_asked_for() {
        let (shape, _) = normalize(&parse("avg by (a) (rate(x_total{b=\"1\"}[2m]))").unwrap()).unwrap();
        assert_eq!(expression(&shape, 0).unwrap(), "sum by (a) (rate(x_total{b=\"1\"}[2m]))");
        assert_eq!(expression(&shape, 1).unwrap(), "count by (a) (rate(x_total{b=\"1\"}[2m]))");
        assert!(expression(&shape, 2).is_err());
        for aggregation in AGGREGATIONS {
            let shape = Shape { aggregation, ..shape.clone() };
            for field in 0..aggregation.fields.len() {
                assert!(parse(&expression(&shape, field as u8).unwrap()).is_ok(), "{} {field}", aggregation.name);
            }
        }
    }
}
