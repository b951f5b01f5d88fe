//! Bounds on what comes from outside. Reaching one is counted, and named in the answer with its value.

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::Millis;

/// Bounds, each with its unit in its name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Labels of one series, the metric's name among them. Default 128.
    #[schemars(range(min = 1))]
    pub labels_per_series_max: usize,
    /// Bytes of a label's name. Default 1024.
    #[schemars(range(min = 1))]
    pub label_name_bytes_max: usize,
    /// Bytes of a label's value. Default 16384.
    #[schemars(range(min = 1))]
    pub label_value_bytes_max: usize,
    /// Senders that may write beside those of the commit; one that has been idle for an hour makes room. Default 10000.
    #[schemars(range(min = 1, max = 100000))]
    pub senders_max: usize,
    /// Samples that one query holds at once. Default 50000000.
    #[schemars(range(min = 1))]
    pub query_samples_max: usize,
    /// Series that one selector of a query returns. Default 10000000.
    #[schemars(range(min = 1))]
    pub query_series_max: usize,
    /// Steps of a range query. Default 11000.
    #[schemars(range(min = 1))]
    pub query_steps_max: usize,
    /// Queries evaluated at once; others wait. Default 20.
    #[schemars(range(min = 1, max = 10000))]
    pub query_concurrency_max: usize,
    /// How long a query may take, waiting included. Default 2m.
    pub query_timeout: Millis,
    /// Values of upstream's answers kept for steps that are not final yet. Default 2000000.
    #[schemars(range(min = 1))]
    pub edge_values_max: usize,
    /// Open HTTP connections; more wait to be accepted. Default 512.
    #[schemars(range(min = 1, max = 1000000))]
    pub http_connections_max: usize,
    /// How long a client may take to send a request's headers. Default 10s.
    pub header_read_timeout: Millis,
}

impl Default for LimitsConfig {
    fn default() -> LimitsConfig {
        LimitsConfig {
            labels_per_series_max: 128,
            label_name_bytes_max: 1024,
            label_value_bytes_max: 16 * 1024,
            senders_max: 10_000,
            query_samples_max: 50_000_000,
            query_series_max: 10_000_000,
            query_steps_max: 11_000,
            query_concurrency_max: 20,
            query_timeout: Millis(120_000),
            edge_values_max: 2_000_000,
            http_connections_max: 512,
            header_read_timeout: Millis(10_000),
        }
    }
}
