//! The answers kept: bounded in number and values, the oldest grid points going first.

use std::collections::BTreeMap;

use tokio::sync::watch;

use super::{EdgeKey, EdgeValues, Outcome};
use crate::model::Timestamp;

/// An answer, or the place where one is awaited.
pub(super) struct Kept {
    pub asked_at: Timestamp,
    /// `None` while upstream is being asked.
    pub outcome: watch::Receiver<Option<Outcome>>,
}

/// An answer whose view has its own value.
pub struct Settled {
    pub key: EdgeKey,
    /// How long after its grid point upstream was asked, in milliseconds.
    pub age_ms: i64,
    pub values: EdgeValues,
}

/// All answers of the edge.
#[derive(Default)]
pub(super) struct Answers {
    kept: BTreeMap<EdgeKey, Kept>,
    /// Values of the answers that have come, by key: what counts against the bound.
    sizes: BTreeMap<EdgeKey, usize>,
    values: usize,
}

impl Answers {
    pub fn get(&self, key: &EdgeKey) -> Option<&Kept> {
        self.kept.get(key)
    }

    pub fn values(&self) -> usize {
        self.values
    }

    pub fn insert(&mut self, key: EdgeKey, kept: Kept) {
        self.remove(&key);
        self.kept.insert(key, kept);
    }

    /// Notes how large an answer is that has come.
    pub fn answered(&mut self, key: EdgeKey, values: usize) {
        if self.kept.contains_key(&key) {
            self.values -= self.sizes.insert(key, values).unwrap_or(0);
            self.values += values;
        }
    }

    /// Drops the oldest answers until there is room for one more; false when only awaited ones are left.
    pub fn make_room(&mut self, answers_max: usize, values_max: usize) -> bool {
        while self.kept.len() >= answers_max || self.values > values_max {
            let Some(oldest) = self.sizes.keys().next().copied() else { return false };
            self.remove(&oldest);
        }
        true
    }

    fn remove(&mut self, key: &EdgeKey) -> Option<Kept> {
        self.values -= self.sizes.remove(key).unwrap_or(0);
        self.kept.remove(key)
    }

    /// Takes out every answer that is final, and forgets those of grid points before `oldest`.
    pub fn take_settled(&mut self, mut is_final: impl FnMut(&EdgeKey) -> bool, oldest: Timestamp) -> Vec<Settled> {
        let come: Vec<EdgeKey> = self.sizes.keys().copied().filter(|key| is_final(key) || key.t < oldest).collect();
        let mut settled = Vec::new();
        for key in come {
            let Some(kept) = self.remove(&key) else { continue };
            if let Some(Ok(values)) = &*kept.outcome.borrow()
                && is_final(&key)
            {
                settled.push(Settled { key, age_ms: kept.asked_at - key.t, values: values.clone() });
            }
        }
        // Awaited for so long that nobody waits any more.
        self.kept.retain(|key, _| key.t >= oldest);
        settled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Labels, ViewId};

    fn key(t: i64) -> EdgeKey {
        EdgeKey { t: Timestamp(t), view: ViewId(1), field: 0 }
    }

    fn kept(values: usize) -> Kept {
        let values = Arc::new(vec![(Arc::new(Labels::EMPTY), 1.0); values]);
        Kept { asked_at: Timestamp(100), outcome: watch::channel(Some(Ok(values))).1 }
    }

    #[test]
    fn the_oldest_grid_points_go_first_and_awaited_ones_never() {
        let mut answers = Answers::default();
        for t in [30, 10, 20] {
            answers.insert(key(t), kept(4));
            answers.answered(key(t), 4);
        }
        assert!(answers.make_room(10, 12) && answers.values() == 12);
        assert!(answers.make_room(10, 8) && answers.values() == 8 && answers.get(&key(10)).is_none());
        assert!(answers.make_room(2, 8) && answers.get(&key(20)).is_none() && answers.get(&key(30)).is_some());
        answers.insert(key(40), Kept { asked_at: Timestamp(0), outcome: watch::channel(None).1 });
        assert!(!answers.make_room(1, 8) && answers.get(&key(40)).is_some() && answers.values() == 0);
        answers.insert(key(30), kept(1));
        answers.answered(key(30), 1);
        answers.answered(key(30), 2);
        answers.answered(key(99), 7);
        assert_eq!(answers.values(), 2);
    }

    #[test]
    fn what_is_final_is_given_out_and_what_is_old_forgotten() {
        let mut answers = Answers::default();
        for t in [10, 20, 30] {
            answers.insert(key(t), kept(1));
            answers.answered(key(t), 1);
        }
        let settled = answers.take_settled(|key| key.t.0 == 20, Timestamp(15));
        let given: Vec<(i64, i64)> = settled.iter().map(|settled| (settled.key.t.0, settled.age_ms)).collect();
        assert_eq!(given, [(20, 80)]);
        assert!(answers.get(&key(10)).is_none() && answers.get(&key(30)).is_some() && answers.values() == 1);
    }
}
