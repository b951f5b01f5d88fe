//! A target: one address of one job, with the labels that its series get.

use std::collections::HashSet;

use reqwest::Url;
use xxhash_rust::xxh3::xxh3_64;

use super::config::ScrapeConfig;
use crate::model::{Labels, METRIC_NAME, Timestamp};

/// Targets of all jobs together; each has a task and a connection.
pub const TARGETS_MAX: usize = 10_000;

/// What is asked, and how. Equal targets are scraped equally: a reload leaves them alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub url: Url,
    /// `job`, `instance`, and those of its static config.
    pub labels: Labels,
    /// The job's settings. Its lists of targets are empty here: a change of another target does not concern this one.
    pub config: ScrapeConfig,
}

impl Target {
    /// The targets of all jobs, each once.
    ///
    /// # Errors
    /// Two jobs of one name, or too many targets.
    pub fn of_configs(configs: &[ScrapeConfig]) -> Result<Vec<Target>, String> {
        let mut jobs = HashSet::new();
        let mut targets: Vec<Target> = Vec::new();
        let mut known = HashSet::new();
        for config in configs {
            if !jobs.insert(&config.job_name) {
                return Err(format!("two scrape configs have the job_name {:?}: rename one", config.job_name));
            }
            let of_config = Target::of_config(config)?;
            targets.extend(of_config.into_iter().filter(|target| known.insert((target.labels.clone(), target.url.clone()))));
        }
        if targets.len() > TARGETS_MAX {
            return Err(format!(
                "{} scrape targets, more than {TARGETS_MAX}: let Prometheus or vmagent scrape them and remote-write",
                targets.len()
            ));
        }
        Ok(targets)
    }

    /// The targets of one job.
    ///
    /// # Errors
    /// A target or label that cannot be, and why.
    pub fn of_config(config: &ScrapeConfig) -> Result<Vec<Target>, String> {
        let settings = ScrapeConfig { static_configs: Vec::new(), ..config.clone() };
        let mut targets = Vec::new();
        for group in &config.static_configs {
            for name in group.labels.keys() {
                check_label_name(name).map_err(|reason| format!("job {}: {reason}", config.job_name))?;
            }
            for address in &group.targets {
                let own = [("job", config.job_name.as_str()), ("instance", address.as_str())];
                let given = group.labels.iter().filter(|(_, value)| !value.is_empty());
                let labels = own.into_iter().chain(given.map(|(name, value)| (name.as_str(), value.as_str())));
                let url = url(config, address).map_err(|reason| format!("job {}: {reason}", config.job_name))?;
                targets.push(Target { url, labels: Labels::from_pairs(labels), config: settings.clone() });
            }
        }
        Ok(targets)
    }

    /// How long after an instant this target's turn comes: always at the same place within the interval, which differs by
    /// target, so that not all are scraped at once. Milliseconds.
    pub fn delay_ms(&self, now: Timestamp) -> i64 {
        let mut identity = self.url.as_str().as_bytes().to_vec();
        self.labels.canonical_into(&mut identity);
        let place = (xxh3_64(&identity) % self.config.interval_ms.unsigned_abs().max(1)) as i64;
        (place - now.0.rem_euclid(self.config.interval_ms)).rem_euclid(self.config.interval_ms)
    }
}

/// The address scraped.
fn url(config: &ScrapeConfig, address: &str) -> Result<Url, String> {
    let wrong = || format!("target {address:?} is not host:port (the scheme and the path are keys of the scrape config)");
    if address.is_empty() || address.contains(['/', '?', '#', '@', ' ']) {
        return Err(wrong());
    }
    if !config.metrics_path.starts_with('/') {
        return Err(format!("metrics_path {:?} must begin with /", config.metrics_path));
    }
    let mut url =
        Url::parse(&format!("{}://{address}{}", config.scheme.name(), config.metrics_path)).map_err(|_| wrong())?;
    if !config.params.is_empty() {
        let mut query = url.query_pairs_mut();
        for (name, values) in &config.params {
            for value in values {
                query.append_pair(name, value);
            }
        }
    }
    Ok(url)
}

fn check_label_name(name: &str) -> Result<(), String> {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let valid = name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit());
    if !valid || name == METRIC_NAME {
        return Err(format!("{name:?} cannot be a label of targets: use letters, digits and underscores"));
    }
    if name.starts_with("__") {
        return Err(format!("label {name:?} of targets is not supported: set scheme, metrics_path or params of the job"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ScrapeConfig {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn targets_have_labels_and_an_address() {
        let targets = Target::of_configs(&[config(
            "{job_name: j, metrics_path: '/probe?x=1', params: {target: ['a b']}, static_configs: [
             {targets: ['h:1', 'h:1', '[::1]:2'], labels: {env: prod, drop: ''}},
             {targets: [h], labels: {instance: i, job: k}}]}",
        )]);
        let shown: Vec<String> = targets.unwrap().iter().map(|target| format!("{} {}", target.url, target.labels)).collect();
        assert_eq!(
            shown,
            [
                r#"http://h:1/probe?x=1&target=a+b {env="prod", instance="h:1", job="j"}"#,
                r#"http://[::1]:2/probe?x=1&target=a+b {env="prod", instance="[::1]:2", job="j"}"#,
                r#"http://h/probe?x=1&target=a+b {instance="i", job="k"}"#,
            ]
        );
        let twice = [config("job_name: j"), config("job_name: j")];
        assert!(Target::of_configs(&twice).unwrap_err().contains("job_name \"j\""));
    }

    #[test]
    fn turns_are_fixed_and_spread() {
        let targets: Vec<String> = (0..100).map(|n| format!("host:{n}")).collect();
        let targets = Target::of_config(&ScrapeConfig::of_targets("j", targets)).unwrap();
        let turns: Vec<i64> = targets.iter().map(|target| target.delay_ms(Timestamp(0))).collect();
        assert!(turns.iter().all(|turn| (0..60_000).contains(turn)));
        assert!(turns.iter().filter(|turn| **turn < 30_000).count().abs_diff(50) < 25);
        for (target, turn) in targets.iter().zip(turns) {
            assert_eq!((7_000_123 + target.delay_ms(Timestamp(7_000_123))) % 60_000, turn);
        }
    }
}
