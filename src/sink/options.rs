//! What a sink is told: where to send, how, and what of the results.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

/// The headers of the next request, read anew each time: a token in a file changes.
pub type ReadHeaders = Arc<dyn Fn() -> Result<Vec<(String, String)>, String> + Send + Sync>;

/// One sink.
#[derive(Clone)]
pub struct SinkOptions {
    /// What its positions are kept under, and metrics call it.
    pub name: String,
    /// Where it sends to, path included.
    pub url: String,
    pub protocol: Protocol,
    pub headers: ReadHeaders,
    /// How long one request may take.
    pub timeout: Duration,
    pub from: From,
    pub uncovered: Uncovered,
    /// The most samples of one request.
    pub samples_per_request_max: usize,
    /// The most bytes of one request before it is compressed, unless a single sample takes more.
    pub bytes_per_request_max: usize,
}

/// How results are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Protocol {
    #[default]
    #[serde(rename = "remote-write-1")]
    V1,
    #[serde(rename = "remote-write-2")]
    V2,
}

/// Which results a sink gets that has not sent any yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// Those of grid points after the moment it first sees a rule.
    #[default]
    Now,
    /// All that the store has.
    All,
}

/// What is done with results that a span uncovers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Uncovered {
    /// They are left out, and series that had a value before end with a staleness marker.
    #[default]
    Skip,
    /// They are sent like others.
    Send,
}
