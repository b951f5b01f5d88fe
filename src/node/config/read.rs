//! From a configuration's text to the configuration, or to every problem with its place.

use std::path::Path;
use std::sync::LazyLock;

use super::value::{ByteSize, SIZE_REMEDY, is_header_name, is_header_value, listen_address_problem, url_problem};
use super::{Config, UpstreamConfig, kafka, sinks};
use crate::ingest::scrape::target::Target;
use crate::model::PartitionBy;
use crate::model::matcher::is_label_name;
use crate::model::time::{format_duration, parse_duration};
use crate::plan::spec::structure::{Grammar, Later};
use crate::plan::spec::tree::{Entry, Node, Place, Value, item, member, parse_yaml, yaml_error};
use crate::plan::spec::{Problem, Report, duration_fault};

/// A configuration larger than this is refused unread.
pub const CONFIG_BYTES_MAX: usize = 4 << 20;

/// A configuration if it could be read, and everything there is to say about it.
#[derive(Debug)]
pub struct CheckedConfig {
    pub config: Option<Config>,
    /// By place.
    pub problems: Vec<Problem>,
}

/// Reads a configuration.
///
/// # Errors
/// Every problem, when any is an error.
pub fn read_config(file: &Path, text: &str) -> Result<Config, Vec<Problem>> {
    let checked = check_config(file, text);
    checked.config.ok_or(checked.problems)
}

/// Reads a configuration and says everything there is to say about it.
pub fn check_config(file: &Path, text: &str) -> CheckedConfig {
    let mut report = Report::new(file);
    let config = read(text, &mut report);
    let config = config.filter(|_| report.errors() == 0);
    let mut problems = report.into_problems();
    problems.sort();
    CheckedConfig { config, problems }
}

/// The JSON Schema of the configuration.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

fn read(text: &str, report: &mut Report) -> Option<Config> {
    if text.len() > CONFIG_BYTES_MAX {
        let message = format!("the file has {} bytes and the limit is {CONFIG_BYTES_MAX}", text.len());
        report.error("", Place::START, message, "list fewer targets, and leave out what is no configuration");
        return None;
    }
    let tree = match parse_yaml(text) {
        Ok(tree) => tree,
        Err(error) => {
            report.error("", error.place, format!("not YAML: {}", error.message), error.remedy);
            return None;
        }
    };
    if matches!(tree.value, Value::Null) {
        return Some(Config::default()); // an empty file, or only comments
    }
    GRAMMAR.check(&tree, report);
    meaning(&tree, report);
    if report.errors() > 0 {
        return None;
    }
    match serde_saphyr::from_str::<Config>(text) {
        Ok(config) => {
            bodies_fit(&tree, &config, report);
            scrape_configs_fit(&tree, &config, report);
            Some(normal(config))
        }
        Err(error) => {
            let error = yaml_error(&error);
            let (field, place) = scrape_config_at(&tree, error.place, &error.message);
            report.error(field, place, error.message, "README, Configuration, lists the keys and values that are read");
            None
        }
    }
}

/// The scrape config in which an error lies, and the place of the key it names: what the schema has no words for, the
/// type of a scrape config refuses, at the place where the whole begins.
fn scrape_config_at(tree: &Node, place: Place, message: &str) -> (String, Place) {
    let items = tree.get("scrape_configs").map_or(&[][..], Node::items);
    let begins_before = |node: &&Node| (node.place.line, node.place.column) <= (place.line, place.column);
    let Some(index) = items.iter().take_while(begins_before).count().checked_sub(1) else { return (String::new(), place) };
    let field = item("scrape_configs", index);
    let mut words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named = words.find_map(|word| items[index].entries().iter().find(|entry| entry.key == word));
    match named {
        Some(entry) => (member(&field, &entry.key), entry.key_place),
        None => (field, place),
    }
}

/// A body is held as it came and unpacked: what all may take must be enough for one.
fn bodies_fit(tree: &Node, config: &Config, report: &mut Report) {
    let (field, all, one) = ("limits.bodies_bytes_max", config.limits.bodies_bytes_max, config.ingest.body_bytes_max);
    if all.0 < 2 * one.0 {
        let place = find(tree, field).map_or(Place::START, |node| node.place);
        let message = format!("must be at least twice ingest.body_bytes_max ({one}), not {all}");
        report.error(field, place, message, format!("make it {} or more, or bodies smaller", ByteSize(2 * one.0)));
    }
}

/// Each is good; together they may name a job twice, or have too many targets.
fn scrape_configs_fit(tree: &Node, config: &Config, report: &mut Report) {
    let Some(Err(error)) = config.scrape_configs.as_deref().map(Target::of_configs) else { return };
    let (message, remedy) = error.rsplit_once(": ").unwrap_or((&error, "list fewer"));
    let place = tree.get("scrape_configs").map_or(Place::START, |node| node.place);
    report.error("scrape_configs", place, message, remedy);
}

/// No slash at the end of the upstream's address: paths are appended to it.
fn normal(mut config: Config) -> Config {
    if let Some(UpstreamConfig { url, .. }) = &mut config.upstream {
        url.truncate(url.trim_end_matches('/').len());
    }
    config
}

/// Checks that the schema has no words for.
fn meaning(tree: &Node, report: &mut Report) {
    for (field, least, most) in DURATIONS {
        duration_within(find(tree, field), field, (*least, *most), report);
    }
    for (field, least, most) in SIZES {
        size_within(find(tree, field), field, (*least, *most), report);
    }
    for field in ["ingest.sender_labels", "ingest.drop_labels", PARTITION_BY] {
        label_names(find(tree, field), field, report);
    }
    partition_by(tree, report);
    if let Some(log) = tree.get("log") {
        kafka::meaning(log, report);
    }
    for entry in find(tree, "upstream.headers").map_or(&[][..], Node::entries) {
        header_name("upstream.headers", entry, report);
    }
    sinks::meaning(tree.get("sinks").map_or(&[][..], Node::items), report);
}

/// The labels by which the log is partitioned.
const PARTITION_BY: &str = "log.partition_by";

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 24 * 60 * MINUTE;

/// Bounds of the durations, in milliseconds.
const DURATIONS: &[(&str, i64, i64)] = &[
    ("upstream.timeout", 100, 60 * MINUTE),
    ("log.embedded.retention", 10 * MINUTE, 365 * DAY),
    ("log.kafka.retention", 10 * MINUTE, 365 * DAY),
    ("log.kafka.linger", 0, SECOND),
    ("log.kafka.delivery_timeout", SECOND, 10 * MINUTE),
    ("log.kafka.session_timeout", SECOND, 30 * MINUTE),
    ("log.kafka.results_retention", 10 * MINUTE, 3650 * DAY),
    ("limits.query_timeout", 100, 60 * MINUTE),
    ("limits.header_read_timeout", 100, 10 * MINUTE),
];

/// Bounds of the sizes. The log takes 64 MiB at once.
const SIZES: &[(&str, ByteSize, ByteSize)] = &[
    ("log.embedded.retention_bytes", ByteSize(64 << 20), ByteSize(u64::MAX)),
    ("ingest.body_bytes_max", ByteSize(64 << 10), ByteSize(64 << 20)),
    ("limits.bodies_bytes_max", ByteSize(1 << 20), ByteSize(1 << 40)),
    ("log.kafka.batch_bytes", ByteSize(16 << 10), ByteSize(u64::MAX)),
    ("log.kafka.queue_bytes_max", ByteSize(1 << 20), ByteSize(u64::MAX)),
];

pub(super) fn duration_within(node: Option<&Node>, field: &str, (least, most): (i64, i64), report: &mut Report) {
    if let Some(Node { value: Value::Text(text), place }) = node
        && let Ok(ms) = parse_duration(text)
        && !(least..=most).contains(&ms)
    {
        let (shortest, longest) = (format_duration(least), format_duration(most));
        let remedy = match ms < least {
            true => format!("make it {shortest} or longer"),
            false => format!("make it {longest} or shorter"),
        };
        report.error(field, *place, format!("must be between {shortest} and {longest}, not {text}"), remedy);
    }
}

pub(super) fn size_within(node: Option<&Node>, field: &str, (least, most): (ByteSize, ByteSize), report: &mut Report) {
    if let Some(node) = node
        && let Some(bytes) = size(node)
        && !(least..=most).contains(&bytes)
    {
        let (bound, what, change) = if bytes < least { (least, "least", "more") } else { (most, "most", "less") };
        let message = format!("must be at {what} {bound}, not {bytes}");
        report.error(field, node.place, message, format!("make it {bound} or {change}"));
    }
}

fn find<'a>(tree: &'a Node, field: &str) -> Option<&'a Node> {
    field.split('.').try_fold(tree, |node, key| node.get(key))
}

fn size(node: &Node) -> Option<ByteSize> {
    match &node.value {
        Value::Number(number) => number.as_u64().map(ByteSize),
        Value::Text(text) => ByteSize::parse(text).ok(),
        _ => None,
    }
}

fn label_names(list: Option<&Node>, field: &str, report: &mut Report) {
    for (index, node) in list.map_or(&[][..], Node::items).iter().enumerate() {
        if let Value::Text(text) = &node.value
            && !is_label_name(text)
        {
            let message = format!("{text:?} is not a label name");
            report.error(item(field, index), node.place, message, "use letters, digits and _, and no digit first");
        }
    }
}

/// Labels by which a log can be partitioned: few, short, and not dropped before anybody looks at them.
fn partition_by(tree: &Node, report: &mut Report) {
    let Some(list) = find(tree, PARTITION_BY) else { return };
    let (labels, labels_max, bytes_max) = (list.items(), PartitionBy::LABELS_MAX, PartitionBy::NAME_BYTES_MAX);
    if labels.len() > labels_max {
        let message = format!("names {} labels, the limit is {labels_max}", labels.len());
        report.error(PARTITION_BY, list.place, message, "name those that make a group whole, and no others");
    }
    let text = |node: &Node| if let Value::Text(text) = &node.value { text.clone() } else { String::new() };
    let dropped: Vec<String> = find(tree, "ingest.drop_labels").map_or(&[][..], Node::items).iter().map(text).collect();
    for (index, node) in labels.iter().enumerate() {
        let (name, field) = (text(node), item(PARTITION_BY, index));
        if name.len() > bytes_max {
            let message = format!("has {} bytes, the limit is {bytes_max}", name.len());
            report.error(field, node.place, message, "name a label with a shorter name");
        } else if dropped.contains(&name) {
            let message = format!("{name:?} is dropped by ingest.drop_labels: no series has it");
            report.error(field, node.place, message, "leave it out of one of them");
        }
    }
}
const HEADER_NAME_REMEDY: &str = "use letters, digits and hyphens, such as X-Prefold-Sender";

pub(super) fn header_name(field: &str, entry: &Entry, report: &mut Report) {
    if !is_header_name(&entry.key) {
        let message = format!("{:?} is not the name of a header", entry.key);
        report.error(field, entry.key_place, message, HEADER_NAME_REMEDY);
    }
}

static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| Grammar { schema: schema(), later: LATER, format });

/// Keys and values of later versions.
const LATER: &[Later] = &[
    Later { key: "enable_admin_api", value: None, remedy: "leave it out: there is no call that changes data" },
    Later {
        key: "clients",
        value: Some("checked"),
        remedy: "use forward, or trusted when whoever reaches us may read everything",
    },
];

fn format(format: &str, text: &str) -> Result<(), (String, String)> {
    let fault = match format {
        "prometheus-duration" => return duration_fault(text),
        "byte-size" => ByteSize::parse(text).err().map(|_| (format!("not a valid size: {text:?}"), SIZE_REMEDY)),
        "listen-address" => listen_address_problem(text),
        "http-url" => url_problem(text),
        "header-name" if !is_header_name(text) => {
            Some((format!("{text:?} is not the name of a header"), HEADER_NAME_REMEDY))
        }
        "header-value" if !is_header_value(text) => {
            let message = "a header's value has only printable ASCII characters".to_owned();
            Some((message, "leave out line breaks and letters beyond ASCII"))
        }
        _ => None,
    };
    fault.map_or(Ok(()), |(message, remedy)| Err((message, remedy.to_owned())))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_structure_check_knows_every_word_of_the_schema() {
        assert_eq!(super::GRAMMAR.unknown_words(), Vec::<String>::new());
    }
}
