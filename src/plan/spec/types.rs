//! A job file's shape: the serde types, from which the published JSON Schema is made.
//!
//! Their doc comments are what an editor shows beside each key.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

/// A Prefold job: PromQL expressions that are kept pre-aggregated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Prefold job")]
pub struct JobSpec {
    /// The schema of this file, for editors: "./job.schema.json".
    #[serde(rename = "$schema", default)]
    #[schemars(example = "./job.schema.json")]
    pub schema: Option<String>,
    /// The job's name, unique over all job files: lower case letters, digits and hyphens.
    #[schemars(extend("format" = "job-name", "pattern" = "^[a-z0-9-]{1,100}$"), example = "account-grpc-latency")]
    pub name: String,
    /// What the job is for, in one sentence.
    #[serde(default)]
    pub description: Option<String>,
    /// Who answers questions about it.
    #[serde(default)]
    #[schemars(example = "team-account")]
    pub owner: Option<String>,
    /// Keys that every rule has unless it says otherwise; a rule's own key replaces the default as a whole.
    #[serde(default)]
    pub defaults: Option<Defaults>,
    /// The expressions to keep.
    #[schemars(length(min = 1))]
    pub rules: Vec<RuleSpec>,
}

/// One expression to keep, on which grid, and for how long.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// The PromQL to keep: an aggregation over a selector or over one range function of one. A string, or a list of lines.
    #[schemars(example = "sum by (instance, mode) (rate(node_cpu_seconds_total[1m]))")]
    pub expr: ExprText,
    /// The distance between two results, from 1s to 1d. Required here or in defaults.
    #[serde(default)]
    #[schemars(extend("format" = "prometheus-duration"), example = "30s")]
    pub step: Option<String>,
    /// Further labels to keep beside those of `by`, so that dashboards can filter on them. Not with `without`.
    #[serde(default)]
    #[schemars(with = "Option<Vec<LabelName>>")]
    pub keep_labels: Option<Vec<String>>,
    /// How late a sample may come and still count, from 1s to 1h; results are this far behind now. Default 30s.
    #[serde(default)]
    #[schemars(extend("format" = "prometheus-duration"), example = "30s")]
    pub max_delay: Option<String>,
    /// The share of a view's live series that may be overdue before the view is uncovered, from 0 to 1. Default 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1), example = 0.02)]
    pub overdue_tolerance: Option<f64>,
    /// Whose rules the values follow. Default prometheus.
    #[serde(default)]
    pub semantics: Option<SemanticsSpec>,
    /// A metric name under which the results are also queried; unique over all jobs.
    #[serde(default)]
    #[schemars(
        extend("format" = "metric-name", "pattern" = "^[a-zA-Z_:][a-zA-Z0-9_:]*$"),
        example = "account:grpc_latency_bucket:rate2m"
    )]
    pub record: Option<String>,
    /// Labels set on the series queried under `record`.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// How long results are kept. Default 30d.
    #[serde(default)]
    #[schemars(extend("format" = "prometheus-duration"), example = "30d")]
    pub retention: Option<String>,
    /// Beyond these the view is suspended.
    #[serde(default)]
    pub limits: Option<LimitsSpec>,
}

/// PromQL as one string, or as lines that are joined by line breaks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ExprText {
    One(String),
    Lines(#[schemars(length(min = 1))] Vec<String>),
}

impl ExprText {
    /// The expression as one text.
    pub fn joined(&self) -> String {
        match self {
            ExprText::One(text) => text.clone(),
            ExprText::Lines(lines) => lines.join("\n"),
        }
    }
}

/// Whose rules a view's values follow.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SemanticsSpec {
    /// Prometheus 3: left-open windows, extrapolation.
    Prometheus,
}

/// How much a view may take in and give out before it is suspended.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsSpec {
    /// Live series that feed the view. Default 1,000,000.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub input_series: Option<u64>,
    /// Series of the view's results. Default 50,000.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub output_series: Option<u64>,
}

/// A rule's keys without `expr` and `record`, as written: they are merged into each rule before it is read.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Defaults(pub serde_json::Map<String, serde_json::Value>);

impl JsonSchema for Defaults {
    fn schema_name() -> Cow<'static, str> {
        "Defaults".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = RuleSpec::json_schema(generator);
        schema.insert("description".to_owned(), "Keys that every rule has unless it says otherwise.".into());
        schema.remove("required");
        if let Some(properties) = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut) {
            properties.remove("expr");
            properties.remove("record");
        }
        schema
    }
}

/// A name of a label in a list.
struct LabelName;

impl JsonSchema for LabelName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LabelName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "format": "label-name", "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$" })
    }
}

/// The JSON Schema of a job file, as `prefold check --schema` prints it. An absent key is left out, never null.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(JobSpec).to_value();
    drop_null(&mut schema);
    schema
}

/// Options come as "this or null, by default null".
fn drop_null(schema: &mut serde_json::Value) {
    if let Some(keys) = schema.as_object_mut() {
        keys.retain(|key, value| !(key == "default" && value.is_null()));
        if let Some(types) = keys.get_mut("type")
            && let Some([kept]) =
                types.as_array().map(|types| types.iter().filter(|t| *t != "null").collect::<Vec<_>>()).as_deref()
        {
            *types = (*kept).clone();
        }
        let choices = keys.get("anyOf").and_then(serde_json::Value::as_array);
        if let Some([choice, null]) = choices.map(Vec::as_slice)
            && null["type"] == "null"
        {
            let choice = choice.clone();
            keys.remove("anyOf");
            keys.extend(choice.as_object().cloned().unwrap_or_default());
        }
        keys.values_mut().for_each(drop_null);
    } else if let Some(items) = schema.as_array_mut() {
        items.iter_mut().for_each(drop_null);
    }
}
