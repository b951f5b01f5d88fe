//! Members of a consumer group: who has which partition, how far they are, and what becomes of those that fall silent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use prefold::log::kafka::Membership;
use prefold::log::topics::{Assigned, Committed};
use prefold::log::{KafkaLog, KafkaOptions};
use prefold::model::{Offset, PartitionId, Position, Timestamp};

use super::cluster::{Cluster, shared};
use super::configs::tool;
use super::proxy::Proxy;
use super::topics::{append, options, prefix, record, wait};

/// Longer than any test: nobody is given up for silence.
const ENDLESS: Duration = Duration::from_secs(300);

/// As short as brokers of these tests allow.
const SHORT: Duration = Duration::from_secs(2);

fn position(partition: u16, next: u64, log_time: i64) -> Position {
    Position { partition: PartitionId(partition), next: Offset(next), log_time: Timestamp(log_time) }
}

/// A member, and what its events have made its partitions.
struct Watched {
    membership: Membership,
    has: BTreeSet<PartitionId>,
    seen: Vec<Assigned>,
}

impl Watched {
    fn join(options: &KafkaOptions, group: &str, session: Duration) -> Watched {
        let membership = Membership::join(options, group, &options.topic, session).unwrap();
        Watched { membership, has: BTreeSet::new(), seen: Vec::new() }
    }

    fn look(&mut self) -> usize {
        for event in self.membership.events().try_iter() {
            match event {
                Assigned::Arrived(partition) => assert!(self.has.insert(partition), "{partition:?} arrived twice"),
                Assigned::Left(partition) => assert!(self.has.remove(&partition), "{partition:?} was not here"),
            }
            self.seen.push(event);
        }
        self.has.len()
    }

    fn first(&self) -> PartitionId {
        *self.has.first().unwrap()
    }
}

#[track_caller]
fn balanced(members: &mut [&mut Watched], counts: &[usize]) {
    wait("the group to be balanced", || {
        let has: Vec<usize> = members.iter_mut().map(|member| member.look()).collect();
        has == counts
    });
    let all: BTreeSet<PartitionId> = members.iter().flat_map(|member| member.has.iter().copied()).collect();
    assert_eq!(all.len(), counts.iter().sum::<usize>(), "nobody shares a partition");
    members.iter().for_each(|member| assert_eq!(member.membership.owned(), member.has));
}

#[test]
fn members_share_partitions_and_take_over_at_once_from_one_that_leaves() {
    let Some(cluster) = shared() else { return };
    let options = options(&cluster.brokers(), &prefix());
    let log = KafkaLog::open(options.clone()).unwrap();
    append(&log, (0..4).flat_map(|p| (0..10).map(move |_| record(p, "x"))).collect());
    let group = format!("{}.workers", options.topic);
    let mut one = Watched::join(&options, &group, ENDLESS);
    balanced(&mut [&mut one], &[4]);
    assert_eq!(one.membership.committed(PartitionId(0)).unwrap(), None);
    let mut other = Watched::join(&options, &group, ENDLESS);
    balanced(&mut [&mut one, &mut other], &[2, 2]);
    let left = one.seen.iter().filter(|event| matches!(event, Assigned::Left(_))).count();
    assert_eq!((left, one.seen.len()), (2, 6), "those that stay are not given up: {:?}", one.seen);

    let (mine, theirs) = (one.first().0, other.first().0);
    one.membership.commit(&[position(mine, 7, 1_234), position(theirs, 9, 5)]);
    let committed = |member: &Watched, partition: u16| member.membership.committed(PartitionId(partition)).unwrap();
    let expected = Committed { next: Offset(7), log_time: Timestamp(1_234) };
    wait("the position to be committed", || committed(&one, mine) == Some(expected));
    assert_eq!(committed(&one, theirs), None, "what is another's is not committed");
    let said =
        tool(cluster, "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &["--describe", "--group", &group]);
    let row = said.lines().find(|line| line.split_whitespace().nth(2) == Some(&mine.to_string())).expect("a row");
    let columns: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(columns[3..6], ["7", "10", "3"], "offset, end and lag: {said}");

    // Handed over and gone: committed on the way out, and theirs is ours without waiting for a session to end.
    other.membership.commit(&[position(theirs, 9, i64::MIN)]);
    other.membership.leave();
    assert!(other.membership.owned().is_empty() && other.membership.committed(PartitionId(0)).is_err());
    balanced(&mut [&mut one], &[4]);
    assert_eq!(committed(&one, theirs), Some(Committed { next: Offset(9), log_time: Timestamp::MIN }));
    assert_eq!(committed(&one, mine), Some(expected));

    // One that joins takes half, and what was handed over before is committed before that.
    one.membership.commit(&(0..4).map(|partition| position(partition, 10, 2_000)).collect::<Vec<_>>());
    let mut third = Watched::join(&options, &group, ENDLESS);
    balanced(&mut [&mut one, &mut third], &[2, 2]);
    let expected = Committed { next: Offset(10), log_time: Timestamp(2_000) };
    third.has.iter().for_each(|partition| assert_eq!(committed(&third, partition.0), Some(expected)));
}

/// A member that nobody hears of any more loses its partitions, and what it commits late is refused. When it is back it
/// knows that it had lost them.
#[test]
fn a_member_that_was_silent_too_long_commits_nothing_and_begins_anew() {
    let to = Arc::new(AtomicU16::new(0));
    let port = Arc::clone(&to);
    let proxy = Proxy::start(move || port.load(Ordering::Acquire));
    let listeners = |ports: &super::cluster::Ports| {
        to.store(ports.guarded, Ordering::Release);
        let super::cluster::Ports { plain, controller, guarded } = ports;
        format!(
            "listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},WAY://127.0.0.1:{guarded}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{plain},WAY://127.0.0.1:{}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,WAY:PLAINTEXT\n\
             group.min.session.timeout.ms=1000\n",
            proxy.port
        )
    };
    let Some(cluster) = Cluster::start_with(1, listeners) else { return };
    let direct = options(&cluster.brokers(), "t");
    let log = KafkaLog::open(direct.clone()).unwrap();
    append(&log, (0..4).map(|partition| record(partition, "x")).collect());
    let way = options(&format!("127.0.0.1:{}", proxy.port), "t");
    let mut silent = Watched::join(&way, "g", SHORT);
    balanced(&mut [&mut silent], &[4]);
    let mut other = Watched::join(&direct, "g", SHORT);
    balanced(&mut [&mut silent, &mut other], &[2, 2]);
    let lost: Vec<u16> = silent.has.iter().map(|partition| partition.0).collect();
    let positions = |next: u64| lost.iter().map(|partition| position(*partition, next, 0)).collect::<Vec<_>>();
    let committed = |member: &Watched| {
        lost.iter()
            .map(|partition| {
                member.membership.committed(PartitionId(*partition)).unwrap().map_or(0, |committed| committed.next.0)
            })
            .collect::<Vec<u64>>()
    };
    silent.membership.commit(&positions(1));
    wait("the first positions", || committed(&other) == [1, 1]);

    proxy.block(true);
    silent.membership.commit(&positions(5));
    proxy.wait_held();
    balanced(&mut [&mut other], &[4]);
    other.membership.commit(&positions(20));
    wait("the positions of who has them now", || committed(&other) == [20, 20]);
    proxy.block(false);
    // Back in the group: it has heard that it had lost them, and has others, or the same, as new ones.
    wait("the silent one to be back", || {
        other.look();
        silent.look();
        silent.seen.len() >= 8 && other.has.len() == 2 && silent.has.len() == 2
    });
    balanced(&mut [&mut silent, &mut other], &[2, 2]);
    let left =
        |partition: &u16| silent.seen.iter().filter(|event| **event == Assigned::Left(PartitionId(*partition))).count();
    assert!(lost.iter().all(|partition| left(partition) == 1), "{:?}", silent.seen);
    assert_eq!(committed(&other), [20, 20], "what was committed late was refused");

    // One that goes without a word is missed when its session ends.
    proxy.block(true);
    drop(silent);
    balanced(&mut [&mut other], &[4]);
}
