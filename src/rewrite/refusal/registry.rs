//! The registry of reasons: what each name means and what to do about it, said once. The docs are made from it.

/// A reason's name and what it means.
#[derive(Debug, PartialEq, Eq)]
pub struct RefusalEntry {
    /// Lower case words joined by hyphens.
    pub slug: &'static str,
    /// What it means, for the docs table.
    pub doc: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

pub(super) static NO_VIEW_FOR_METRIC: RefusalEntry = RefusalEntry {
    slug: "no-view-for-metric",
    doc: "No rule of this tenant keeps the metric the query asks for.",
    remedy: "Write a rule for it; `prefold check` says what it would cost.",
};
pub(super) static FUNCTION_DIFFERS: RefusalEntry = RefusalEntry {
    slug: "function-differs",
    doc: "The metric is kept, but under another function than the query's. Only rate and increase give each other.",
    remedy: "Add a rule with the query's function.",
};
pub(super) static WINDOW_DIFFERS: RefusalEntry = RefusalEntry {
    slug: "window-differs",
    doc: "The metric is kept over another window than the query's, and one window does not give another.",
    remedy: "Add the window to the rule's windows; \"grafana\" there keeps those that $__rate_interval asks for.",
};
pub(super) static SEMANTICS_DIFFERS: RefusalEntry = RefusalEntry {
    slug: "semantics-differs",
    doc: "The view follows other rules for windows and extrapolation than the query.",
    remedy: "Set the rule's semantics to those of the upstream.",
};
pub(super) static MATCHER_NOT_IMPLIED: RefusalEntry = RefusalEntry {
    slug: "matcher-not-implied",
    doc: "The view selects by a matcher that the query does not guarantee: it may lack series the query selects.",
    remedy: "Take the matcher out of the rule and keep its label, or add it to the query.",
};
pub(super) static RESIDUAL_LABEL_MISSING: RefusalEntry = RefusalEntry {
    slug: "residual-label-missing",
    doc: "The query filters by a label that the view did not keep.",
    remedy: "Add the label to the rule's keep_labels.",
};
pub(super) static GROUPING_TOO_COARSE: RefusalEntry = RefusalEntry {
    slug: "grouping-too-coarse",
    doc: "The query keeps labels that the view did not keep. `without` is answered only by a view that says `without` too.",
    remedy: "Add the labels to the rule's keep_labels, or group by fewer labels in the query.",
};
pub(super) static AGGREGATION_DOES_NOT_ROLL_UP: RefusalEntry = RefusalEntry {
    slug: "aggregation-does-not-roll-up",
    doc: "The view's aggregation does not give the query's: a sum of maxima is not a maximum, and single series cannot be \
          had back from groups. Ranks and quantiles are answered above an inner aggregation that is answered itself.",
    remedy: "Add a rule with the query's aggregation; avg answers sum, count and avg.",
};
pub(super) static STEP_OFF_GRID: RefusalEntry = RefusalEntry {
    slug: "step-off-grid",
    doc: "The query reads at instants at which the view has no value.",
    remedy: "Ask at multiples of the rule's step (in Grafana: set the panel's min step), give subqueries a step, or make the \
             rule's step finer.",
};
pub(super) static RECORD_NOT_REWRITABLE: RefusalEntry = RefusalEntry {
    slug: "record-not-rewritable",
    doc: "A recorded name stands where only stored samples of it would give the same answer.",
    remedy: "Use the record's expression instead of its name.",
};
pub(super) static NOT_COVERED_YET: RefusalEntry = RefusalEntry {
    slug: "not-covered-yet",
    doc: "The view may not be served at these steps: it began later, or a span uncovers them.",
    remedy: "Wait; the page /prefold/api/v1/views lists coverage and spans with their reasons.",
};
pub(super) static NOT_EMITTED_YET: RefusalEntry = RefusalEntry {
    slug: "not-emitted-yet",
    doc: "The steps are not final yet, or the query wants the newest ones.",
    remedy: "Ask again max_delay later, or leave the newest steps to upstream.",
};

pub(super) static NOT_TRUSTED_YET: RefusalEntry = RefusalEntry {
    slug: "not-trusted-yet",
    doc: "The view has not been compared with upstream yet, or the last comparison was unequal.",
    remedy: "Wait for a comparison, look at the status page when it fails, or set upstream.trust to always.",
};
pub(super) static PARAMETER_NOT_KNOWN: RefusalEntry = RefusalEntry {
    slug: "parameter-not-known",
    doc: "The request has a parameter or header that may change the answer in ways Prefold does not know.",
    remedy: "Leave the parameter out of the data source's settings if it is not needed.",
};
pub(super) static CLIENT_AUTHENTICATED: RefusalEntry = RefusalEntry {
    slug: "client-authenticated",
    doc: "The request carries credentials that only upstream can judge.",
    remedy: "Set upstream.clients to trusted, or to checked.",
};
pub(super) static TENANT_FEDERATION: RefusalEntry = RefusalEntry {
    slug: "tenant-federation",
    doc: "The request asks for several tenants at once, and views belong to one.",
    remedy: "Ask for one tenant at a time.",
};
pub(super) static QUERY_NOT_UNDERSTOOD: RefusalEntry = RefusalEntry {
    slug: "query-not-understood",
    doc: "The query is not PromQL as Prefold knows it; upstream may know more.",
    remedy: "Nothing, when upstream answers it; else correct the query.",
};
pub(super) static EVALUATION_UNSUPPORTED: RefusalEntry = RefusalEntry {
    slug: "evaluation-unsupported",
    doc: "The query uses something that Prefold's engine does not evaluate.",
    remedy: "Nothing: upstream answers it.",
};
pub(super) static PARTLY_REWRITTEN: RefusalEntry = RefusalEntry {
    slug: "partly-rewritten",
    doc: "Views answer a part of the query, and the rest cannot be joined with it here.",
    remedy: "Write rules for the rest of the query too.",
};
pub(super) static QUERY_TOO_LARGE: RefusalEntry = RefusalEntry {
    slug: "query-too-large",
    doc: "The query has more steps, or reads more samples or series, than a query may here; upstream has bounds of its own.",
    remedy: "Ask for fewer steps, a shorter range or fewer series, or raise the limits.",
};

/// Every reason: those of S4 in the order of its conditions, then the proxy's.
pub static REFUSALS: &[&RefusalEntry] = &[
    &NO_VIEW_FOR_METRIC,
    &FUNCTION_DIFFERS,
    &WINDOW_DIFFERS,
    &SEMANTICS_DIFFERS,
    &MATCHER_NOT_IMPLIED,
    &RESIDUAL_LABEL_MISSING,
    &GROUPING_TOO_COARSE,
    &AGGREGATION_DOES_NOT_ROLL_UP,
    &STEP_OFF_GRID,
    &RECORD_NOT_REWRITABLE,
    &NOT_COVERED_YET,
    &NOT_EMITTED_YET,
    &NOT_TRUSTED_YET,
    &PARAMETER_NOT_KNOWN,
    &CLIENT_AUTHENTICATED,
    &TENANT_FEDERATION,
    &QUERY_NOT_UNDERSTOOD,
    &EVALUATION_UNSUPPORTED,
    &PARTLY_REWRITTEN,
    &QUERY_TOO_LARGE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_named_once_and_say_what_to_do() {
        let mut slugs: Vec<&str> = REFUSALS.iter().map(|entry| entry.slug).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), REFUSALS.len());
        for entry in REFUSALS {
            assert!(entry.slug.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", entry.slug);
            assert!(entry.doc.ends_with('.') && entry.remedy.ends_with('.'), "{}", entry.slug);
        }
    }
}
