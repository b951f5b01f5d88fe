//! How far the fold has come: samples read from the log, and how new they are by sender.

use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use smol_str::SmolStr;

use super::stream::ViewProgress;
use crate::dataflow::Folded;
use crate::model::{Tenant, Timestamp};
use crate::proxy::ViewActivity;

/// The most senders whose progress is kept; further ones are not told apart.
pub const SENDERS_MAX: usize = 200;

impl ViewProgress {
    /// What the query side wants to know of it.
    pub fn activity(&self) -> ViewActivity {
        ViewActivity {
            input_series: self.newest.input_series,
            valued_series: Some((self.newest.t, self.newest.valued_series)),
            output_series: self.newest.output_series,
            window_samples: self.newest.window_samples,
            state_bytes: self.newest.state_bytes,
            overdue_series: self.newest.overdue,
            not_counted: self.not_counted,
        }
    }
}

/// Written by the stream's thread, read by metrics and status pages.
#[derive(Default)]
pub struct FoldProgress {
    samples: AtomicU64,
    skipped: AtomicU64,
    /// The newest sample time by sender; at most [`SENDERS_MAX`], the first to come.
    senders: DashMap<(Tenant, SmolStr), Timestamp>,
}

impl FoldProgress {
    pub fn note(&self, folded: &Folded) {
        self.samples.fetch_add(folded.read.samples, Ordering::Relaxed);
        self.skipped.fetch_add(folded.read.skipped, Ordering::Relaxed);
        if folded.read.samples == 0 {
            return;
        }
        let key = (folded.tenant.clone(), folded.sender.clone());
        if let Some(mut newest) = self.senders.get_mut(&key) {
            *newest = folded.read.newest.max(*newest);
            return;
        }
        if self.senders.len() < SENDERS_MAX {
            self.senders.insert(key, folded.read.newest);
        }
    }

    /// Samples read since the start, whether or not a view selects them.
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// Records and series since the start that could not be used.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// The newest sample time of a sender, if it wrote since the start.
    pub fn newest(&self, tenant: &Tenant, sender: &SmolStr) -> Option<Timestamp> {
        self.senders.get(&(tenant.clone(), sender.clone())).map(|newest| *newest)
    }

    /// By tenant and sender.
    pub fn senders(&self) -> Vec<((Tenant, SmolStr), Timestamp)> {
        let mut senders: Vec<_> = self.senders.iter().map(|entry| (entry.key().clone(), *entry.value())).collect();
        senders.sort_unstable();
        senders
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::SamplesRead;

    #[test]
    fn senders_are_told_apart_up_to_a_bound_and_samples_all_counted() {
        let progress = FoldProgress::default();
        let folded = |sender: usize, newest| Folded {
            tenant: Tenant::default(),
            sender: format!("s{sender:03}").into(),
            read: SamplesRead { samples: 2, newest: Timestamp(newest), skipped: 1 },
        };
        (0..SENDERS_MAX + 10).for_each(|sender| progress.note(&folded(sender, 50)));
        progress.note(&folded(3, 70));
        progress.note(&folded(3, 60));
        assert_eq!((progress.senders().len(), progress.samples()), (SENDERS_MAX, 2 * (SENDERS_MAX as u64 + 12)));
        assert_eq!(progress.skipped(), SENDERS_MAX as u64 + 12);
        assert_eq!(progress.newest(&Tenant::default(), &"s003".into()), Some(Timestamp(70)));
        assert_eq!(progress.newest(&Tenant::default(), &"s205".into()), None);
    }
}
