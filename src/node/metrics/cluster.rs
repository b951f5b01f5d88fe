//! What workers and query replicas have to tell beside what every process tells.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Family, Values, counter, gauge, one};
use crate::node::assembly::StreamPart;
use crate::node::role::Role;

pub(super) fn families(role: Role, streaming: &StreamPart) -> Vec<Family> {
    let own = match role {
        Role::Worker => worker(streaming),
        Role::Query => replica(streaming),
        Role::Run | Role::Gateway => return Vec::new(),
    };
    own.into_iter().chain(set(streaming)).collect()
}

fn worker(streaming: &StreamPart) -> Vec<Family> {
    let progress = &streaming.status.cluster;
    vec![
        gauge(
            "prefold_fold_partitions",
            "Partitions of samples that this worker folds; worry when all workers together have fewer than there are.",
            now(&progress.fold_partitions),
        ),
        gauge(
            "prefold_fold_partitions_held_back",
            "Partitions of samples that are not read on because what they gave waits for others; worry when it stays above 0 for \
             minutes: some partition has no worker, or no leader.",
            now(&progress.fold_held_back),
        ),
        gauge(
            "prefold_combine_partitions",
            "Partitions of partials that this worker combines; worry when all workers together have fewer than there are.",
            now(&progress.combine_partitions),
        ),
        gauge(
            "prefold_combine_remaining_records",
            "Records of partials not yet combined; worry when it grows for minutes.",
            now(&progress.combine_remaining),
        ),
        counter(
            "prefold_fold_restarts",
            "Times that folding began again after a failure; worry when it grows: the log says why.",
            now(&progress.fold_restarts),
        ),
        counter(
            "prefold_combine_restarts",
            "Times that combining began again after a failure; worry when it grows: the log says why.",
            now(&progress.combine_restarts),
        ),
        counter(
            "prefold_partials_skipped",
            "Records of partials that cannot be read; worry at any: a worker is of a newer version, or somebody else writes to \
             the topic, and views were uncovered around them.",
            now(&progress.partials_skipped),
        ),
    ]
}

fn replica(streaming: &StreamPart) -> Vec<Family> {
    let status = &streaming.status;
    vec![
        gauge(
            "prefold_results_remaining_records",
            "Records of results not yet read; worry when it grows for minutes: answers are behind by as much.",
            now(&status.records_ahead),
        ),
        counter(
            "prefold_results_restarts",
            "Times that reading results began again after a failure; worry when it grows: the log says why.",
            now(&status.cluster.results_restarts),
        ),
        counter(
            "prefold_results_skipped",
            "Records and views of results that cannot be used; worry when it grows long after the start: a worker is of a newer \
             version, or somebody else writes to the topic.",
            now(&status.cluster.results_skipped),
        ),
    ]
}

fn set(streaming: &StreamPart) -> Vec<Family> {
    let sets = streaming.jobs.sets();
    let in_force = sets.as_ref().map_or(0, |sets| sets.in_force.number);
    let waiting = sets.as_ref().and_then(|sets| sets.waiting.as_ref()).map_or(0, |(set, _)| set.number);
    vec![
        gauge(
            "prefold_job_set",
            "The number of the job set in force, 0 while there is none; worry when processes differ for minutes.",
            one(in_force as f64),
        ),
        gauge(
            "prefold_job_set_waiting",
            "The number of a newer job set that cannot be read here, else 0; worry at any: the page of jobs says why.",
            one(waiting as f64),
        ),
    ]
}

fn now(number: &AtomicU64) -> Values {
    one(number.load(Ordering::Relaxed) as f64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Timestamp;
    use crate::node::assembly::Node;
    use crate::node::clock::SystemClock;
    use crate::node::config::Config;
    use crate::node::in_force::{JobSet, JobSets, JobsInForce};
    use crate::node::jobs::LoadedJobs;
    use crate::node::metrics::render;
    use crate::node::stream::{Still, StreamStatus};

    fn told(role: Role) -> String {
        let status = Arc::new(StreamStatus::default());
        let progress = &status.cluster;
        let numbers = [
            &progress.fold_partitions,
            &progress.fold_held_back,
            &progress.combine_partitions,
            &progress.combine_remaining,
            &progress.fold_restarts,
            &progress.combine_restarts,
            &progress.partials_skipped,
            &progress.results_restarts,
            &progress.results_skipped,
            &status.records_ahead,
        ];
        numbers.into_iter().zip(1..).for_each(|(number, value)| number.store(value, Ordering::Relaxed));
        let jobs = Arc::new(JobsInForce::new(LoadedJobs::default(), None));
        let set = |number| JobSet { number, proposed_by: String::new(), proposed_at: Timestamp(0) };
        jobs.tell(JobSets { in_force: set(11), waiting: Some((set(12), "why".to_owned())) });
        let streaming = StreamPart::new(status, jobs, Box::new(Still));
        let node = Node::assemble((role, Config::default(), Arc::new(SystemClock)), None, None, Some(streaming));
        render(&node).unwrap()
    }

    #[test]
    fn each_role_of_a_cluster_tells_its_own_numbers_and_no_other() {
        let worker = [
            "fold_partitions 1",
            "fold_partitions_held_back 2",
            "combine_partitions 3",
            "combine_remaining_records 4",
            "fold_restarts_total 5",
            "combine_restarts_total 6",
            "partials_skipped_total 7",
        ];
        let replica = ["results_restarts_total 8", "results_skipped_total 9", "results_remaining_records 10"];
        let sets = ["job_set 11", "job_set_waiting 12"];
        let all: Vec<&str> = worker.iter().chain(&replica).chain(&sets).copied().collect();
        let check = |role: Role, expected: &[&str]| {
            let text = told(role);
            let said = |metric: &str| {
                let mut named = text.lines().filter_map(|line| line.strip_prefix("prefold")?.strip_prefix('_'));
                named.any(|line| line.trim_end_matches(".0") == metric)
            };
            let found: Vec<&str> = all.iter().copied().filter(|metric| said(metric)).collect();
            assert_eq!(found, expected, "{role:?}: {text}");
        };
        check(Role::Worker, &[&worker[..], &sets].concat());
        check(Role::Query, &[&replica[..], &sets].concat());
        check(Role::Run, &[]);
    }
}
