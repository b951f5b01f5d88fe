//! Where results are also sent: receivers of remote write, and what each of them gets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::read::{duration_within, header_name, size_within};
use super::value::{ByteSize, Millis, Secret};
use crate::plan::spec::Report;
use crate::plan::spec::tree::{Node, Value, item, member};
use crate::sink::{From, Protocol, Uncovered};

/// The longest name of a sink: positions are kept under it.
const NAME_BYTES_MAX: usize = 64;

/// A receiver of results.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// What it is called in metrics, and what its positions are kept under: another name begins anew.
    pub name: String,
    /// Where its remote write is, with the whole path.
    #[schemars(extend("format" = "http-url"), example = "http://127.0.0.1:8428/api/v1/write")]
    pub url: String,
    /// How results are sent. Default remote-write-1, which every receiver takes.
    #[serde(default)]
    pub protocol: Protocol,
    /// Headers sent with every request: a value, or the file or environment variable that holds it.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderText>,
    /// How long one request may take. Default 30s.
    #[serde(default = "SinkConfig::default_timeout")]
    pub timeout: Millis,
    /// Which results it gets when it is new: those from now on, or all. Default now.
    #[serde(default)]
    pub from: From,
    /// What is done with results that a span uncovers. Default skip.
    #[serde(default)]
    pub uncovered: Uncovered,
    /// The most samples of one request. Default 2000.
    #[serde(default = "SinkConfig::default_samples")]
    #[schemars(range(min = 1, max = 10000))]
    pub samples_per_request_max: usize,
    /// The most bytes of one request, before compression. Default 4MiB.
    #[serde(default = "SinkConfig::default_bytes")]
    pub bytes_per_request_max: ByteSize,
}

impl SinkConfig {
    fn default_timeout() -> Millis {
        Millis(30_000)
    }

    fn default_samples() -> usize {
        2000
    }

    fn default_bytes() -> ByteSize {
        ByteSize(4 << 20)
    }
}

/// The value of a header.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HeaderText {
    Value(Secret),
    Source(HeaderSource),
}

/// Where the value of a header is; a file is read for every request.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderSource {
    /// The file that holds it. Blanks around it are not part of it.
    pub file: Option<PathBuf>,
    /// The environment variable that holds it.
    pub env: Option<String>,
}

/// Checks of `sinks` that the schema has no words for.
pub(super) fn meaning(sinks: &[Node], report: &mut Report) {
    let mut names = BTreeSet::new();
    for (index, sink) in sinks.iter().enumerate() {
        let field = item("sinks", index);
        if let Some(Node { value: Value::Text(text), place }) = sink.get("name") {
            let field = member(&field, "name");
            if !is_sink_name(text) {
                let remedy = format!("use letters, digits, '-' and '_', at most {NAME_BYTES_MAX} of them");
                report.error(field, *place, format!("{text:?} cannot name a sink"), remedy);
            } else if !names.insert(text.clone()) {
                report.error(field, *place, format!("there is a sink {text:?} already"), "give it another name");
            }
        }
        duration_within(sink.get("timeout"), &member(&field, "timeout"), (100, 600_000), report);
        let bytes = member(&field, "bytes_per_request_max");
        size_within(sink.get("bytes_per_request_max"), &bytes, (ByteSize(64 << 10), ByteSize(32 << 20)), report);
        let headers = member(&field, "headers");
        for entry in sink.get("headers").map_or(&[][..], Node::entries) {
            header_name(&headers, entry, report);
            let is_source = matches!(entry.node.value, Value::Map(_));
            if is_source && entry.node.get("file").is_some() == entry.node.get("env").is_some() {
                let message = "a header's value is in a file or in an environment variable";
                report.error(member(&headers, &entry.key), entry.node.place, message, "set file or env, one of them");
            }
        }
    }
}

fn is_sink_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(legal)
}
