//! Who has written: bounded, because the dataflow and the store remember every sender.
//!
//! A sender is a name that a client may choose, so one that chooses another for each request would fill memory. Senders of
//! the commit are remembered anyway, so they always may write. Of others so many may as the limit says; one that has been
//! idle for an hour makes room, so that what the dataflow remembers grows by at most the limit an hour. What is refused is
//! asked for again later: whoever raises the limit loses nothing.
//!
//! Where labels name senders, a body that cannot be read names none. So addresses that wrote are remembered beside them.

use std::collections::HashMap;

use parking_lot::Mutex;
use smol_str::SmolStr;

use super::gateway::Origin;
use crate::model::{Tenant, Timestamp};

/// Bytes of a tenant's name, and of a sender's.
pub const NAME_BYTES_MAX: usize = 256;

/// A sender's unreadable bodies uncover its tenant's views at most this often.
const UNREADABLE_PAUSE_MS: i64 = 60_000;

/// A sender that has not written for so long makes room for another.
const IDLE_MS: i64 = 3_600_000;

/// Why a sender may not write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotAdmitted {
    #[error(
        "too-many-senders: {max} new senders have written within the last hour, the most that limits.senders_max allows; \
         raise it, or stop what gives each request another sender (header X-Prefold-Sender or X-Forwarded-For, \
         ingest.sender_labels)"
    )]
    TooMany { max: usize },
    #[error("origin-too-long: the name of the {what} has {bytes} bytes, the limit is {NAME_BYTES_MAX}; shorten it")]
    TooLong { what: &'static str, bytes: usize },
}

type Name = (Tenant, SmolStr);

/// Senders that have written.
pub(super) struct Senders {
    /// Locked for a look-up or two a request.
    senders: Mutex<Names>,
    /// Where senders that labels name wrote from. The empty address is that of senders of the commit which have not written
    /// since the start: it may be any.
    addresses: Mutex<Names>,
    /// Where it is not known who has written.
    strangers: Option<Mutex<Strangers>>,
}

/// Unreadable bodies of those who have not written here, and may have elsewhere.
struct Strangers {
    /// By tenant, when one was noted last; so many are remembered, and what is beyond is noted each time.
    noted: HashMap<Tenant, Timestamp>,
    max: usize,
}

/// Names, and when each last wrote and had an unreadable body noted.
struct Names {
    seen: HashMap<Name, Seen>,
    /// How many of them are not of the commit, and how many may be.
    others: usize,
    max: usize,
    /// None of them can make room before this.
    full_until: Timestamp,
}

#[derive(Clone, Copy)]
struct Seen {
    /// `Timestamp::MIN` of one that has not since the start.
    wrote: Timestamp,
    noted: Timestamp,
    of_commit: bool,
}

impl Senders {
    /// `known` are the senders of the commit; `None` when there is none, and a stranger may have written elsewhere.
    pub fn new(max: usize, known: Option<&[Name]>) -> Senders {
        let strangers = known.is_none().then(|| Mutex::new(Strangers { noted: HashMap::new(), max }));
        let known = known.unwrap_or_default();
        let addresses = known.iter().map(|(tenant, _)| (tenant.clone(), SmolStr::default()));
        Senders {
            addresses: Mutex::new(Names::new(max, addresses)),
            senders: Mutex::new(Names::new(max, known.iter().cloned())),
            strangers,
        }
    }

    /// Whether a sender may write. Several that are new at the same instant may pass together.
    ///
    /// # Errors
    /// When its names are too long, or it is new and there are too many.
    pub fn check(&self, origin: &Origin, now: Timestamp) -> Result<(), NotAdmitted> {
        for (what, name) in [("tenant", origin.tenant.as_str()), ("sender", origin.sender.as_str())] {
            if name.len() > NAME_BYTES_MAX {
                return Err(NotAdmitted::TooLong { what, bytes: name.len() });
            }
        }
        let mut senders = self.senders.lock();
        if senders.seen.contains_key(&name(origin)) || senders.has_room(now) {
            return Ok(());
        }
        Err(NotAdmitted::TooMany { max: senders.max })
    }

    /// Remembers a sender whose body was read and becomes records.
    pub fn remember(&self, origin: &Origin, now: Timestamp) {
        self.senders.lock().remember(name(origin), now);
    }

    /// Remembers from where senders that labels name wrote.
    pub fn remember_address(&self, origin: &Origin, now: Timestamp) {
        let mut addresses = self.addresses.lock();
        if addresses.seen.contains_key(&name(origin)) || addresses.has_room(now) {
            addresses.remember(name(origin), now);
        }
    }

    /// Whether a body of this origin may be missed when it cannot be read: those of strangers are not, unless they may have
    /// written elsewhere. `labelled` says that labels would have named the sender.
    pub fn is_known(&self, origin: &Origin, labelled: bool) -> bool {
        if self.strangers.is_some() {
            return has_names_that_fit(origin);
        }
        if !labelled {
            return self.senders.lock().seen.contains_key(&name(origin));
        }
        let is_address = self.addresses.lock().seen.contains_key(&name(origin));
        is_address || self.senders.lock().has_silent(&origin.tenant)
    }

    /// Whether an unreadable body is to be noted now: those of strangers are not, unless they may have written elsewhere.
    /// `labelled` says that labels would have named the sender.
    pub fn is_unreadable_due(&self, origin: &Origin, labelled: bool, now: Timestamp) -> bool {
        let mut known = if labelled { self.addresses.lock() } else { self.senders.lock() };
        if known.seen.contains_key(&name(origin)) {
            return known.is_due(&name(origin), now);
        }
        if let Some(strangers) = &self.strangers {
            drop(known);
            return strangers.lock().is_due(origin, now);
        }
        labelled
            && known.is_due(&(origin.tenant.clone(), SmolStr::default()), now)
            && self.senders.lock().has_silent(&origin.tenant)
    }
}

impl Strangers {
    /// Once a minute a tenant. Who may not write for its name has written nowhere.
    fn is_due(&mut self, origin: &Origin, now: Timestamp) -> bool {
        let is_recent = |at: &Timestamp| now - *at < UNREADABLE_PAUSE_MS;
        if !has_names_that_fit(origin) || self.noted.get(&origin.tenant).is_some_and(is_recent) {
            return false;
        }
        if self.noted.len() >= self.max {
            self.noted.retain(|_, at| is_recent(at));
        }
        if self.noted.len() < self.max {
            self.noted.insert(origin.tenant.clone(), now);
        }
        true
    }
}

fn has_names_that_fit(origin: &Origin) -> bool {
    origin.tenant.len() <= NAME_BYTES_MAX && origin.sender.len() <= NAME_BYTES_MAX
}

impl Names {
    fn new(max: usize, of_commit: impl Iterator<Item = Name>) -> Names {
        let seen = Seen { wrote: Timestamp::MIN, noted: Timestamp::MIN, of_commit: true };
        Names { seen: of_commit.map(|name| (name, seen)).collect(), others: 0, max, full_until: Timestamp::MIN }
    }

    /// Whether there is room for one more, which the one idle longest makes if it has been idle long enough.
    fn has_room(&mut self, now: Timestamp) -> bool {
        if self.others < self.max {
            return true;
        }
        if now < self.full_until {
            return false;
        }
        let others = self.seen.iter().filter(|(_, seen)| !seen.of_commit);
        let Some((idle, wrote)) = others.min_by_key(|(_, seen)| seen.wrote).map(|(name, seen)| (name.clone(), seen.wrote))
        else {
            return false;
        };
        self.full_until = wrote + IDLE_MS;
        let has_room = now >= self.full_until;
        if has_room {
            self.seen.remove(&idle);
            self.others -= 1;
        }
        has_room
    }

    fn remember(&mut self, name: Name, now: Timestamp) {
        let others = &mut self.others;
        let seen = self.seen.entry(name).or_insert_with(|| {
            *others += 1;
            Seen { wrote: now, noted: Timestamp::MIN, of_commit: false }
        });
        seen.wrote = seen.wrote.max(now);
    }

    fn is_due(&mut self, name: &Name, now: Timestamp) -> bool {
        self.seen.get_mut(name).is_some_and(|seen| {
            let due = now - seen.noted >= UNREADABLE_PAUSE_MS;
            if due {
                seen.noted = now;
            }
            due
        })
    }

    /// Whether a sender of the tenant in the commit has not written since the start.
    fn has_silent(&self, tenant: &Tenant) -> bool {
        self.seen.iter().any(|((of, _), seen)| of == tenant && seen.wrote == Timestamp::MIN)
    }
}

fn name(origin: &Origin) -> Name {
    (origin.tenant.clone(), origin.sender.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(tenant: &str, sender: &str) -> Origin {
        Origin { tenant: tenant.into(), sender: sender.into(), named: true }
    }

    /// Checked, and remembered when it may write.
    fn write(senders: &Senders, tenant: &str, sender: &str, t: i64) -> Result<(), NotAdmitted> {
        let (origin, now) = (origin(tenant, sender), Timestamp(t));
        senders.check(&origin, now).inspect(|()| senders.remember(&origin, now))
    }

    #[test]
    fn senders_are_bounded_and_those_known_go_on() {
        let senders = Senders::new(2, Some(&[("".into(), "old".into()), ("t".into(), "older".into())]));
        let full = Err(NotAdmitted::TooMany { max: 2 });
        assert_eq!([("", "a"), ("t", "a"), ("", "b")].map(|(t, s)| write(&senders, t, s, 0)), [Ok(()), Ok(()), full]);
        // Those of the commit, and those that wrote.
        assert_eq!([("", "old"), ("t", "older"), ("", "a")].map(|(t, s)| write(&senders, t, s, 5)), [Ok(()); 3]);
        assert_eq!(write(&senders, "t", "old", 5), full, "another tenant's sender");
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(write(&senders, "", &long, 0), Err(NotAdmitted::TooLong { what: "sender", bytes: 257 }));
        assert_eq!(write(&senders, &long, "", 0), Err(NotAdmitted::TooLong { what: "tenant", bytes: 257 }));
    }

    #[test]
    fn the_one_idle_longest_makes_room_after_an_hour() {
        let senders = Senders::new(2, Some(&[("".into(), "old".into())]));
        let full = Err(NotAdmitted::TooMany { max: 2 });
        let writes = |sender, t| write(&senders, "", sender, t);
        assert_eq!([writes("a", 0), writes("b", 10), writes("a", 20), writes("c", 30)], [Ok(()), Ok(()), Ok(()), full]);
        assert_eq!(writes("c", IDLE_MS + 9), full);
        assert_eq!([writes("c", IDLE_MS + 10), writes("b", IDLE_MS + 11)], [Ok(()), full], "b made room");
        assert_eq!([writes("b", IDLE_MS + 20), writes("old", IDLE_MS + 21)], [Ok(()), Ok(())], "and now a");
        assert_eq!(writes("a", IDLE_MS + 22), full);
    }

    #[test]
    fn unreadable_bodies_of_known_senders_are_noted_once_a_minute() {
        let senders = Senders::new(2, Some(&[("".into(), "old".into())]));
        let due = |sender, t| senders.is_unreadable_due(&origin("", sender), false, Timestamp(t));
        senders.remember(&origin("", "a"), Timestamp(0));
        assert_eq!(["a", "old", "b"].map(|sender| due(sender, 5)), [true, true, false]);
        assert_eq!([due("a", 60_004), due("a", 60_005), due("a", 60_006)], [false, true, false]);
        senders.check(&origin("", "b"), Timestamp(5)).unwrap();
        assert!(!due("b", 5), "it may write, but has not");
        assert_eq!(["a", "old", "b"].map(|sender| senders.is_known(&origin("", sender), false)), [true, true, false]);
    }

    #[test]
    fn senders_that_labels_name_are_known_by_their_addresses() {
        let senders = Senders::new(2, Some(&[("".into(), "old".into())]));
        let due = |tenant, address, t| senders.is_unreadable_due(&origin(tenant, address), true, Timestamp(t));
        assert_eq!([due("", "1.1.1.1", 5), due("", "2.2.2.2", 6)], [true, false], "old may be behind either");
        assert_eq!(["", "t"].map(|tenant| senders.is_known(&origin(tenant, "1.1.1.1"), true)), [true, false]);
        assert!(!due("t", "1.1.1.1", 5), "no sender of this tenant is known");
        senders.remember(&origin("", "old"), Timestamp(10));
        senders.remember_address(&origin("", "1.1.1.1"), Timestamp(10));
        assert_eq!(
            [due("", "1.1.1.1", 70_000), due("", "1.1.1.1", 70_001), due("", "2.2.2.2", 70_000)],
            [true, false, false]
        );
    }

    #[test]
    fn a_stranger_that_may_have_written_elsewhere_is_noted_once_a_minute_a_tenant() {
        let senders = Senders::new(2, None);
        let due =
            |tenant, sender: &str, labelled, t| senders.is_unreadable_due(&origin(tenant, sender), labelled, Timestamp(t));
        assert_eq!([due("", "a", false, 5), due("", "b", false, 6), due("t", "a", true, 7)], [true, false, true]);
        assert_eq!([due("", "b", false, 60_005), due("", "a", false, 60_006)], [true, false]);
        senders.remember(&origin("", "a"), Timestamp(60_010));
        assert_eq!([due("", "a", false, 60_011), due("", "a", false, 60_012)], [true, false], "known here now");
        let too_long = "x".repeat(NAME_BYTES_MAX + 1);
        assert!(!due("", &too_long, false, 200_000), "it may write nowhere");
        assert_eq!(["a", &too_long].map(|sender| senders.is_known(&origin("", sender), false)), [true, false]);
        // Beyond the bound each is noted, and none remembered.
        assert_eq!(["", "t", "u", "u"].map(|tenant| due(tenant, "c", false, 300_000)), [true; 4]);
        assert_eq!(["", "t"].map(|tenant| due(tenant, "c", false, 300_001)), [false; 2]);
    }
}
