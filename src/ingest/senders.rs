//! Who has written since the start: bounded, because the dataflow and the store remember every sender.
//!
//! A sender is a name that a client may choose, so one that chooses another for each request would fill memory. What is
//! refused is asked for again later: whoever raises the limit loses nothing.

use dashmap::DashMap;
use smol_str::SmolStr;

use super::gateway::Origin;
use crate::model::{Tenant, Timestamp};

/// Bytes of a tenant's name, and of a sender's.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// A sender's unreadable bodies uncover its tenant's views at most this often.
const UNREADABLE_PAUSE_MS: i64 = 60_000;

/// Why a sender may not write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotAdmitted {
    #[error(
        "too-many-senders: {max} senders have written since the start, the most that limits.senders_max allows; raise it, or \
         stop what gives each request another sender (header X-Prefold-Sender or X-Forwarded-For, ingest.sender_labels)"
    )]
    TooMany { max: usize },
    #[error("origin-too-long: the name of the {what} has {bytes} bytes, the limit is {NAME_BYTES_MAX}; shorten it")]
    TooLong { what: &'static str, bytes: usize },
}

/// Senders that have written, with when their last unreadable body was noted.
pub(super) struct Senders {
    seen: DashMap<(Tenant, SmolStr), Timestamp>,
    max: usize,
}

impl Senders {
    pub fn new(max: usize) -> Senders {
        Senders { seen: DashMap::new(), max }
    }

    /// Remembers a sender that is about to write.
    ///
    /// # Errors
    /// When its names are too long, or it is new and there are too many. Several that are new at the same instant may pass
    /// together.
    pub fn admit(&self, origin: &Origin) -> Result<(), NotAdmitted> {
        let key = key(origin);
        if self.seen.contains_key(&key) {
            return Ok(());
        }
        for (what, name) in [("tenant", origin.tenant.as_str()), ("sender", origin.sender.as_str())] {
            if name.len() > NAME_BYTES_MAX {
                return Err(NotAdmitted::TooLong { what, bytes: name.len() });
            }
        }
        if self.seen.len() >= self.max {
            return Err(NotAdmitted::TooMany { max: self.max });
        }
        self.seen.insert(key, Timestamp::MIN);
        Ok(())
    }

    /// Whether an unreadable body of a sender is to be noted now: those of strangers never are.
    pub fn is_unreadable_due(&self, origin: &Origin, now: Timestamp) -> bool {
        self.seen.get_mut(&key(origin)).is_some_and(|mut noted| {
            let due = now - *noted >= UNREADABLE_PAUSE_MS;
            if due {
                *noted = now;
            }
            due
        })
    }
}

fn key(origin: &Origin) -> (Tenant, SmolStr) {
    (origin.tenant.clone(), origin.sender.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(tenant: &str, sender: &str) -> Origin {
        Origin { tenant: tenant.into(), sender: sender.into(), named: true }
    }

    #[test]
    fn senders_are_bounded_and_those_known_go_on() {
        let senders = Senders::new(2);
        assert_eq!(senders.admit(&origin("", "a")), Ok(()));
        assert_eq!(senders.admit(&origin("t", "a")), Ok(()));
        assert_eq!(senders.admit(&origin("", "b")), Err(NotAdmitted::TooMany { max: 2 }));
        assert_eq!(senders.admit(&origin("", "a")), Ok(()));
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(senders.admit(&origin("", &long)), Err(NotAdmitted::TooLong { what: "sender", bytes: 257 }));
        assert_eq!(senders.admit(&origin(&long, "")), Err(NotAdmitted::TooLong { what: "tenant", bytes: 257 }));
    }

    #[test]
    fn unreadable_bodies_of_known_senders_are_noted_once_a_minute() {
        let senders = Senders::new(2);
        let (known, stranger) = (origin("", "a"), origin("", "b"));
        senders.admit(&known).unwrap();
        let due = |t| senders.is_unreadable_due(&known, Timestamp(t));
        assert_eq!([due(5), due(60_004), due(60_005), due(60_006)], [true, false, true, false]);
        assert!(!senders.is_unreadable_due(&stranger, Timestamp(5)));
    }
}
