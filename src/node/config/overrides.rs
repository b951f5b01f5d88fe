//! What flags and environment variables say over the file.

use std::path::PathBuf;

use super::value::{Fault, broker_problem, listen_address_problem, url_problem};
use super::{Config, KafkaLogConfig, LogTimeSource, UpstreamConfig};

/// Options given on the command line or in the environment; `None` leaves the file's value.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub listen: Option<String>,
    pub data_dir: Option<PathBuf>,
    pub jobs: Option<PathBuf>,
    /// Replaces only the address of a configured upstream: its other keys stay.
    pub upstream: Option<String>,
    /// Brokers, separated by commas: the log is in Kafka. Replaces only the brokers of a configured one.
    pub kafka: Option<String>,
}

impl Overrides {
    /// The configuration with these over it.
    ///
    /// # Errors
    /// The option that is not valid, what is wrong with it, and what would be right.
    pub fn apply(self, mut config: Config) -> Result<Config, String> {
        if let Some(listen) = self.listen {
            refuse("--listen", listen_address_problem(&listen))?;
            config.listen = listen;
        }
        if let Some(url) = self.upstream {
            refuse("--upstream", url_problem(&url))?;
            match &mut config.upstream {
                Some(upstream) => upstream.url = url,
                None => config.upstream = Some(UpstreamConfig::new(url)),
            }
        }
        if let Some(brokers) = self.kafka {
            let brokers: Vec<String> = brokers.split(',').map(|broker| broker.trim().to_owned()).collect();
            refuse("--kafka", brokers.iter().find_map(|broker| broker_problem(broker)))?;
            if config.log.log_time == LogTimeSource::Samples {
                return Err("--kafka: in Kafka the brokers give the time; leave out log.log_time".to_owned());
            }
            match &mut config.log.kafka {
                Some(kafka) => kafka.brokers = brokers,
                None => config.log.kafka = Some(KafkaLogConfig::new(brokers)),
            }
        }
        config.data_dir = self.data_dir.unwrap_or(config.data_dir);
        config.jobs = self.jobs.unwrap_or(config.jobs);
        Ok(config)
    }
}

fn refuse(option: &str, fault: Option<Fault>) -> Result<(), String> {
    fault.map_or(Ok(()), |(message, remedy)| Err(format!("{option}: {message}; {remedy}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_replaces_and_the_rest_stays() {
        let mut config = Config::default();
        let mut upstream = UpstreamConfig::new("http://a");
        upstream.trust = crate::node::config::Trust::Always;
        config.upstream = Some(upstream);
        let overrides =
            Overrides { upstream: Some("http://b".to_owned()), data_dir: Some("d".into()), ..Overrides::default() };
        let config = overrides.apply(config).unwrap();
        let upstream = config.upstream.unwrap();
        assert_eq!((upstream.url.as_str(), upstream.trust), ("http://b", crate::node::config::Trust::Always));
        assert_eq!((config.data_dir, config.listen.as_str()), ("d".into(), "127.0.0.1:9480"));
    }

    #[test]
    fn bad_options_are_refused_by_name() {
        let listen = Overrides { listen: Some(":1".to_owned()), ..Overrides::default() };
        assert!(listen.apply(Config::default()).unwrap_err().starts_with("--listen: "));
        let kafka = |brokers: &str| Overrides { kafka: Some(brokers.to_owned()), ..Overrides::default() };
        assert!(kafka("a:1,b").apply(Config::default()).unwrap_err().starts_with("--kafka: \"b\" is not"));
        let brokers = kafka("a:1, b:2").apply(Config::default()).unwrap().log.kafka.unwrap().brokers;
        assert_eq!(brokers, ["a:1", "b:2"]);
        let upstream = Overrides { upstream: Some("b:9090".to_owned()), ..Overrides::default() };
        assert!(upstream.apply(Config::default()).unwrap_err().contains("http://127.0.0.1:9090"));
    }
}
