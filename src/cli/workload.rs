//! The demo's workload: gRPC latency histograms of many instances, made from arithmetic alone.
//!
//! instances x 20 methods x 5 buckets, 13 labels a series. Every fourth instance is staging, the rest production.
//! Counters grow by a rate of their own with some wobble, and one instance in fifty restarts now and then.

use crate::model::{Labels, Sample, Timestamp};

/// Methods per instance.
pub const METHODS: usize = 20;

/// Upper bounds of the latency buckets, in ms.
pub const BUCKETS: [&str; 5] = ["10", "50", "100", "500", "+Inf"];

/// How far apart samples are.
pub const SCRAPE_MS: i64 = 15_000;

const CODES: [&str; 4] = ["OK", "OK", "OK", "Unavailable"];

/// The series, numbered from 0.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub series: usize,
    pub start: Timestamp,
}

impl Workload {
    /// The labels of a series.
    pub fn labels(&self, number: usize) -> Labels {
        let (bucket, method, instance) = split(number);
        let env = if instance % 4 == 3 { "staging" } else { "prod" };
        Labels::from_pairs([
            ("__name__", "grpc_server_requests_duration_ms_bucket".to_owned()),
            ("app", "A".to_owned()),
            ("caller", format!("service-{}", instance % 7)),
            ("cluster", format!("cluster-{}", instance % 3)),
            ("code", CODES[method % CODES.len()].to_owned()),
            ("env", env.to_owned()),
            ("instance", format!("10.{}.{}.{}:8080", instance / 65536, instance / 256 % 256, instance % 256)),
            ("job", "account".to_owned()),
            ("le", BUCKETS[bucket].to_owned()),
            ("method", format!("/account.v1.Account/Method{method:02}")),
            ("namespace", format!("account-{env}")),
            ("pod", format!("account-{instance:06}")),
            ("zone", format!("zone-{}", instance % 2)),
        ])
    }

    /// The samples of a series, one per scrape, `count` of them.
    pub fn samples(&self, number: usize, count: usize) -> Vec<Sample> {
        let (bucket, method, instance) = split(number);
        // Scrapes of an instance come at its own moment within the interval, off the edges of windows.
        let offset = 1 + (instance as i64 * 7919) % (SCRAPE_MS - 2);
        let restart = (instance % 50 == 7).then_some(40 + instance % 60);
        let mut value = 0.0;
        let scrapes = (0..count).map(|scrape| {
            if restart == Some(scrape) {
                value = 0.0;
            }
            value += growth(bucket, method, instance, scrape);
            Sample { t: self.start + (scrape as i64 * SCRAPE_MS + offset), v: value }
        });
        scrapes.collect()
    }
}

fn split(number: usize) -> (usize, usize, usize) {
    let per_instance = METHODS * BUCKETS.len();
    (number % BUCKETS.len(), number / BUCKETS.len() % METHODS, number / per_instance)
}

/// Requests of a scrape interval that took at most the bucket's bound: more for wider buckets, never fewer.
fn growth(bucket: usize, method: usize, instance: usize, scrape: usize) -> f64 {
    let busy = 3 + (method * 5 + instance * 3) % 11;
    let wave = 1.0 + 0.5 * ((scrape as f64 / 20.0) + method as f64).sin();
    let share = [0.30, 0.62, 0.90, 0.998, 1.0][bucket];
    let slow = 1.0 - 0.2 * ((scrape as f64 / 31.0 + method as f64).cos() + 1.0) * (1.0 - share);
    (busy as f64 * 15.0 * wave * share * slow).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_thirteen_labels_of_their_own_and_buckets_are_monotone() {
        let workload = Workload { series: 400, start: Timestamp(0) };
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..workload.series {
            let labels = workload.labels(number);
            assert_eq!(labels.len(), 13);
            assert!(seen.insert(labels));
        }
        for first in (0..100).step_by(5) {
            let columns: Vec<Vec<Sample>> = (first..first + 5).map(|number| workload.samples(number, 30)).collect();
            for scrape in 0..30 {
                assert!(columns.windows(2).all(|two| two[0][scrape].v <= two[1][scrape].v));
            }
        }
    }
}
