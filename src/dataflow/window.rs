//! Window: points are kept until their windows are final, then every series gives its value at the grid point.
//!
//! In: [`Partitioned`], in log order; out: [`Windowed`], at once: when a record's log time passes T + max_delay, T is
//! evaluated on what came before that record. Keeps: per series the points of open windows and its rhythm; per view its
//! series, ordered by id. Bounded by live series x (window + max_delay) / scrape interval.

use std::sync::Arc;

use smol_str::SmolStr;

use super::members::ViewWindow;
use super::message::{
    Assigned, Evaluated, Feeds, Folded, GroupIndex, Partitioned, Point, SenderIndex, SeriesIndex, Stretch, ViewSet, Windowed,
};
use super::series::{Inserted, Series, Terms};
use crate::compile::{FUTURE_MS, PlannedView, ViewSlot};
use crate::model::{LogTime, Sample, SeriesId, Tenant};

/// The state of one partition.
#[derive(Default)]
pub struct Windows {
    /// By series number, as are `ids` and `targets`; what every sample needs stands by itself.
    series: Vec<Series>,
    ids: Vec<SeriesId>,
    targets: Vec<Vec<(ViewSlot, GroupIndex)>>,
    /// What views ask of series; as many as there were different ones since the start.
    terms: Vec<Terms>,
    /// By slot.
    views: Vec<Option<ViewWindow>>,
    /// By sender number; named when first seen.
    senders: Vec<(Tenant, SmolStr)>,
    log_time: LogTime,
    /// Whether a view collects a stretch.
    stretches_open: bool,
    scratch: Vec<Sample>,
}

impl Windows {
    pub fn record(&mut self, input: Partitioned) -> Windowed {
        let (partition, log_time, uncovers) = (input.partition, input.log_time, input.uncovers);
        let mut out = Windowed { partition, log_time, uncovers, fresh: input.fresh, ..Windowed::default() };
        if let Some(set) = &input.views {
            self.take_views(set);
        }
        self.log_time = self.log_time.max(input.log_time);
        self.evaluate_final(&mut out.evaluated);
        if let Some((tenant, name)) = input.sender_named {
            self.name_sender(input.sender, tenant, name);
        }
        input.assigned.iter().for_each(|assigned| self.assign(assigned));
        for point in &input.points {
            self.point(point, input.sender, &mut out);
        }
        self.evict(&input.evicted);
        self.flush_stretches(&mut out.uncovers);
        out.groups = input.groups;
        out.sender_seen = input.sender_seen;
        out.views = input.views;
        if input.read.samples > 0 || input.read.skipped > 0 {
            let (tenant, sender) = self.senders.get(input.sender.0 as usize).cloned().unwrap_or_default();
            out.folded = Some(Folded { tenant, sender, read: input.read });
        }
        out
    }

    fn take_views(&mut self, set: &Arc<ViewSet>) {
        self.views.resize_with(set.plan.views.len(), || None);
        for (slot, place) in self.views.iter_mut().enumerate() {
            match (set.plan.view(ViewSlot(slot as u32)), place.as_mut()) {
                (Some(planned), Some(view)) => view.planned = Arc::clone(planned),
                (None, _) => *place = None,
                (Some(_), None) => {}
            }
        }
        for start in &set.starts {
            if let Some(planned) = set.plan.view(start.slot) {
                // One grid point earlier: which series were overdue there tells which of them are gone at the first.
                let before = start.first - planned.view().step_ms;
                self.views[start.slot.0 as usize] = Some(ViewWindow::new(Arc::clone(planned), before, start.last));
            }
        }
        for (slot, last) in &set.ends {
            if let Some(view) = self.views[slot.0 as usize].as_mut() {
                view.last = *last;
            }
        }
        let views = &self.views;
        for targets in &mut self.targets {
            targets.retain(|(slot, _)| views[slot.0 as usize].is_some());
        }
    }

    /// Every grid point whose max_delay the log time has passed.
    fn evaluate_final(&mut self, out: &mut Vec<Evaluated>) {
        let log_time = self.log_time;
        for view in self.views.iter_mut().flatten() {
            while view.next <= view.last && log_time > view.next + view.planned.view().max_delay_ms {
                out.push(view.evaluate(&self.series, &self.ids, &mut self.scratch));
            }
        }
    }

    fn name_sender(&mut self, sender: SenderIndex, tenant: Tenant, name: SmolStr) {
        let place = sender.0 as usize;
        if self.senders.len() <= place {
            self.senders.resize(place + 1, Default::default());
        }
        self.senders[place] = (tenant, name);
    }

    fn assign(&mut self, assigned: &Assigned) {
        let place = assigned.series.0 as usize;
        if self.series.len() <= place {
            self.series.resize_with(place + 1, Series::default);
            self.ids.resize(place + 1, SeriesId::default());
            self.targets.resize_with(place + 1, Vec::new);
        }
        if self.ids[place] != assigned.id {
            self.ids[place] = assigned.id;
            self.series[place] = Series::default();
            self.targets[place] = Vec::new();
        }
        let targets = &mut self.targets[place];
        for (slot, group) in &assigned.targets {
            let known = targets.iter().any(|(had, _)| had == slot);
            if let (false, Some(view)) = (known, self.views[slot.0 as usize].as_mut()) {
                targets.push((*slot, *group));
                view.join(assigned.series, *group);
            }
        }
        let views: Vec<&PlannedView> =
            targets.iter().filter_map(|(slot, _)| Some(&*self.views[slot.0 as usize].as_ref()?.planned)).collect();
        let delays = views.iter().map(|planned| planned.view().max_delay_ms);
        let terms = Terms {
            max_delay_ms_least: delays.clone().min().unwrap_or(0),
            max_delay_ms_most: delays.max().unwrap_or(0),
            window_ms_max: views.iter().map(|planned| planned.view().shape.window_ms).max().unwrap_or(0),
        };
        let known = self.terms.iter().position(|known| *known == terms);
        let at = known.unwrap_or_else(|| {
            self.terms.push(terms);
            self.terms.len() - 1
        });
        self.series[place].serve(at as u32, &terms);
    }

    #[inline]
    fn point(&mut self, point: &Point, sender: SenderIndex, out: &mut Windowed) {
        let series = &mut self.series[point.series.0 as usize];
        let terms = &self.terms[series.terms as usize];
        let delay_ms = self.log_time - point.t;
        let sample = Sample { t: point.t, v: point.v };
        if series.is_only_sender(sender) && delay_ms <= terms.max_delay_ms_least && delay_ms >= -FUTURE_MS {
            if !series.append(sample, terms, self.log_time) {
                series.see(sample);
                if series.insert(sample, delay_ms, sender, terms.horizon(self.log_time)) == Inserted::Conflict {
                    self.conflict(point.series);
                }
            }
        } else {
            self.unusual_point(point.series, sample, delay_ms, sender, out);
        }
    }

    /// A sample that is late for some view, too far ahead, the first of its series or from another sender.
    #[cold]
    fn unusual_point(&mut self, index: SeriesIndex, sample: Sample, delay_ms: i64, sender: SenderIndex, out: &mut Windowed) {
        let series = &mut self.series[index.0 as usize];
        let terms = &self.terms[series.terms as usize];
        let ahead = delay_ms < -FUTURE_MS;
        if !ahead {
            series.see(sample);
        }
        let (before, after) = series.neighbours_of_others(sample.t, sender);
        for (slot, _) in &self.targets[index.0 as usize] {
            let Some(view) = self.views[slot.0 as usize].as_mut() else { continue };
            let (max_delay_ms, window_ms) = (view.planned.view().max_delay_ms, view.planned.view().shape.window_ms);
            if view.senders.insert(sender) {
                let (tenant, name) = self.senders.get(sender.0 as usize).cloned().unwrap_or_default();
                out.feeds.push(Feeds { slot: *slot, tenant, sender: name });
            }
            if ahead || delay_ms > max_delay_ms {
                view.not_counted += 1;
                view.late.add(sample.t, sample.t + window_ms, &mut out.uncovers);
                self.stretches_open = true;
                continue;
            }
            // Windows that hold a sample of each: from the newer one until the older one has left.
            let older = before.map(|t| (sample.t, t + window_ms));
            let newer = after.map(|t| (t, sample.t + window_ms));
            for (from, to) in older.into_iter().chain(newer).filter(|(from, to)| from < to) {
                view.two_senders.add(from, to, &mut out.uncovers);
                self.stretches_open = true;
            }
        }
        if !ahead
            && delay_ms <= terms.max_delay_ms_most
            && series.insert(sample, delay_ms, sender, terms.horizon(self.log_time)) == Inserted::Conflict
        {
            self.conflict(index);
        }
    }

    #[cold]
    fn conflict(&mut self, index: SeriesIndex) {
        for (slot, _) in &self.targets[index.0 as usize] {
            if let Some(view) = self.views[slot.0 as usize].as_mut() {
                view.conflicting += 1;
            }
        }
    }

    fn evict(&mut self, evicted: &[SeriesIndex]) {
        if evicted.is_empty() {
            return;
        }
        for index in evicted {
            let place = index.0 as usize;
            self.series[place] = Series::default();
            self.targets[place] = Vec::new();
            self.ids[place] = SeriesId::default();
        }
        let ids = &self.ids;
        for view in self.views.iter_mut().flatten() {
            view.retain(|series| ids[series.0 as usize] != SeriesId::default());
        }
    }

    fn flush_stretches(&mut self, out: &mut Vec<Stretch>) {
        if std::mem::take(&mut self.stretches_open) {
            for view in self.views.iter_mut().flatten() {
                view.late.flush(out);
                view.two_senders.flush(out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
