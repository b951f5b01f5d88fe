//! Views whose jobs are gone: what they left stays readable until its retention ends.
//!
//! The store keeps a description of every view. One that is not in force any more is read from it again and joins the
//! catalog that queries look into, though not the one that is streamed. Its id is the hash of what the description says, so
//! a description that this version would understand otherwise does not fit, and is left alone.

use serde::Deserialize;
use smol_str::SmolStr;

use crate::model::{Labels, Tenant, ViewId};
use crate::plan::{Catalog, CatalogEntry, RuleLimits, View, normalize};
use crate::promql::parse;
use crate::store::{Store, ViewState};

/// What the node wrote of a view into the store.
#[derive(Deserialize)]
struct Description {
    job: SmolStr,
    rule: SmolStr,
    expr: String,
    /// The normal form as PromQL.
    view: String,
    tenant: Tenant,
    max_delay_ms: i64,
    records: Vec<(SmolStr, Labels)>,
}

/// The catalog for queries: the views in force and those that jobs left in the store.
pub fn with_retired(catalog: &Catalog, store: &Store) -> Catalog {
    let gone = store.views().into_iter().filter(|(id, _)| catalog.get(*id).is_none());
    catalog.with_retired(gone.filter_map(|(id, state)| entry(id, &state)))
}

fn entry(id: ViewId, state: &ViewState) -> Option<CatalogEntry> {
    let said: Description = serde_json::from_str(&state.description).ok()?;
    let (shape, _) = normalize(&parse(&said.view).ok()?).ok()?;
    let view = View::new(said.tenant, shape, state.step_ms, said.max_delay_ms);
    (view.id == id).then_some(CatalogEntry {
        view,
        job: said.job,
        rule: said.rule,
        sharing: Vec::new(),
        expr: said.expr,
        records: said.records,
        overdue_tolerance: 0.0,
        retention_ms: state.retention_ms,
        limits: RuleLimits::default(),
        retired: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Commit, Timestamp};
    use crate::node::stream::describe;
    use crate::plan::spec::{ReadOptions, read_job};
    use crate::store::{Durability, StoreOptions};

    fn catalog(rules: &str) -> Catalog {
        let text = format!(r#"{{ "name": "one", "rules": [{rules}] }}"#);
        Catalog::new(&[read_job("one.json".as_ref(), &text, &ReadOptions::default()).unwrap()])
    }

    const FIRST: &str = r#"{ "expr": "sum by (a) (rate(x_total{b=~'c|d'}[2m]))", "step": "1m", "record": "x:rate",
        "labels": { "team": "t" } }"#;
    const SECOND: &str = r#"{ "expr": "avg without (a) (y)", "step": "30s", "max_delay": "10s" }"#;

    #[test]
    fn a_view_whose_job_is_gone_is_found_again_from_what_the_store_says_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let all = catalog(&format!("{FIRST}, {SECOND}"));
        describe(&store, &all).unwrap();
        let final_to = all.entries().map(|entry| (entry.view.id, Timestamp(60_000))).collect();
        store.apply(&Commit { log_incarnation: 1, final_to, ..Commit::default() }, Durability::Now).unwrap();

        let left = with_retired(&catalog(SECOND), &store);
        assert_eq!((left.len(), left.in_force().count()), (2, 1));
        let (entry, labels) = left.record("x:rate").unwrap();
        assert!(entry.retired && *labels == Labels::from_pairs([("team", "t")]));
        let before = all.get(entry.view.id).unwrap();
        assert_eq!((entry.view.shape.to_string(), &entry.expr), (before.view.shape.to_string(), &before.expr));
        assert_eq!((entry.view.step_ms, entry.view.max_delay_ms), (60_000, before.view.max_delay_ms));

        // A rule in force has taken the name over.
        let taken = FIRST.replace("rate(", "increase(");
        let left = with_retired(&catalog(&taken), &store);
        assert_eq!((left.len(), left.in_force().count()), (3, 1));
        assert!(!left.record("x:rate").unwrap().0.retired);
        assert_eq!(with_retired(&all, &store).in_force().count(), 2, "in force again");
    }

    #[test]
    fn descriptions_that_do_not_fit_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let all = catalog(FIRST);
        describe(&store, &all).unwrap();
        let (id, state) = store.views().remove(0);
        assert!(entry(id, &state).is_some());
        let with = |from: &str, to: &str| {
            let description = state.description.replace(from, to);
            assert_ne!(description, state.description);
            entry(id, &ViewState { description, ..state.clone() })
        };
        assert!(with("[2m]", "[3m]").is_none() && with("sum by", "sum(").is_none() && with("max_delay_ms", "x").is_none());
    }
}
