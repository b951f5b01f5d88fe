//! `/metrics`: what the node says of itself, in OpenMetrics text.
//!
//! Everything is counted where it happens; here it is only read, when somebody scrapes. Of a part that a role has not there
//! are no metrics.

mod cluster;
mod imports;
mod ingest;
mod log;
mod queries;
mod sinks;
pub mod uncovered;
mod views;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::assembly::Node;

/// What a scrape answers with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The node's metrics as text.
///
/// # Errors
/// When a metric cannot be written, which is a defect of its description.
pub fn render(node: &Arc<Node>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(NodeCollector(Arc::clone(node))));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

struct NodeCollector(Arc<Node>);

impl fmt::Debug for NodeCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeCollector")
    }
}

/// One family: a name without its suffix, one sentence that says when to worry, a type and its values by labels.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    values: Values,
}

type Values = Vec<(Vec<(&'static str, String)>, Number)>;

/// A number, or a distribution of seconds.
enum Number {
    Plain(f64),
    Distribution(Histogram),
}

impl From<f64> for Number {
    fn from(value: f64) -> Number {
        Number::Plain(value)
    }
}

/// A value that is written as its family's type.
struct Value(Number, MetricType);

impl EncodeMetric for Value {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match (&self.0, self.1) {
            (Number::Distribution(histogram), _) => histogram.encode(encoder),
            (Number::Plain(value), MetricType::Counter) => encoder.encode_counter::<NoLabelSet, _, f64>(value, None),
            (Number::Plain(value), _) => encoder.encode_gauge(value),
        }
    }
    fn metric_type(&self) -> MetricType {
        self.1
    }
}

impl Collector for NodeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in families(&self.0) {
            let mut one = encoder.encode_descriptor(family.name, family.help, None, family.kind)?;
            for (labels, value) in family.values {
                let value = Value(value, family.kind);
                if labels.is_empty() {
                    value.encode(one)?;
                    break;
                }
                value.encode(one.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn families(node: &Node) -> Vec<Family> {
    let mut families = vec![gauge(
        "prefold_build_info",
        "Always 1; the version is in the label.",
        vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0.into())],
    )];
    if let Some(part) = &node.ingest {
        families.extend(ingest::families(part));
        families.extend(ingest::scrapes(part));
        families.extend(imports::families(&part.imports));
        families.extend(log::families(part));
    }
    families.extend(ingest::files(node));
    if let Some(streaming) = &node.streaming {
        families.extend(node.role.folds().then(|| log::folded(&streaming.status)).into_iter().flatten());
        families.extend(cluster::families(node.role, streaming));
        families.extend(views::families(streaming, node.queries.as_ref()));
    }
    if let Some(queries) = &node.queries {
        families.extend(views::kept(queries));
        families.extend(queries::families(&queries.proxy));
        families.extend(queries::upstream(&queries.proxy));
        families.extend(sinks::families(queries));
    }
    families
}

fn counter(name: &'static str, help: &'static str, values: Values) -> Family {
    Family { name, help, kind: MetricType::Counter, values }
}

fn gauge(name: &'static str, help: &'static str, values: Values) -> Family {
    Family { name, help, kind: MetricType::Gauge, values }
}

fn one(value: f64) -> Values {
    vec![(Vec::new(), value.into())]
}

fn distribution(name: &'static str, help: &'static str, values: Values) -> Family {
    Family { name, help, kind: MetricType::Histogram, values }
}
