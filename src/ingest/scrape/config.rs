//! `scrape_configs`: Prometheus' own keys, as far as they are supported.
//!
//! A key of Prometheus that is not supported is refused by its name, with what to do instead: ignoring `relabel_configs`
//! would give other series than Prometheus has. Any other key is unknown, and an error too.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::config_values::{Bytes, Millis, TextProtocol};
use super::target::Target;
use crate::ingest::exposition::Format;
use crate::model::time::format_duration;

/// `scrape_interval` when it is not given.
pub const INTERVAL_DEFAULT_MS: i64 = 60_000;

/// `scrape_timeout` when it is not given; never more than the interval.
pub const TIMEOUT_DEFAULT_MS: i64 = 10_000;

/// `body_size_limit` when it is 0 or not given. Prometheus has no bound then.
pub const BODY_BYTES_DEFAULT: u64 = 50 << 20;

/// Keys of Prometheus that are not supported, besides those that end in `_sd_configs`.
const UNSUPPORTED: [&str; 29] = [
    "always_scrape_classic_histograms",
    "authorization",
    "basic_auth",
    "bearer_token",
    "bearer_token_file",
    "convert_classic_histograms_to_nhcb",
    "enable_compression",
    "enable_http2",
    "extra_scrape_metrics",
    "follow_redirects",
    "http_headers",
    "keep_dropped_targets",
    "metric_name_escaping_scheme",
    "metric_name_validation_scheme",
    "metric_relabel_configs",
    "native_histogram_bucket_limit",
    "native_histogram_min_bucket_factor",
    "no_proxy",
    "oauth2",
    "proxy_connect_header",
    "proxy_from_environment",
    "proxy_url",
    "relabel_configs",
    "scrape_classic_histograms",
    "scrape_failure_log_file",
    "scrape_native_histograms",
    "scrape_protocols",
    "target_limit",
    "tls_config",
];

/// http or https.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// Targets that are listed, and the labels they all get.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticConfig {
    /// `host` or `host:port`; this text becomes the label `instance`.
    pub targets: Vec<String>,
    #[serde(default)]
    pub labels: BTreeMap<SmolStr, SmolStr>,
}

/// How one job is scraped. Read through `Deserialize`, which checks it as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeConfig {
    /// The label `job`, and with `scrape:` before it the sender.
    pub job_name: SmolStr,
    /// `scrape_interval`.
    pub interval_ms: i64,
    /// `scrape_timeout`; at most the interval.
    pub timeout_ms: i64,
    pub metrics_path: String,
    pub scheme: Scheme,
    /// URL parameters.
    pub params: BTreeMap<String, Vec<String>>,
    pub static_configs: Vec<StaticConfig>,
    /// Whether a scraped label wins over the target's of the same name; else it becomes `exported_<name>`.
    pub honor_labels: bool,
    /// Whether timestamps that the target gives are taken.
    pub honor_timestamps: bool,
    /// Whether series with timestamps of their own get staleness markers too.
    pub track_timestamps_staleness: bool,
    /// Samples in one scrape; 0 means no limit but the body's size.
    pub sample_limit: u64,
    /// Labels of one series, the target's included; 0 means the parser's bound.
    pub label_limit: usize,
    /// Bytes of a label's name; 0 means the parser's bound.
    pub label_name_length_limit: usize,
    /// Bytes of a label's value; 0 means the parser's bound.
    pub label_value_length_limit: usize,
    /// `body_size_limit`: bytes of a body, decompressed.
    pub body_bytes_max: u64,
    /// `fallback_scrape_protocol`: what a body is whose Content-Type does not say it.
    pub fallback: Option<Format>,
}

impl ScrapeConfig {
    /// A job of listed targets with everything else at its default.
    pub fn of_targets(job_name: &str, targets: Vec<String>) -> ScrapeConfig {
        ScrapeConfig {
            job_name: job_name.into(),
            interval_ms: INTERVAL_DEFAULT_MS,
            timeout_ms: TIMEOUT_DEFAULT_MS,
            metrics_path: "/metrics".to_owned(),
            scheme: Scheme::Http,
            params: BTreeMap::new(),
            static_configs: vec![StaticConfig { targets, labels: BTreeMap::new() }],
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            sample_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            body_bytes_max: BODY_BYTES_DEFAULT,
            fallback: None,
        }
    }
}

/// The keys as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    job_name: SmolStr,
    #[serde(default)]
    scrape_interval: Option<Millis>,
    #[serde(default)]
    scrape_timeout: Option<Millis>,
    #[serde(default)]
    metrics_path: Option<String>,
    #[serde(default)]
    scheme: Scheme,
    #[serde(default)]
    params: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    static_configs: Vec<StaticConfig>,
    #[serde(default)]
    honor_labels: bool,
    #[serde(default)]
    honor_timestamps: Option<bool>,
    #[serde(default)]
    track_timestamps_staleness: bool,
    #[serde(default)]
    sample_limit: u64,
    #[serde(default)]
    label_limit: usize,
    #[serde(default)]
    label_name_length_limit: usize,
    #[serde(default)]
    label_value_length_limit: usize,
    #[serde(default)]
    body_size_limit: Option<Bytes>,
    #[serde(default)]
    fallback_scrape_protocol: Option<TextProtocol>,
}

impl TryFrom<Keys> for ScrapeConfig {
    type Error = String;

    fn try_from(keys: Keys) -> Result<ScrapeConfig, String> {
        let interval_ms = keys.scrape_interval.map_or(INTERVAL_DEFAULT_MS, |interval| interval.0);
        let timeout_ms = keys.scrape_timeout.map_or(TIMEOUT_DEFAULT_MS.min(interval_ms), |timeout| timeout.0);
        let config = ScrapeConfig {
            job_name: keys.job_name,
            interval_ms,
            timeout_ms,
            metrics_path: keys.metrics_path.unwrap_or_else(|| "/metrics".to_owned()),
            scheme: keys.scheme,
            params: keys.params,
            static_configs: keys.static_configs,
            honor_labels: keys.honor_labels,
            honor_timestamps: keys.honor_timestamps.unwrap_or(true),
            track_timestamps_staleness: keys.track_timestamps_staleness,
            sample_limit: keys.sample_limit,
            label_limit: keys.label_limit,
            label_name_length_limit: keys.label_name_length_limit,
            label_value_length_limit: keys.label_value_length_limit,
            fallback: keys.fallback_scrape_protocol.map(|protocol| protocol.0),
            body_bytes_max: keys.body_size_limit.map(|size| size.0).filter(|size| *size > 0).unwrap_or(BODY_BYTES_DEFAULT),
        };
        config.check()?;
        Ok(config)
    }
}

impl ScrapeConfig {
    fn check(&self) -> Result<(), String> {
        let (interval, timeout) = (format_duration(self.interval_ms), format_duration(self.timeout_ms));
        if self.job_name.is_empty() {
            return Err("job_name is empty: give the job a name".to_owned());
        }
        if self.interval_ms <= 0 || self.timeout_ms <= 0 {
            return Err(format!("job {}: scrape_interval and scrape_timeout must be more than 0", self.job_name));
        }
        if self.timeout_ms > self.interval_ms {
            let job = &self.job_name;
            return Err(format!(
                "job {job}: scrape_timeout {timeout} is longer than scrape_interval {interval}: shorten it"
            ));
        }
        Target::of_config(self).map(drop)
    }
}

impl<'de> Deserialize<'de> for ScrapeConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ScrapeConfig, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = ScrapeConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a scrape config: job_name, static_configs, ...")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ScrapeConfig, A::Error> {
                let keys = Keys::deserialize(MapAccessDeserializer::new(Supported { map }))?;
                ScrapeConfig::try_from(keys).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// A map whose keys are looked at before they are handed on.
struct Supported<A> {
    map: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Supported<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.map.next_key::<String>()? else { return Ok(None) };
        if UNSUPPORTED.contains(&key.as_str()) || key.ends_with("_sd_configs") {
            return Err(A::Error::custom(format!(
                "{key} is not supported yet: let Prometheus or vmagent scrape this job and remote-write it to Prefold"
            )));
        }
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_keys_are_read() {
        let text = "
- job_name: node
  scrape_interval: 15s
  scheme: https
  params: { collect: [cpu, mem] }
  static_configs: [{ targets: ['a:9100', b], labels: { env: prod } }]
  honor_labels: true
  honor_timestamps: false
  sample_limit: 1000
  body_size_limit: 5MB
- job_name: slow
  scrape_interval: 5s
  body_size_limit: 1000
  fallback_scrape_protocol: OpenMetricsText1.0.0
";
        let configs: Vec<ScrapeConfig> = serde_saphyr::from_str(text).unwrap();
        let node = &configs[0];
        assert_eq!((node.interval_ms, node.timeout_ms, node.body_bytes_max), (15_000, 10_000, 5 << 20));
        assert_eq!((node.honor_labels, node.honor_timestamps, node.sample_limit), (true, false, 1000));
        assert_eq!((node.scheme, node.metrics_path.as_str()), (Scheme::Https, "/metrics"));
        assert_eq!((configs[1].timeout_ms, configs[1].body_bytes_max), (5_000, 1000));
        assert_eq!((node.fallback, configs[1].fallback), (None, Some(Format::OpenMetrics)));
        for (name, format) in [
            ("PrometheusText0.0.4", Format::PrometheusText),
            ("PrometheusText1.0.0", Format::PrometheusText),
            ("OpenMetricsText0.0.1", Format::OpenMetrics),
        ] {
            let text = format!("{{ job_name: a, fallback_scrape_protocol: {name} }}");
            assert_eq!(serde_saphyr::from_str::<ScrapeConfig>(&text).unwrap().fallback, Some(format), "{name}");
        }
        let json = r#"{"job_name": "node", "static_configs": [{"targets": ["a:1"]}]}"#;
        let read: ScrapeConfig = serde_json::from_str(json).unwrap();
        assert_eq!(read, ScrapeConfig::of_targets("node", vec!["a:1".to_owned()]));
    }

    #[track_caller]
    fn refused(keys: &str, part: &str) {
        let error = serde_saphyr::from_str::<ScrapeConfig>(&format!("job_name: a\n{keys}\n")).unwrap_err().to_string();
        assert!(error.contains(part), "{keys}: {error}");
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for key in UNSUPPORTED.into_iter().chain(["kubernetes_sd_configs", "file_sd_configs", "consul_sd_configs"]) {
            refused(&format!("{key}: []"), &format!("{key} is not supported yet: let Prometheus or vmagent"));
        }
        refused("scrape_intervall: 1s", "unknown field");
        refused("scrape_interval: 1 minute", "not a valid duration");
        refused("scrape_interval: 0s", "must be more than 0");
        refused("scrape_interval: 5s\nscrape_timeout: 6s", "scrape_timeout 6s is longer than scrape_interval 5s");
        refused("body_size_limit: 5 MB", "not a valid size");
        refused("body_size_limit: -1", "size");
        refused("scheme: ftp", "ftp");
        refused("fallback_scrape_protocol: PrometheusProto", "is not read here: use PrometheusText0.0.4");
        refused("static_configs: [{ targets: ['http://a:1/x'] }]", "host:port");
        refused("static_configs: [{ targets: ['a:1'], labels: { __scheme__: https } }]", "__scheme__");
        refused("static_configs: [{ targets: ['a:1'], labels: { a-b: c } }]", "a-b");
        refused("static_configs: [{ target: ['a:1'] }]", "unknown field");
        let error = serde_saphyr::from_str::<Vec<ScrapeConfig>>("- job_name: ''\n").unwrap_err().to_string();
        assert!(error.contains("job_name is empty"), "{error}");
        let error = serde_saphyr::from_str::<Vec<ScrapeConfig>>("- scheme: http\n").unwrap_err().to_string();
        assert!(error.contains("job_name"), "{error}");
    }
}
