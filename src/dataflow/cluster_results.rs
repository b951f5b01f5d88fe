//! From what combine emits to a record of "results", and from such a record to what a store commits.

use std::collections::BTreeMap;

use super::message::{Emitted, EpochOutput};
use crate::model::commit::FIELDS_MAX;
use crate::model::{Commit, ResultPoint, SpanReason, Timestamp, Uncover, ViewId};
use crate::wire::cluster::{GridResults, GroupRow, ResultsRecord, TOLD_NUMBERS, VALUES_MAX, ViewResults};

/// The first and the last of the grid points of a view that were decided.
pub type Decided = (ViewId, Timestamp, Timestamp);

/// What combine emitted, as a record. `open` tells a view's open spans.
pub fn results_of(
    output: EpochOutput,
    decided: Vec<Decided>,
    open: impl Fn(ViewId) -> Vec<(SpanReason, Timestamp, Timestamp)>,
) -> ResultsRecord {
    let mut views: BTreeMap<ViewId, ViewResults> = BTreeMap::new();
    for (view, from, to) in decided {
        let of = of(&mut views, view);
        let from = of.decided.map_or(from, |(first, _)| first);
        of.decided = Some((from, to));
    }
    for Uncover { view, reason, from, to } in output.spans {
        of(&mut views, view).spans.push((reason, from, to));
    }
    for emitted in output.emitted {
        let point = GridResults { t: emitted.t, told: told(&emitted), groups: Vec::new() };
        of(&mut views, emitted.view).points.push(point);
    }
    for ResultPoint { view, group, t, fields } in output.results {
        let of = of(&mut views, view);
        let mut values = [0.0; VALUES_MAX];
        values[..FIELDS_MAX].copy_from_slice(&fields);
        if let Some(point) = of.points.iter_mut().rev().find(|point| point.t == t) {
            point.groups.push(GroupRow { labels: group, values });
        }
    }
    for view in views.values_mut() {
        let open = if view.decided.is_some() { open(view.view) } else { Vec::new() };
        // Of each beginning only what was said last: records may be split between spans.
        let spans = open.into_iter().chain(view.spans.drain(..));
        let ends: BTreeMap<(SpanReason, Timestamp), Timestamp> =
            spans.map(|(reason, from, to)| ((reason, from), to)).collect();
        view.spans = ends.into_iter().map(|((reason, from), to)| (reason, from, to)).collect();
    }
    ResultsRecord { senders: output.senders, views: views.into_values().collect(), ..ResultsRecord::default() }
}

fn of(views: &mut BTreeMap<ViewId, ViewResults>, view: ViewId) -> &mut ViewResults {
    views.entry(view).or_insert_with(|| ViewResults { view, ..ViewResults::default() })
}

fn told(emitted: &Emitted) -> [u64; TOLD_NUMBERS] {
    [
        emitted.input_series,
        emitted.valued_series,
        emitted.output_series,
        emitted.overdue,
        emitted.not_counted,
        emitted.conflicting,
        emitted.state_bytes,
        emitted.window_samples,
    ]
}

/// What is told of a grid point.
pub fn emitted_of(view: ViewId, point: &GridResults) -> Emitted {
    let [input_series, valued_series, output_series, overdue, not_counted, conflicting, state_bytes, window_samples] =
        point.told;
    Emitted {
        view,
        t: point.t,
        input_series,
        valued_series,
        output_series,
        overdue,
        not_counted,
        conflicting,
        state_bytes,
        window_samples,
    }
}

/// Adds what is said of a view to a commit. `final_before` is the newest grid point that the store has of it; what lies
/// between and was decided by nobody is a gap.
pub fn commit_of(said: &ViewResults, step_ms: i64, final_before: Option<Timestamp>, commit: &mut Commit) {
    let id = said.view;
    let uncover = |(reason, from, to): &(SpanReason, Timestamp, Timestamp)| Uncover {
        view: id,
        reason: *reason,
        from: *from,
        to: *to,
    };
    commit.spans.extend(said.spans.iter().map(uncover));
    let Some((from, to)) = said.decided else { return };
    match final_before {
        None => commit.covered_from.push((id, from)),
        Some(before) if before + step_ms < from => {
            commit.spans.push(Uncover { view: id, reason: SpanReason::Gap, from: before + step_ms, to: from });
        }
        Some(_) => {}
    }
    commit.final_to.push((id, to));
    for point in &said.points {
        let results = point.groups.iter().map(|group| {
            let mut fields = [0.0; FIELDS_MAX];
            fields.copy_from_slice(&group.values[..FIELDS_MAX]);
            ResultPoint { view: id, group: group.labels.clone(), t: point.t, fields }
        });
        commit.results.extend(results);
    }
}
