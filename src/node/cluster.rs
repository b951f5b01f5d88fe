//! What a cluster is called in Kafka, and what its settings ask of the jobs.
//!
//! The topic of samples may be shared by several clusters; everything else that workers and query replicas keep in Kafka is
//! one cluster's own, and named after it.

use super::config::{Config, KafkaLogConfig, Millis, is_name};
use super::jobs::LoadedJobs;
use crate::model::time::format_duration;

/// The names of a cluster's topics and consumer groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNames {
    prefix: String,
}

impl ClusterNames {
    pub fn of(kafka: &KafkaLogConfig) -> ClusterNames {
        ClusterNames { prefix: kafka.cluster_prefix.as_ref().unwrap_or(&kafka.topic_prefix).clone() }
    }

    /// What workers give each other.
    pub fn partials(&self) -> String {
        self.named("partials")
    }

    /// What query replicas hold.
    pub fn results(&self) -> String {
        self.named("results")
    }

    /// The numbered sets of jobs.
    pub fn jobs(&self) -> String {
        self.named("jobs")
    }

    /// How far each partition of samples has been folded into results.
    pub fn positions(&self) -> String {
        self.named("positions")
    }

    /// Who has written, and since when.
    pub fn senders(&self) -> String {
        self.named("senders")
    }

    /// The group that shares out the partitions of samples.
    pub fn fold_group(&self) -> String {
        self.named("fold")
    }

    /// The group that shares out the partitions of partials.
    pub fn combine_group(&self) -> String {
        self.named("combine")
    }

    /// The group of one query replica.
    pub fn query_group(&self, replica: &str) -> String {
        self.named(&format!("query.{replica}"))
    }

    fn named(&self, what: &str) -> String {
        format!("{}.{what}", self.prefix)
    }
}

/// The name of this query replica: as configured, or the host's.
///
/// # Errors
/// When none is configured and the host has none that Kafka takes.
pub fn replica_name(kafka: &KafkaLogConfig) -> Result<String, String> {
    if let Some(name) = &kafka.replica {
        return Ok(name.clone());
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    match is_name(name) {
        true => Ok(name.to_owned()),
        false => Err(format!("the host's name {name:?} cannot name this query replica: set log.kafka.replica")),
    }
}

/// Whether the topic of results keeps them as long as each job wants: else a new query replica would lack some.
///
/// # Errors
/// The rule that wants more, and what to set.
pub fn check_retention(config: &Config, loaded: &LoadedJobs) -> Result<(), String> {
    let Some(Millis(kept_ms)) = config.log.results_retention() else { return Ok(()) };
    let longest = loaded.catalog.entries().max_by_key(|entry| entry.retention_ms);
    match longest.filter(|entry| entry.retention_ms > kept_ms) {
        None => Ok(()),
        Some(entry) => Err(format!(
            "job {}, rule {}: its results are to be kept for {wanted}, and Kafka keeps results for {}; set \
             log.kafka.results_retention to {wanted} or more, or the rule's retention to less",
            entry.job,
            entry.rule,
            format_duration(kept_ms),
            wanted = format_duration(entry.retention_ms),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::config::{Overrides, read_config};
    use crate::node::jobs::load_set;

    #[test]
    fn two_clusters_on_one_topic_of_samples_have_names_of_their_own() {
        let mut kafka = KafkaLogConfig::new(vec!["a:1".to_owned()]);
        assert_eq!(ClusterNames::of(&kafka).fold_group(), "prefold.fold");
        kafka.topic_prefix = "shared".to_owned();
        assert_eq!(ClusterNames::of(&kafka).results(), "shared.results");
        kafka.cluster_prefix = Some("blue".to_owned());
        let names = ClusterNames::of(&kafka);
        let topics = [names.partials(), names.results(), names.jobs(), names.positions(), names.senders()];
        assert_eq!(topics, ["blue.partials", "blue.results", "blue.jobs", "blue.positions", "blue.senders"]);
        assert_eq!([names.combine_group(), names.query_group("q1")], ["blue.combine", "blue.query.q1"]);
    }

    #[test]
    fn a_replica_is_named_after_its_host_or_as_it_is_told() {
        let mut kafka = KafkaLogConfig::new(vec!["a:1".to_owned()]);
        assert!(!replica_name(&kafka).unwrap().is_empty());
        kafka.replica = Some("q1".to_owned());
        assert_eq!(replica_name(&kafka).unwrap(), "q1");
    }

    #[test]
    fn results_are_kept_as_long_as_the_job_that_wants_them_longest() {
        let job =
            r#"{"name":"one","rules":[{"expr":"sum(x)","step":"1m"},{"expr":"sum(y)","step":"1m","retention":"31d"}]}"#;
        let loaded = load_set(&[("one.json".to_owned(), job.to_owned())]).unwrap();
        let mut config = Config::default();
        assert_eq!(check_retention(&config, &loaded), Ok(()), "without Kafka there is no such topic");
        config = Overrides { kafka: Some("a:1".to_owned()), ..Overrides::default() }.apply(config).unwrap();
        let error = check_retention(&config, &loaded).unwrap_err();
        assert!(error.starts_with("job one, rule 1: ") && error.contains("results_retention to 31d or more"), "{error}");
        let text = "log: { kafka: { brokers: [a:1], results_retention: 31d } }";
        config = read_config("c.yaml".as_ref(), text).unwrap();
        assert_eq!(check_retention(&config, &loaded), Ok(()));
    }
}
