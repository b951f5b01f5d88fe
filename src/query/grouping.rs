//! Which series belong together: the key of a group, for aggregations and for the two sides of an operator.
//!
//! A key is the canonical bytes of the labels that count, computed once per series of a query, never per step.

use foldhash::{HashMap, HashMapExt};
use smol_str::SmolStr;

use super::row::Row;
use crate::model::labels::push_prefixed;
use crate::model::{Labels, METRIC_NAME};

/// The labels that count: those named, or all but those named and the metric's name.
#[derive(Clone, Debug)]
pub(super) struct GroupKey {
    named_count: bool,
    /// Sorted, unique.
    names: Vec<SmolStr>,
}

impl GroupKey {
    /// `by (names)`, `on (names)`
    pub fn only(names: &[SmolStr]) -> GroupKey {
        GroupKey::new(true, names.to_vec())
    }

    /// `without (names)`, `ignoring (names)`
    pub fn all_but(names: &[SmolStr]) -> GroupKey {
        let mut names = names.to_vec();
        names.push(METRIC_NAME.into());
        GroupKey::new(false, names)
    }

    fn new(named_count: bool, mut names: Vec<SmolStr>) -> GroupKey {
        names.sort();
        names.dedup();
        GroupKey { named_count, names }
    }

    /// The labels of the group a series belongs to.
    pub fn labels(&self, labels: &Labels) -> Labels {
        if self.named_count { labels.keep(&self.names) } else { labels.drop(&self.names) }
    }

    /// Appends the key of a series.
    fn write(&self, labels: &Labels, key: &mut Vec<u8>) {
        let mut names = self.names.iter().peekable();
        for label in labels {
            while names.next_if(|name| **name < label.name).is_some() {}
            if names.peek().is_some_and(|name| **name == label.name) == self.named_count {
                push_prefixed(key, label.name.as_bytes());
                push_prefixed(key, label.value.as_bytes());
            }
        }
    }
}

/// Numbers groups in the order their first series comes.
pub(super) struct Groups {
    key: GroupKey,
    numbers: HashMap<Vec<u8>, usize>,
    buffer: Vec<u8>,
}

impl Groups {
    pub fn new(key: GroupKey) -> Groups {
        Groups { key, numbers: HashMap::new(), buffer: Vec::with_capacity(256) }
    }

    pub fn number(&mut self, labels: &Labels) -> usize {
        self.buffer.clear();
        self.key.write(labels, &mut self.buffer);
        if let Some(number) = self.numbers.get(self.buffer.as_slice()) {
            return *number;
        }
        let number = self.numbers.len();
        self.numbers.insert(self.buffer.clone(), number);
        number
    }

    pub fn count(&self) -> usize {
        self.numbers.len()
    }
}

/// The rows of each group by their index, rows in input order, groups in the order of their first row.
pub(super) fn group_rows(rows: &[Row], key: GroupKey) -> Vec<Vec<usize>> {
    let mut groups = Groups::new(key);
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let number = groups.number(&row.labels);
        if number == members.len() {
            members.push(Vec::new());
        }
        members[number].push(at);
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: GroupKey, a: &[(&str, &str)], b: &[(&str, &str)], same: bool) {
        let (a, b) = (Labels::from_pairs(a.iter().copied()), Labels::from_pairs(b.iter().copied()));
        let mut groups = Groups::new(key.clone());
        assert_eq!(groups.number(&a) == groups.number(&b), same, "{a} {b}");
        assert_eq!(key.labels(&a) == key.labels(&b), same, "{a} {b}");
    }

    #[test]
    fn keys_are_equal_exactly_when_the_labels_that_count_are() {
        let names = |names: &[&str]| names.iter().map(SmolStr::new).collect::<Vec<_>>();
        let (m, n) = ([("__name__", "m"), ("a", "1"), ("b", "2")], [("__name__", "n"), ("a", "1"), ("c", "2")]);
        check(GroupKey::only(&names(&["a"])), &m, &n, true);
        check(GroupKey::only(&names(&["b", "a"])), &m, &n, false);
        check(GroupKey::only(&names(&["x"])), &m, &n, true); // absent on both sides
        check(GroupKey::only(&names(&[])), &m, &n, true);
        check(GroupKey::all_but(&names(&["c", "b"])), &m, &n, true);
        check(GroupKey::all_but(&names(&[])), &m, &n, false);
        check(GroupKey::all_but(&names(&[])), &[("ab", "c")], &[("a", "bc")], false);
    }
}
