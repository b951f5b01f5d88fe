//! `/metrics`: what the node says of itself, in OpenMetrics text.
//!
//! Everything is counted where it happens; here it is only read, when somebody scrapes.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::assembly::Node;
use crate::ingest::limits::RefusalReason;
use crate::model::{PartitionId, Timestamp};
use crate::proxy::Answered;
use std::sync::atomic::Ordering;

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
    families.extend(ingest(node));
    families.extend(scrapes(node));
    families.extend(log(node));
    families.extend(views(node));
    families.extend(queries(node));
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

fn ingest(node: &Node) -> Vec<Family> {
    let counters = node.gateway.counters();
    let refused = RefusalReason::ALL
        .iter()
        .map(|reason| (vec![("reason", reason.slug().to_owned())], (counters.refused(*reason) as f64).into()));
    vec![
        counter(
            "prefold_ingest_samples",
            "Samples taken and durable; worry when it stands still while senders send.",
            one(counters.samples.load(Ordering::Relaxed) as f64),
        ),
        counter(
            "prefold_ingest_requests",
            "Remote-write requests taken.",
            one(counters.requests.load(Ordering::Relaxed) as f64),
        ),
        counter(
            "prefold_ingest_refused",
            "Series, samples or requests not taken, by reason; worry when it grows: views are uncovered over what was refused.",
            refused.collect(),
        ),
        gauge("prefold_ingest_cached_series", "Label sets the gateway remembers.", one(node.gateway.cached_series() as f64)),
    ]
}

fn scrapes(node: &Node) -> Vec<Family> {
    let counters = &node.scrape_counters;
    let of = |count: &std::sync::atomic::AtomicU64| one(count.load(Ordering::Relaxed) as f64);
    vec![
        counter("prefold_scrapes", "Scrapes made, failed ones too.", of(&counters.scrapes)),
        counter(
            "prefold_scrapes_failed",
            "Scrapes that failed; worry when it grows: up is 0 for a target.",
            of(&counters.failed),
        ),
        counter("prefold_scrape_samples", "Samples in what was scraped.", of(&counters.samples)),
        counter("prefold_scrape_exemplars_refused", "Exemplars in what was scraped; none is kept.", of(&counters.exemplars)),
        counter(
            "prefold_scrape_duplicates",
            "Second samples of a series in one scrape; the first stays.",
            of(&counters.duplicates),
        ),
        counter(
            "prefold_scrape_batches_lost",
            "Scrapes whose samples the log never took; worry at any.",
            of(&counters.batches_lost),
        ),
    ]
}

fn log(node: &Node) -> Vec<Family> {
    let stats = node.log.stats();
    let oldest = (0..node.log.partitions()).map(|partition| node.log.extent(PartitionId(partition)).first_log_time);
    let mut senders = node.store.senders();
    senders.dedup_by(|next, kept| (&next.tenant, &next.sender) == (&kept.tenant, &kept.sender));
    let senders = senders.len();
    vec![
        gauge("prefold_log_bytes", "What the log takes on the disk.", one(stats.bytes as f64)),
        counter("prefold_log_appended_records", "Records made durable, ticks included.", one(stats.appended_records as f64)),
        counter("prefold_log_appended_bytes", "Bytes written to the log.", one(stats.appended_bytes as f64)),
        counter(
            "prefold_log_syncs",
            "Syncs of the log; appends per sync is how well group commit works.",
            one(stats.syncs as f64),
        ),
        counter(
            "prefold_log_append_failures",
            "Appends that failed; worry at any: senders were told to come again.",
            one(stats.append_failures as f64),
        ),
        distribution(
            "prefold_log_append_duration_seconds",
            "How long an append took, its sync included; worry when most take over a second: the disk is too slow.",
            vec![(Vec::new(), Number::Distribution(node.append_duration.clone()))],
        ),
        gauge(
            "prefold_replay_remaining_records",
            "Records of the log not yet folded; worry when it grows for minutes.",
            one(node.stream_status().records_ahead.load(Ordering::Relaxed) as f64),
        ),
        gauge("prefold_log_partitions", "Partitions of the log.", one(f64::from(node.log.partitions()))),
        gauge("prefold_senders", "Senders known.", one(senders as f64)),
        gauge(
            "prefold_log_time_timestamp_seconds",
            "Log time that has been folded; worry when it lags the clock.",
            one(node.stream_status().log_time.load(Ordering::Relaxed) as f64 / 1000.0),
        ),
        gauge(
            "prefold_log_oldest_timestamp_seconds",
            "The log time from which on every partition is whole; worry when windows plus downtime reach behind it.",
            one(seconds_of(oldest.max().unwrap_or(Timestamp::MIN))),
        ),
        gauge(
            "prefold_log_newest_timestamp_seconds",
            "The newest log time appended, of the first partition.",
            one(seconds_of(node.log.extent(PartitionId(0)).newest_log_time)),
        ),
    ]
}

fn seconds_of(t: Timestamp) -> f64 {
    if t == Timestamp::MIN { 0.0 } else { t.seconds() }
}

fn views(node: &Node) -> Vec<Family> {
    let (mut finals, mut input, mut output, mut overdue) = (Values::new(), Values::new(), Values::new(), Values::new());
    let (mut not_counted, mut bytes, mut comparisons, mut info) =
        (Values::new(), Values::new(), Values::new(), Values::new());
    for entry in node.proxy.catalog.load().in_force() {
        let labels = || vec![("job", entry.job.to_string()), ("rule", entry.rule.to_string())];
        let with = |name, value: &str| [labels(), vec![(name, value.to_owned())]].concat();
        info.push((with("view", &entry.view.id.to_string()), 1.0.into()));
        let state = node.store.view(entry.view.id);
        finals.push((labels(), state.and_then(|state| state.final_to).map_or(0.0, Timestamp::seconds).into()));
        if let Some(progress) = node.stream_status().views.get(&entry.view.id) {
            input.push((labels(), (progress.newest.input_series as f64).into()));
            output.push((labels(), (progress.newest.output_series as f64).into()));
            overdue.push((labels(), (progress.newest.overdue as f64).into()));
            not_counted.push((labels(), (progress.not_counted as f64).into()));
            bytes.push((labels(), (progress.newest.state_bytes as f64).into()));
        }
        let record = node.proxy.trust.record(entry.view.id);
        comparisons.push((with("result", "equal"), (record.equal as f64).into()));
        comparisons.push((with("result", "unequal"), (record.unequal as f64).into()));
    }
    vec![
        gauge("prefold_view_info", "Always 1; the view's id is in the label.", info),
        gauge(
            "prefold_view_final_timestamp_seconds",
            "The newest final grid point; worry when it lags the clock by more than max_delay and step.",
            finals,
        ),
        gauge("prefold_view_input_series", "Live series that feed the view; worry near limits.input_series.", input),
        gauge("prefold_view_output_series", "Groups of the view; worry near limits.output_series.", output),
        gauge("prefold_view_overdue_series", "Live series whose next sample has not come; worry when it stays up.", overdue),
        counter("prefold_samples_not_counted", "Samples that came later than max_delay; worry when it grows.", not_counted),
        gauge("prefold_view_state_bytes", "An estimate of what the view's series take in memory.", bytes),
        counter(
            "prefold_view_comparisons",
            "Comparisons with upstream; worry at unequal ones: the view is not served.",
            comparisons,
        ),
    ]
}

fn queries(node: &Node) -> Vec<Family> {
    let counters = &node.proxy.counters;
    let labels = |how: Answered| vec![("answer", how.name().to_owned())];
    let answers = Answered::ALL.iter().map(|how| (labels(*how), (counters.answers(*how) as f64).into()));
    let durations = Answered::ALL.iter().map(|how| (labels(*how), Number::Distribution(counters.durations(*how).clone())));
    let refusals = counters.refusals().into_iter();
    let refusals = refusals.map(|(slug, count)| (vec![("reason", slug.to_owned())], (count as f64).into()));
    vec![
        counter("prefold_query_answers", "Queries answered, by how.", answers.collect()),
        distribution("prefold_query_duration_seconds", "How long an answer took, by how it was made.", durations.collect()),
        counter("prefold_query_refusals", "Why queries were not answered from views.", refusals.collect()),
    ]
}

fn distribution(name: &'static str, help: &'static str, values: Values) -> Family {
    Family { name, help, kind: MetricType::Histogram, values }
}
