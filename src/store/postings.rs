//! Which groups of a view have a label's value.
//!
//! Useful for matchers that need a label: of all of them the one that leaves the fewest groups is looked up, and the rest
//! checked on those. A regular expression is run once per value instead of once per group. Not useful for matchers that an
//! absent label satisfies: then all groups are looked at.

use hashbrown::HashMap;
use smol_str::SmolStr;

use crate::model::{Labels, Matcher};

/// Group numbers by label name and value: one entry per label of a group, gone with the group.
#[derive(Debug, Default)]
pub struct Postings(HashMap<SmolStr, HashMap<SmolStr, Vec<u32>>>);

impl Postings {
    /// Adds a group, whose number is higher than all others'.
    pub fn add(&mut self, group: u32, labels: &Labels) {
        for label in labels {
            self.0.entry(label.name.clone()).or_default().entry(label.value.clone()).or_default().push(group);
        }
    }

    pub fn remove(&mut self, group: u32, labels: &Labels) {
        for label in labels {
            let Some(values) = self.0.get_mut(&label.name) else { continue };
            if let Some(groups) = values.get_mut(&label.value) {
                if let Ok(at) = groups.binary_search(&group) {
                    groups.remove(at);
                }
                if groups.is_empty() {
                    values.remove(&label.value);
                }
            }
            if values.is_empty() {
                self.0.remove(&label.name);
            }
        }
    }

    /// Groups among which are all that match; `None` when that is most of them. Each is named once, in no order.
    pub fn candidates(&self, matchers: &[Matcher], groups: usize) -> Option<Vec<u32>> {
        let needing = matchers.iter().filter(|matcher| !matcher.matches_empty());
        let lists = needing.map(|matcher| self.lists(matcher));
        let size = |lists: &Vec<&[u32]>| lists.iter().map(|list| list.len()).sum::<usize>();
        let least = lists.min_by_key(size)?;
        (size(&least) <= groups / 2).then(|| least.concat())
    }

    /// The groups of each value that a matcher accepts.
    fn lists(&self, matcher: &Matcher) -> Vec<&[u32]> {
        let Some(values) = self.0.get(&matcher.name) else { return Vec::new() };
        match matcher.accepted() {
            Some(accepted) => accepted.iter().filter_map(|value| values.get(value)).map(Vec::as_slice).collect(),
            None => values.iter().filter(|(value, _)| matcher.matches(value)).map(|(_, list)| list.as_slice()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MatchOp::{Equal, NotEqual, Regex};

    #[track_caller]
    fn check(postings: &Postings, matchers: &[(&str, crate::model::MatchOp, &str)], expected: Option<&[u32]>) {
        let matchers: Vec<_> = matchers.iter().map(|(name, op, value)| Matcher::new(*name, *op, *value).unwrap()).collect();
        let mut found = postings.candidates(&matchers, 6);
        found.iter_mut().for_each(|found| found.sort_unstable());
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn the_matcher_that_leaves_fewest_is_looked_up() {
        let labels = |n: u32| Labels::from_pairs([("all", "x".to_owned()), ("third", (n % 3).to_string())]);
        let mut postings = Postings::default();
        (0..6).for_each(|n| postings.add(n, &labels(n)));
        check(&postings, &[("all", Equal, "x"), ("third", Equal, "1")], Some(&[1, 4]));
        check(&postings, &[("third", Regex, "[1]+")], Some(&[1, 4]));
        check(&postings, &[("third", Equal, "9")], Some(&[]));
        check(&postings, &[("none", NotEqual, "")], Some(&[]));
        check(&postings, &[("all", Equal, "x")], None);
        check(&postings, &[("third", NotEqual, "1")], None);
        check(&postings, &[], None);
        postings.remove(4, &labels(4));
        check(&postings, &[("third", Equal, "1")], Some(&[1]));
        (0..6).for_each(|n| postings.remove(n, &labels(n)));
        assert!(postings.0.is_empty());
    }
}
