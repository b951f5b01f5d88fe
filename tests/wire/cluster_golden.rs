//! One record of each kind between our own processes, byte by byte; and records that lie.

use std::sync::Arc;

use prefold::model::{Labels, Offset, PartitionId, SenderSeen, SpanReason, Timestamp, ViewId};
use prefold::wire::Problem;
use prefold::wire::cluster::{
    Described, GridPartials, GridResults, GroupRow, KeyframePart, PartialsRecord, ResultsRecord, ScopeEntry, ViewPartials,
    ViewResults,
};

use super::cluster::survived;
use super::mutilated;

fn example_groups() -> Vec<GroupRow> {
    let group = |job: &str, values| GroupRow { labels: Arc::new(Labels::from_pairs([("job", job)])), values };
    vec![group("a", [1.5, 3.0, 0.0]), group("b", [-0.0, -2.0, 0.0])]
}

fn example_seen() -> Vec<SenderSeen> {
    let (first, log_time) = (Timestamp(1_700_000_000_000), Timestamp(1_700_000_000_500));
    vec![SenderSeen { tenant: "".into(), sender: "s".into(), partition: PartitionId(2), first, log_time }]
}

fn example_partials() -> PartialsRecord {
    let t = Timestamp(1_700_000_040_000);
    let entry = ScopeEntry { first: t, whole_from: t, last: Timestamp::MAX, begins: true, complete: false };
    let mut status = [0; 12];
    (status[0], status[3]) = (7, t.0 - 15_000);
    let view = ViewPartials {
        view: ViewId(0x0102),
        entry: Some(entry),
        feeds: vec![("".into(), "s".into())],
        uncovers: vec![(SpanReason::Gap, t, t + 60_000)],
        points: vec![GridPartials { t, status: Some(status), groups: example_groups() }],
    };
    PartialsRecord {
        log_incarnation: 9,
        partition: PartitionId(2),
        next: Offset(300),
        scope: 5,
        set: 1,
        mark: Some(t),
        keyframe: Some(KeyframePart { part: 0, parts: 2 }),
        seen: example_seen(),
        views: vec![view],
    }
}

fn example_results() -> ResultsRecord {
    let t = Timestamp(1_700_000_040_000);
    let described =
        Described { step_ms: 60_000, fields: 1, retention_ms: 86_400_000, settles_ms: 300_000, text: "{}".to_owned() };
    let view = ViewResults {
        view: ViewId(0x0102),
        described: Some(described),
        decided: Some((t, t + 60_000)),
        spans: vec![(SpanReason::SenderNew, t, Timestamp::MAX)],
        points: vec![GridResults { t, told: [1, 2, 3, 4, 5, 6, 7, 800], groups: example_groups() }],
    };
    ResultsRecord { log_incarnation: 9, set: 1, senders: example_seen(), views: vec![view] }
}

/// Golden: topics hold these bytes, and processes of two versions read each other's. Who changes them raises the version.
#[test]
fn records_of_format_1_are_these_bytes_for_ever() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&example_partials().encode()), GOLDEN_PARTIALS);
    assert_eq!(hex(&example_results().encode()), GOLDEN_RESULTS);
}

const GOLDEN_PARTIALS: &str = "\
    01040173036a6f62016101620900000000000000000000000000000002ac02050000000000000001018091b0fef962020001\
    00010280a0abfef962e8070102010000000000000000000000000000018091b0fef9628091b0fef962feffffffffffffffff\
    01010001000101068091b0fef962c0bab7fef962018091b0fef96201000e0000000001afea01000000000000000000000000\
    0000000002000102030402000000000000f83f000000000000008001060300";
const GOLDEN_RESULTS: &str = "\
    01050173027b7d036a6f620161016209000000000000000000000000000000010100010280a0abfef962e807010201000000\
    000000000000000000000001e0d4030180b89929e0a71202018091b0fef962c0a90701048091b0fef962feffffffffffffff\
    ff01018091b0fef96201020304050607a00602000103040502000000000000f83f000000000000008001060300";

#[test]
fn no_record_that_is_cut_short_or_too_long_is_taken_and_no_flip_harms() {
    let (partials, results) = (example_partials().encode(), example_results().encode());
    for record in [&partials, &results] {
        mutilated(record).for_each(|bytes| survived(&bytes));
    }
    (0..partials.len()).for_each(|len| drop(PartialsRecord::decode(&partials[..len]).unwrap_err()));
    (0..results.len()).for_each(|len| drop(ResultsRecord::decode(&results[..len]).unwrap_err()));
    let longer = |bytes: &[u8]| [bytes, &[0]].concat();
    assert_eq!(*PartialsRecord::decode(&longer(&partials)).unwrap_err().problem(), Problem::BytesLeft { left: 1 });
    assert_eq!(*ResultsRecord::decode(&longer(&results)).unwrap_err().problem(), Problem::BytesLeft { left: 1 });
}

#[test]
fn other_versions_are_refused_by_name() {
    let newer = |found| Problem::FormatNewer { found, known: 1 };
    // Rubbish stops nobody: JSON begins with a brace, protobuf often with a line feed.
    let of_version = [(0, Problem::FormatMissing), (2, newer(2)), (6, newer(6)), (7, Problem::FormatMissing)];
    for (version, problem) in of_version.into_iter().chain([b'{', b'\n'].map(|byte| (byte, Problem::FormatMissing))) {
        let (mut partials, mut results) = (example_partials().encode(), example_results().encode());
        (partials[0], results[0]) = (version, version);
        assert_eq!(*PartialsRecord::decode(&partials).unwrap_err().problem(), problem);
        assert_eq!(*ResultsRecord::decode(&results).unwrap_err().problem(), problem);
    }
    assert_eq!(*PartialsRecord::decode(&[]).unwrap_err().problem(), Problem::Truncated);
}

/// So many groups, of which nothing is there.
const CLAIMED: [u8; 6] = [0x80, 0x80, 0x80, 0x80, 0x80, 0x20];

/// A record that ends in a claim of 2^40 things, wherever a count can stand, is refused before anything is reserved.
#[test]
fn claims_of_more_than_there_is_are_not_believed() {
    let (version, no_strings, incarnation, none) = (vec![1_u8], vec![0_u8], vec![9_u8; 16], vec![0_u8]);
    let view = [vec![1_u8], vec![7; 16]].concat();
    let check = |is_partials: bool, parts: &[&[u8]]| {
        let claim = [&parts.concat()[..], &CLAIMED, &[0; 40]].concat();
        let problem = match is_partials {
            true => PartialsRecord::decode(&claim).unwrap_err().problem().clone(),
            false => ResultsRecord::decode(&claim).unwrap_err().problem().clone(),
        };
        assert!(matches!(problem, Problem::LengthTooLong { claimed, .. } if claimed == 1 << 40), "{parts:?}: {problem}");
    };
    // Partition, next, scope, set, no mark, no keyframe.
    let head = [&version[..], &no_strings, &incarnation, &[0, 0], &[0; 8], &[0, 0, 0]].concat();
    check(true, &[&version]);
    check(true, &[&version, &[1]]);
    check(true, &[&head]);
    check(true, &[&head, &none]);
    check(true, &[&head, &none, &view, &[0]]);
    check(true, &[&head, &none, &view, &[0, 0]]);
    check(true, &[&head, &none, &view, &[0, 0, 0]]);
    // One grid point without a status: its groups; pairs of one group; columns of one group.
    let point = [&head[..], &none, &view, &[0, 0, 0, 1], &[0, 0]].concat();
    check(true, &[&point]);
    check(true, &[&point, &[1, 0]]);
    check(true, &[&point, &[1, 1]]);
    let head = [&version[..], &no_strings, &incarnation, &[0]].concat();
    check(false, &[&head]);
    check(false, &[&head, &none]);
    check(false, &[&head, &none, &view, &[0, 0]]);
    check(false, &[&head, &none, &view, &[0, 0, 0]]);
    check(false, &[&head, &none, &view, &[0, 0, 0, 1], &[0; 9]]);
}

/// Sixteen groups of sixteen columns each in forty bytes: each number is possible, together they are not.
#[test]
fn groups_times_columns_must_be_there() {
    let head = [&[1_u8, 0][..], &[9; 16], &[0, 0], &[0; 8], &[0, 0, 0], &[0], &[1], &[7; 16], &[0, 0, 0, 1, 0, 0]].concat();
    let bytes = [&head[..], &[16, 0, 16], &[0; 16], &[0; 24]].concat();
    let problem = PartialsRecord::decode(&bytes).unwrap_err().problem().clone();
    assert_eq!(problem, Problem::LengthTooLong { claimed: 256, left: 24 });
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    let mut results = example_results();
    results.views[0].described.as_mut().unwrap().fields = 4;
    let problem = ResultsRecord::decode(&results.encode()).unwrap_err().problem().clone();
    assert_eq!(problem, Problem::NumberOutOfRange { what: "the values of a group", found: 4 });
    // It ends in: whether there is a mark, keyframe, senders, views.
    let mut bytes = PartialsRecord::default().encode();
    let mark = bytes.len() - 4;
    bytes[mark] = 2;
    let problem = PartialsRecord::decode(&bytes).unwrap_err().problem().clone();
    assert_eq!(problem, Problem::NumberOutOfRange { what: "yes or no", found: 2 });
}
