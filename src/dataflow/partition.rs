//! Partition: a series becomes the groups it belongs to, and its labels are dropped.
//!
//! In: [`Filtered`]; out: [`Partitioned`], at once. The key of a group is the view and the group-by values alone. Keeps: per
//! view the groups of this partition by their labels, counted by the series in them and forgotten with the last one; per
//! series its groups.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::message::{Assigned, Filtered, GroupIndex, Introduced, NewGroup, Partitioned, SeriesIndex};
use super::selectors::views_of;
use crate::compile::{OperatorsPlan, ViewSlot};
use crate::model::{GroupLabels, Labels};

/// The state of one partition.
#[derive(Default)]
pub struct Partition {
    plan: Arc<OperatorsPlan>,
    groups: BTreeMap<ViewSlot, Groups>,
    /// By series number.
    targets: Vec<Vec<(ViewSlot, GroupIndex)>>,
}

impl Partition {
    pub fn record(&mut self, filtered: Filtered) -> Partitioned {
        if let Some(set) = &filtered.views {
            self.plan = Arc::clone(&set.plan);
            self.groups.retain(|slot, _| set.plan.view(*slot).is_some());
        }
        let mut new = Vec::new();
        let assigned = filtered.introduced.iter().map(|series| self.assign(series, &mut new)).collect();
        for series in &filtered.evicted {
            let targets = std::mem::take(&mut self.targets[series.0 as usize]);
            self.release(&targets);
        }
        Partitioned {
            partition: filtered.partition,
            log_time: filtered.log_time,
            fresh: filtered.fresh,
            views: filtered.views,
            sender: filtered.sender,
            sender_named: filtered.sender_named,
            sender_seen: filtered.sender_seen,
            assigned,
            groups: new,
            evicted: filtered.evicted,
            points: filtered.points,
            uncovers: filtered.uncovers,
            read: filtered.read,
        }
    }

    fn assign(&mut self, introduced: &Introduced, new: &mut Vec<NewGroup>) -> Assigned {
        let mut targets = Vec::new();
        for slot in views_of(&self.plan, &introduced.selectors) {
            let Some(planned) = self.plan.view(slot) else { continue };
            let labels = planned.view().shape.group_of(&introduced.labels);
            let groups = self.groups.entry(slot).or_default();
            targets.push((slot, groups.take(slot, labels, new)));
        }
        let had = std::mem::replace(self.targets_of(introduced.series), targets.clone());
        self.release(&had);
        Assigned { series: introduced.series, id: introduced.id, targets }
    }

    fn targets_of(&mut self, series: SeriesIndex) -> &mut Vec<(ViewSlot, GroupIndex)> {
        let place = series.0 as usize;
        if self.targets.len() <= place {
            self.targets.resize_with(place + 1, Vec::new);
        }
        &mut self.targets[place]
    }

    fn release(&mut self, targets: &[(ViewSlot, GroupIndex)]) {
        for (slot, group) in targets {
            if let Some(groups) = self.groups.get_mut(slot) {
                groups.give_back(*group);
            }
        }
    }
}

/// The groups of one view in one partition.
#[derive(Default)]
struct Groups {
    by_labels: HashMap<GroupLabels, GroupIndex>,
    /// By group number: its labels and how many series are in it; none in a free place.
    members: Vec<(GroupLabels, u32)>,
    free: Vec<GroupIndex>,
}

impl Groups {
    /// The group of these labels, with one more series in it.
    fn take(&mut self, slot: ViewSlot, labels: Labels, new: &mut Vec<NewGroup>) -> GroupIndex {
        if let Some(group) = self.by_labels.get(&labels) {
            self.members[group.0 as usize].1 += 1;
            return *group;
        }
        let labels = Arc::new(labels);
        let group = match self.free.pop() {
            Some(group) => {
                self.members[group.0 as usize] = (Arc::clone(&labels), 1);
                group
            }
            None => {
                self.members.push((Arc::clone(&labels), 1));
                GroupIndex(self.members.len() as u32 - 1)
            }
        };
        self.by_labels.insert(Arc::clone(&labels), group);
        new.push(NewGroup { slot, group, labels });
        group
    }

    fn give_back(&mut self, group: GroupIndex) {
        let (labels, members) = &mut self.members[group.0 as usize];
        *members = members.saturating_sub(1);
        if *members == 0 {
            self.by_labels.remove(labels);
            self.free.push(group);
        }
    }
}
