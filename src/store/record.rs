//! Records: the steps in which the store's state changes, and the only thing the WAL and checkpoints hold.
//!
//! A change is first said in records, then written, then applied; recovery applies the same records. So what is in memory
//! and what is recovered cannot differ. Views and groups go by numbers, said once with their id or labels: a result of a
//! steady view takes little more than its value.

use std::sync::Arc;

use smol_str::SmolStr;

use super::encoding::{Input, Malformed, put_bytes, put_instant, put_signed, put_varint};
use super::row::{Row, decode_rows, encode_rows};
use super::view::ViewDescription;
use crate::model::{GroupLabels, Labels, Offset, PartitionId, Position, SenderSeen, SpanReason, Timestamp, ViewId};

/// One step. View numbers are the store's own, never reused; group numbers are a view's own, never reused.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Another log: the positions so far are forgotten.
    Log(u128),
    /// Of the partitions named; others stay.
    Positions(Vec<Position>),
    Senders(Vec<SenderSeen>),
    /// A view that is new, or whose description changed.
    View {
        view: u32,
        id: ViewId,
        description: ViewDescription,
    },
    Progress {
        view: u32,
        covered_from: Option<Timestamp>,
        final_to: Option<Timestamp>,
    },
    Groups {
        view: u32,
        groups: Vec<(u32, GroupLabels)>,
    },
    /// In time order, after everything the view has.
    Results {
        view: u32,
        fields: u8,
        rows: Vec<Row>,
    },
    Spans {
        view: u32,
        spans: Vec<(SpanReason, Timestamp, Timestamp)>,
    },
    /// No bytes: the note goes.
    Note {
        key: String,
        bytes: Option<Vec<u8>>,
    },
    /// What retention has passed at this instant goes.
    Retention(Timestamp),
    /// The number the next new view gets. In checkpoints.
    NextView(u32),
    /// The number the next new group gets, and what retention knows of the view. In checkpoints.
    Counting {
        view: u32,
        next_group: u32,
        silent_since: Option<Timestamp>,
        kept_from: Timestamp,
    },
    /// The chunks of points that are in no block yet. In checkpoints.
    Head {
        view: u32,
        group: u32,
        chunks: Vec<Vec<u8>>,
    },
}

// The records' numbers as stored: append only.
const LOG: u8 = 1;
const POSITIONS: u8 = 2;
/// Senders without partitions, as versions before 0.1.0 wrote them: read and forgotten, so that each is new once more.
const SENDERS_WITHOUT_PARTITIONS: u8 = 3;
const VIEW: u8 = 4;
const PROGRESS: u8 = 5;
const GROUPS: u8 = 6;
const RESULTS: u8 = 7;
const SPANS: u8 = 8;
const NOTE: u8 = 9;
const RETENTION: u8 = 10;
const NEXT_VIEW: u8 = 11;
const COUNTING: u8 = 12;
const HEAD: u8 = 13;
const SENDERS: u8 = 14;

impl Record {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Record::Log(incarnation) => {
                out.push(LOG);
                out.extend(incarnation.to_le_bytes());
            }
            Record::Positions(positions) => encode_positions(out, positions),
            Record::Senders(senders) => encode_senders(out, senders),
            Record::View { view, id, description } => encode_view(out, *view, *id, description),
            Record::Progress { view, covered_from, final_to } => {
                put_tagged(out, PROGRESS, *view);
                put_instant(out, *covered_from);
                put_instant(out, *final_to);
            }
            Record::Groups { view, groups } => encode_groups(out, *view, groups),
            Record::Results { view, fields, rows } => {
                put_tagged(out, RESULTS, *view);
                encode_rows(out, *fields, rows);
            }
            Record::Spans { view, spans } => encode_spans(out, *view, spans),
            Record::Note { key, bytes } => {
                out.push(NOTE);
                put_bytes(out, key.as_bytes());
                out.push(u8::from(bytes.is_some()));
                put_bytes(out, bytes.as_deref().unwrap_or_default());
            }
            Record::Retention(now) => {
                out.push(RETENTION);
                put_signed(out, now.0);
            }
            Record::NextView(next) => put_tagged(out, NEXT_VIEW, *next),
            Record::Counting { view, next_group, silent_since, kept_from } => {
                put_tagged(out, COUNTING, *view);
                put_varint(out, u64::from(*next_group));
                put_instant(out, *silent_since);
                put_signed(out, kept_from.0);
            }
            Record::Head { view, group, chunks } => {
                put_tagged(out, HEAD, *view);
                put_varint(out, u64::from(*group));
                put_varint(out, chunks.len() as u64);
                chunks.iter().for_each(|chunk| put_bytes(out, chunk));
            }
        }
    }

    pub fn decode(input: &mut Input<'_>) -> Result<Record, Malformed> {
        Ok(match input.byte()? {
            LOG => Record::Log(input.u128()?),
            POSITIONS => Record::Positions(input.list(3, decode_position)?),
            SENDERS_WITHOUT_PARTITIONS => {
                input.list(3, |input| Ok((input.text()?, input.text()?, input.signed()?)))?;
                Record::Senders(Vec::new())
            }
            SENDERS => Record::Senders(input.list(5, decode_sender)?),
            VIEW => decode_view(input)?,
            PROGRESS => {
                Record::Progress { view: input.varint32()?, covered_from: input.instant()?, final_to: input.instant()? }
            }
            GROUPS => Record::Groups { view: input.varint32()?, groups: input.list(2, decode_group)? },
            RESULTS => {
                let view = input.varint32()?;
                let (fields, rows) = decode_rows(input)?;
                Record::Results { view, fields, rows }
            }
            SPANS => Record::Spans { view: input.varint32()?, spans: input.list(3, decode_span)? },
            NOTE => {
                let key = input.text()?.to_owned();
                let (kept, bytes) = (input.byte()? == 1, input.bytes()?);
                Record::Note { key, bytes: kept.then(|| bytes.to_vec()) }
            }
            RETENTION => Record::Retention(Timestamp(input.signed()?)),
            NEXT_VIEW => Record::NextView(input.varint32()?),
            COUNTING => Record::Counting {
                view: input.varint32()?,
                next_group: input.varint32()?,
                silent_since: input.instant()?,
                kept_from: Timestamp(input.signed()?),
            },
            HEAD => Record::Head {
                view: input.varint32()?,
                group: input.varint32()?,
                chunks: input.list(1, |input| input.bytes().map(<[u8]>::to_vec))?,
            },
            _ => return Err(Malformed("an unknown record")),
        })
    }

    /// All records of some bytes.
    pub fn decode_all(mut input: Input<'_>) -> Result<Vec<Record>, Malformed> {
        let mut records = Vec::new();
        while !input.is_empty() {
            records.push(Record::decode(&mut input)?);
        }
        Ok(records)
    }
}

fn put_tagged(out: &mut Vec<u8>, tag: u8, number: u32) {
    out.push(tag);
    put_varint(out, u64::from(number));
}

fn encode_positions(out: &mut Vec<u8>, positions: &[Position]) {
    put_tagged(out, POSITIONS, positions.len() as u32);
    for position in positions {
        put_varint(out, u64::from(position.partition.0));
        put_varint(out, position.next.0);
        put_signed(out, position.log_time.0);
    }
}

fn decode_position(input: &mut Input<'_>) -> Result<Position, Malformed> {
    let partition = decode_partition(input)?;
    let (next, log_time) = (input.varint()?, input.signed()?);
    Ok(Position { partition, next: Offset(next), log_time: Timestamp(log_time) })
}

fn decode_partition(input: &mut Input<'_>) -> Result<PartitionId, Malformed> {
    u16::try_from(input.varint()?).map(PartitionId).map_err(|_| Malformed("a partition is too large"))
}

fn encode_senders(out: &mut Vec<u8>, senders: &[SenderSeen]) {
    put_tagged(out, SENDERS, senders.len() as u32);
    for seen in senders {
        put_bytes(out, seen.tenant.as_bytes());
        put_bytes(out, seen.sender.as_bytes());
        put_varint(out, u64::from(seen.partition.0));
        put_signed(out, seen.first.0);
        put_signed(out, seen.log_time.0);
    }
}

fn decode_sender(input: &mut Input<'_>) -> Result<SenderSeen, Malformed> {
    let (tenant, sender) = (SmolStr::new(input.text()?), SmolStr::new(input.text()?));
    let partition = decode_partition(input)?;
    let (first, log_time) = (Timestamp(input.signed()?), Timestamp(input.signed()?));
    Ok(SenderSeen { tenant, sender, partition, first, log_time })
}

fn encode_view(out: &mut Vec<u8>, view: u32, id: ViewId, description: &ViewDescription) {
    put_tagged(out, VIEW, view);
    out.extend(id.0.to_le_bytes());
    put_signed(out, description.step_ms);
    out.push(description.fields);
    put_signed(out, description.retention_ms);
    put_bytes(out, description.text.as_bytes());
}

fn decode_view(input: &mut Input<'_>) -> Result<Record, Malformed> {
    let (view, id) = (input.varint32()?, ViewId(input.u128()?));
    let (step_ms, fields, retention_ms) = (input.signed()?, input.byte()?, input.signed()?);
    let description = ViewDescription { step_ms, fields, retention_ms, text: input.text()?.to_owned() };
    description.check(id).map_err(|_| Malformed("a view's step or number of fields is impossible"))?;
    Ok(Record::View { view, id, description })
}

fn encode_groups(out: &mut Vec<u8>, view: u32, groups: &[(u32, GroupLabels)]) {
    put_tagged(out, GROUPS, view);
    put_varint(out, groups.len() as u64);
    for (group, labels) in groups {
        put_varint(out, u64::from(*group));
        put_varint(out, labels.len() as u64);
        for label in labels.iter() {
            put_bytes(out, label.name.as_bytes());
            put_bytes(out, label.value.as_bytes());
        }
    }
}

fn decode_group(input: &mut Input<'_>) -> Result<(u32, GroupLabels), Malformed> {
    let group = input.varint32()?;
    let pairs = input.list(2, |input| Ok((SmolStr::new(input.text()?), SmolStr::new(input.text()?))))?;
    Ok((group, Arc::new(Labels::from_pairs(pairs))))
}

fn encode_spans(out: &mut Vec<u8>, view: u32, spans: &[(SpanReason, Timestamp, Timestamp)]) {
    put_tagged(out, SPANS, view);
    put_varint(out, spans.len() as u64);
    for (reason, from, to) in spans {
        out.push(reason.code());
        put_signed(out, from.0);
        put_signed(out, to.0);
    }
}

fn decode_span(input: &mut Input<'_>) -> Result<(SpanReason, Timestamp, Timestamp), Malformed> {
    let reason = SpanReason::from_code(input.byte()?).ok_or(Malformed("an unknown reason of a span"))?;
    Ok((reason, Timestamp(input.signed()?), Timestamp(input.signed()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_record() -> Vec<Record> {
        let t = Timestamp;
        let labels = Arc::new(Labels::from_pairs([("le", "0.5"), ("method", "Get")]));
        let position = Position { partition: PartitionId(3), next: Offset(u64::MAX), log_time: Timestamp::MIN };
        let description = ViewDescription { step_ms: 15_000, fields: 2, retention_ms: 1, text: "{}".to_owned() };
        vec![
            Record::Log(u128::MAX - 7),
            Record::Positions(vec![position, position]),
            Record::Senders(vec![SenderSeen {
                tenant: "a".into(),
                sender: "b".into(),
                partition: PartitionId(2),
                first: t(-4),
                log_time: t(9),
            }]),
            Record::View { view: 7, id: ViewId(1 << 100), description },
            Record::Progress { view: 7, covered_from: None, final_to: Some(t(4)) },
            Record::Groups { view: 7, groups: vec![(0, labels), (9, Arc::new(Labels::EMPTY))] },
            Record::Results {
                view: 7,
                fields: 2,
                rows: vec![
                    Row { index: i64::MIN, points: vec![(0, [1.0, -0.0]), (900, [f64::MIN, 2.0])] },
                    Row { index: i64::MAX, points: vec![] },
                ],
            },
            Record::Spans { view: 7, spans: vec![(SpanReason::NewView, t(0), Timestamp::MAX)] },
            Record::Note { key: "k".to_owned(), bytes: Some(vec![1, 2]) },
            Record::Note { key: "k".to_owned(), bytes: None },
            Record::Retention(t(5)),
            Record::NextView(8),
            Record::Counting { view: 7, next_group: 10, silent_since: Some(t(1)), kept_from: t(2) },
            Record::Head { view: 7, group: 9, chunks: vec![vec![1], vec![]] },
        ]
    }

    #[test]
    fn records_round_trip_and_cut_ones_are_refused() {
        let mut bytes = Vec::new();
        every_record().iter().for_each(|record| record.encode(&mut bytes));
        assert_eq!(Record::decode_all(Input::new(&bytes)).unwrap(), every_record());
        for record in every_record() {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            for end in 1..bytes.len() {
                assert!(Record::decode(&mut Input::new(&bytes[..end])).is_err(), "{record:?} cut at {end}");
            }
        }
        assert!(Record::decode_all(Input::new(&[200])).is_err());
    }
}
