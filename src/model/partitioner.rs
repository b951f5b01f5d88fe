//! Which partition of the log a series belongs to.
//!
//! The samples of a series have an order only within one partition, so the partition is a pure function of the series and of
//! what the log was made with, and whoever reads can tell a series that was put elsewhere. By default the series' id
//! decides, which spreads series evenly. Where labels are named, their values and the tenant decide: groups stay whole.

use std::fmt;
use std::sync::Arc;

use smol_str::SmolStr;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::labels::{Labels, SeriesId, push_prefixed};

/// The labels whose values decide where a series belongs, sorted, each once; none means that its id does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionBy(Arc<[SmolStr]>);

impl PartitionBy {
    /// The most labels, and the longest name.
    pub const LABELS_MAX: usize = 16;
    pub const NAME_BYTES_MAX: usize = 128;

    /// Order and repetition mean nothing.
    pub fn new<N: Into<SmolStr>>(names: impl IntoIterator<Item = N>) -> PartitionBy {
        let mut names: Vec<SmolStr> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        PartitionBy(names.into())
    }

    /// The labels' names.
    pub fn names(&self) -> &[SmolStr] {
        &self.0
    }

    /// A number that tells these labels from others; 0 when there are none. Stored in the incarnation of a log in Kafka.
    pub fn fingerprint(&self) -> u32 {
        if self.0.is_empty() {
            return 0;
        }
        let mut names = Vec::new();
        self.0.iter().for_each(|name| push_prefixed(&mut names, name.as_bytes()));
        (xxh3_64(&names) as u32).max(1)
    }
}

/// As it is written in the configuration.
impl fmt::Display for PartitionBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0.join(", "))
    }
}

/// Finds the partition of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partitioner {
    by: PartitionBy,
    partitions: u16,
}

impl Partitioner {
    pub fn new(by: PartitionBy, partitions: u16) -> Partitioner {
        Partitioner { by, partitions }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// The partition of the series that these labels of a tenant identify. An absent label is an empty one, as everywhere.
    pub fn partition(&self, tenant: &str, id: SeriesId, labels: &Labels) -> u16 {
        if self.by.names().is_empty() {
            return id.partition(self.partitions);
        }
        let mut key = Vec::with_capacity(256);
        push_prefixed(&mut key, tenant.as_bytes());
        self.by.names().iter().for_each(|name| push_prefixed(&mut key, labels.get(name).as_bytes()));
        SeriesId(xxh3_128(&key)).partition(self.partitions)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn partition(by: &[&str], partitions: u16, tenant: &str, labels: &Labels) -> u16 {
        let partitioner = Partitioner::new(PartitionBy::new(by.iter().copied()), partitions);
        partitioner.partition(tenant, labels.series_id(tenant), labels)
    }

    proptest! {
        #[test]
        fn series_of_equal_values_share_a_partition(
            series in prop::collection::vec(("[ab]?", "[ab]?", "[a-z]{0,3}", "[xy]?"), 1..60),
            partitions in 1u16..12,
        ) {
            let mut found = HashMap::new();
            for (a, b, rest, tenant) in series {
                let labels = Labels::from_pairs([("__name__", "m"), ("a", a.as_str()), ("b", &b), ("rest", &rest)]);
                let place = partition(&["b", "a"], partitions, &tenant, &labels);
                prop_assert!(place < partitions);
                prop_assert_eq!(place, *found.entry((a, b, tenant)).or_insert(place));
            }
        }
    }

    #[test]
    fn values_spread_over_the_partitions_and_an_absent_label_is_an_empty_one() {
        let of = |job: &str| partition(&["job"], 8, "", &Labels::from_pairs([("__name__", "up"), ("job", job)]));
        let used: std::collections::HashSet<u16> = (0..200).map(|n| of(&n.to_string())).collect();
        assert_eq!(used.len(), 8);
        assert_eq!(of(""), partition(&["job"], 8, "", &Labels::from_pairs([("__name__", "down")])));
        let tenants: std::collections::HashSet<u16> =
            (0..50).map(|n| partition(&["job"], 8, &n.to_string(), &Labels::EMPTY)).collect();
        assert!(tenants.len() > 1, "tenants are told apart");
    }

    /// Golden: series in stored logs lie where these say.
    #[test]
    fn places_are_fixed_for_ever() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "node"), ("instance", "a")]);
        let of = |by: &[&str]| partition(by, 1024, "t", &labels);
        assert_eq!([of(&[]), of(&["job"]), of(&["job", "instance"]), of(&["instance", "job", "job"])], [111, 892, 852, 852]);
        assert_eq!(of(&[]), labels.series_id("t").partition(1024));
        let print = |by: &[&str]| PartitionBy::new(by.iter().copied()).fingerprint();
        assert_eq!(
            [print(&[]), print(&["job"]), print(&["b", "a"]), print(&["a", "b"])],
            [0, 2_736_175_638, 3_976_544_718, 3_976_544_718]
        );
        assert_eq!(PartitionBy::new(["b", "a", "b"]).to_string(), "[a, b]");
    }
}
