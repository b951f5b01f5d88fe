//! What ingest did not take: the stretches of views that lack it.

use super::message::Stretch;
use super::selectors::{SelectorLookup, views_of};
use crate::compile::OperatorsPlan;
use crate::model::{LogTime, SpanReason, Tenant, Timestamp};
use crate::wire::record::{Record, RecordRefusal};

/// Adds what a record's refusals uncover: of a series whose labels are known, the views that it belongs to, as long as its
/// samples are in their windows; of a body that could not be read, all views of the tenant around the record.
pub fn uncover(
    record: &Record<'_>,
    tenant: &Tenant,
    log_time: LogTime,
    plan: &OperatorsPlan,
    lookup: &SelectorLookup,
    out: &mut Vec<Stretch>,
) {
    let mut stretches = Vec::new();
    for refusal in record.refusals() {
        match selectors(&refusal, tenant, plan, lookup) {
            Some(selectors) => of_series(&refusal, &selectors, log_time, plan, &mut stretches),
            None => stretches.extend(uncovered_around(plan, Some(tenant), SpanReason::Refused, log_time, log_time)),
        }
    }
    joined(stretches, out);
}

/// What records between two log times may have held: from max_delay before the one to a window after the other.
pub fn uncovered_around(
    plan: &OperatorsPlan,
    tenant: Option<&Tenant>,
    reason: SpanReason,
    from: LogTime,
    to: LogTime,
) -> Vec<Stretch> {
    let views = plan.live().map(|planned| (planned.slot, planned.view()));
    views
        .filter(|(_, view)| tenant.is_none_or(|tenant| *tenant == view.tenant))
        .map(|(slot, view)| Stretch { slot, reason, from: from - view.max_delay_ms, to: to + view.shape.window_ms })
        .collect()
}

/// The selectors that may select the refused series; `None` when nothing is known of it.
fn selectors(
    refusal: &RecordRefusal<'_, '_>,
    tenant: &Tenant,
    plan: &OperatorsPlan,
    lookup: &SelectorLookup,
) -> Option<Vec<u32>> {
    if refusal.is_whole_body() {
        return None;
    }
    let (labels, untold) = (refusal.labels().ok()?, refusal.untold().ok()?);
    Some(lookup.possible(plan, tenant, &labels, &untold))
}

fn of_series(
    refusal: &RecordRefusal<'_, '_>,
    selectors: &[u32],
    log_time: LogTime,
    plan: &OperatorsPlan,
    out: &mut Vec<Stretch>,
) {
    if selectors.is_empty() {
        return;
    }
    let times = refusal.timestamps().fold(None, |times: Option<(Timestamp, Timestamp)>, t| {
        times.map_or(Some((t, t)), |(least, greatest)| Some((least.min(t), greatest.max(t))))
    });
    for slot in views_of(plan, selectors) {
        let Some(planned) = plan.view(slot) else { continue };
        // Its times were not told by older writers: around the record.
        let (least, greatest) = times.unwrap_or((log_time - planned.view().max_delay_ms, log_time));
        let to = greatest + planned.view().shape.window_ms;
        out.push(Stretch { slot, reason: SpanReason::Refused, from: least, to });
    }
}

/// A scrape of ten thousand native histograms makes one stretch of a view, not ten thousand.
fn joined(mut stretches: Vec<Stretch>, out: &mut Vec<Stretch>) {
    stretches.sort_unstable_by_key(|stretch| (stretch.slot, stretch.from));
    for next in stretches {
        match out.last_mut() {
            Some(last) if (last.slot, last.reason) == (next.slot, next.reason) && next.from <= last.to => {
                last.to = last.to.max(next.to);
            }
            _ => out.push(next),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::compile::compile;
    use crate::model::Labels;
    use crate::plan::Catalog;
    use crate::plan::spec::{ReadOptions, read_job};
    use crate::wire::record::{RecordWriter, RefusedSeries, SymbolTable};

    const JOB: &str = r#"{ "name": "one", "description": "", "owner": "x", "rules": [
        { "expr": "sum(count_over_time(a[1m]))", "step": "1m", "max_delay": "10s" },
        { "expr": "sum(count_over_time({b=\"1\",__name__!=\"\"}[2m]))", "step": "1m", "max_delay": "20s" }]}"#;

    /// Labels, names of those not told, times of one refusal at log time 1000 s: the stretches in seconds, by slot.
    #[track_caller]
    fn check(labels: &[(&str, &str)], untold: &[&str], seconds: &[i64], expected: &[(u32, i64, i64)]) {
        let job = read_job("one.json".as_ref(), JOB, &ReadOptions::default()).unwrap();
        let plan = Arc::new(compile(&Catalog::new(&[job]), &OperatorsPlan::default()));
        let (table, mut writer) = (SymbolTable::new(1 << 20), RecordWriter::new());
        let interned = table.intern_labels(&Labels::from_pairs(labels.iter().copied())).unwrap();
        let untold: Vec<_> = untold.iter().map(|name| table.intern(name).unwrap()).collect();
        let timestamps: Vec<i64> = seconds.iter().map(|seconds| seconds * 1000).collect();
        let (labels, reason) = (interned.ids(&table).unwrap(), "native-histogram");
        writer.refusal(&RefusedSeries { labels, untold: &untold, timestamps: &timestamps, reason });
        let payload = writer.finish(&table).unwrap();
        let record = Record::parse(&payload).unwrap();
        let mut found = Vec::new();
        uncover(&record, &Tenant::default(), Timestamp(1_000_000), &plan, &SelectorLookup::new(&plan), &mut found);
        let found: Vec<_> = found.iter().map(|one| (one.slot.0, one.from.0 / 1000, one.to.0 / 1000)).collect();
        assert_eq!(found, expected);
        let mut elsewhere = Vec::new();
        uncover(&record, &"else".into(), Timestamp(1_000_000), &plan, &SelectorLookup::new(&plan), &mut elsewhere);
        assert!(elsewhere.is_empty(), "another tenant's");
    }

    #[test]
    fn views_that_a_series_may_belong_to_are_uncovered_from_its_first_sample_to_a_window_after_its_last() {
        let a = ("__name__", "a");
        check(&[a], &[], &[500, 400, 450], &[(0, 400, 560)]);
        check(&[a, ("b", "1")], &[], &[400], &[(0, 400, 460), (1, 400, 520)]);
        check(&[a], &["b"], &[400], &[(0, 400, 460), (1, 400, 520)]);
        check(&[a], &["c"], &[400], &[(0, 400, 460)]);
        check(&[a], &[""], &[400], &[(0, 400, 460), (1, 400, 520)]);
        check(&[a, ("b", "2")], &[""], &[400], &[(0, 400, 460)]);
        check(&[("b", "1")], &["__name__"], &[400], &[(0, 400, 460), (1, 400, 520)]);
        check(&[("__name__", "x")], &[], &[400], &[]);
    }

    #[test]
    fn what_is_not_known_is_taken_for_all_there_may_be() {
        // Written by older versions: a series without times, and nothing at all.
        check(&[("__name__", "a")], &[], &[], &[(0, 990, 1060)]);
        check(&[], &[], &[], &[(0, 990, 1060), (1, 980, 1120)]);
        check(&[], &[""], &[400], &[(0, 400, 460), (1, 400, 520)]);
    }
}
