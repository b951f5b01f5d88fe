//! The catalog: which views exist, found by metric name or by record name.
//!
//! Immutable: a reload makes a new one and swaps a pointer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use smol_str::SmolStr;

use super::job::{Job, RuleLimits};
use super::view::View;
use crate::model::{Labels, ViewId};

/// A view and the rules that keep it.
#[derive(Clone, Debug)]
pub struct CatalogEntry {
    pub view: View,
    /// The job and rule named first.
    pub job: SmolStr,
    pub rule: SmolStr,
    /// The jobs and rules that share the view with it.
    pub sharing: Vec<(SmolStr, SmolStr)>,
    pub expr: String,
    /// Every record name under which the view is queried, with the labels set there.
    pub records: Vec<(SmolStr, Labels)>,
    /// The least of the sharing rules'.
    pub overdue_tolerance: f64,
    /// The longest of the sharing rules'.
    pub retention_ms: i64,
    pub limits: RuleLimits,
    /// Its job is gone: nothing is added to it, and what it left is read until its retention ends.
    pub retired: bool,
}

/// The views of the jobs in force, and for reading those that jobs left behind.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    entries: BTreeMap<ViewId, Arc<CatalogEntry>>,
    by_metric: HashMap<SmolStr, Vec<ViewId>>,
    /// Views whose selector names no single metric.
    any_metric: Vec<ViewId>,
    by_record: HashMap<SmolStr, (ViewId, Labels)>,
}

impl Catalog {
    /// Rules with one view share it: the stricter tolerance, the longer retention, the wider limits hold.
    pub fn new(jobs: &[Job]) -> Catalog {
        let mut catalog = Catalog::default();
        for job in jobs {
            for rule in &job.rules {
                catalog.add(job, rule);
            }
        }
        catalog.index();
        catalog
    }

    /// A catalog of some entries of another.
    pub fn of(entries: impl IntoIterator<Item = Arc<CatalogEntry>>) -> Catalog {
        let mut catalog = Catalog::default();
        for entry in entries {
            for (record, labels) in &entry.records {
                catalog.by_record.insert(record.clone(), (entry.view.id, labels.clone()));
            }
            catalog.entries.insert(entry.view.id, entry);
        }
        catalog.index();
        catalog
    }

    /// This catalog and views that jobs left behind. What is in force goes first, by view and by recorded name.
    pub fn with_retired(&self, retired: impl IntoIterator<Item = CatalogEntry>) -> Catalog {
        let gone = retired.into_iter().filter(|entry| !self.entries.contains_key(&entry.view.id));
        let gone: Vec<CatalogEntry> = gone
            .map(|mut entry| {
                entry.records.retain(|(record, _)| !self.by_record.contains_key(record));
                CatalogEntry { retired: true, ..entry }
            })
            .collect();
        Catalog::of(self.entries.values().cloned().chain(gone.into_iter().map(Arc::new)))
    }

    fn index(&mut self) {
        for (id, entry) in &self.entries {
            match entry.view.selects_metric() {
                Some(metric) => self.by_metric.entry(metric.into()).or_default().push(*id),
                None => self.any_metric.push(*id),
            }
        }
    }

    fn add(&mut self, job: &Job, rule: &super::job::Rule) {
        let named = (job.name.clone(), rule.name());
        let entry = self.entries.entry(rule.view.id).or_insert_with(|| {
            Arc::new(CatalogEntry {
                view: rule.view.clone(),
                job: named.0.clone(),
                rule: named.1.clone(),
                sharing: Vec::new(),
                expr: rule.expr.clone(),
                records: Vec::new(),
                overdue_tolerance: rule.overdue_tolerance,
                retention_ms: rule.retention_ms,
                limits: rule.limits,
                retired: false,
            })
        });
        let entry = Arc::make_mut(entry);
        if (&entry.job, &entry.rule) != (&named.0, &named.1) {
            entry.sharing.push(named);
        }
        entry.overdue_tolerance = entry.overdue_tolerance.min(rule.overdue_tolerance);
        entry.retention_ms = entry.retention_ms.max(rule.retention_ms);
        entry.limits.input_series = entry.limits.input_series.max(rule.limits.input_series);
        entry.limits.output_series = entry.limits.output_series.max(rule.limits.output_series);
        if let Some(record) = &rule.record {
            entry.records.push((record.clone(), rule.labels.clone()));
            self.by_record.insert(record.clone(), (rule.view.id, rule.labels.clone()));
        }
    }

    pub fn get(&self, id: ViewId) -> Option<&Arc<CatalogEntry>> {
        self.entries.get(&id)
    }

    /// The views of jobs in force, by id.
    pub fn in_force(&self) -> impl Iterator<Item = &Arc<CatalogEntry>> {
        self.entries.values().filter(|entry| !entry.retired)
    }

    /// All views, by id.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<CatalogEntry>> {
        self.entries.values()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The views that might answer a question about a metric; all of them when the question names none.
    pub fn candidates(&self, metric: Option<&str>) -> Vec<&Arc<CatalogEntry>> {
        let Some(metric) = metric else { return self.entries.values().collect() };
        let named = self.by_metric.get(metric).into_iter().flatten();
        named.chain(&self.any_metric).filter_map(|id| self.entries.get(id)).collect()
    }

    /// The view behind a record name, with the labels set on its series.
    pub fn record(&self, name: &str) -> Option<(&Arc<CatalogEntry>, &Labels)> {
        let (id, labels) = self.by_record.get(name)?;
        Some((self.entries.get(id)?, labels))
    }

    /// Every record name.
    pub fn records(&self) -> impl Iterator<Item = &SmolStr> {
        self.by_record.keys()
    }
}
