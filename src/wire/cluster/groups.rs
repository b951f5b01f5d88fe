//! Groups of a view with their values, as columns: label by label, then value by value.
//!
//! Groups of one view mostly have the same label names, and neighbours the same values, so a column is a run of small
//! numbers. Where names differ from group to group (`without`), and columns would be mostly empty, each group tells its own.

use std::sync::Arc;

use smol_str::SmolStr;

use super::strings::{Strings, StringsOf};
use super::{put_signed, read_count, read_signed};
use crate::model::{GroupLabels, Labels};
use crate::wire::encode::put_varint;
use crate::wire::error::{Problem, WireError};
use crate::wire::reader::Reader;

/// The most values of a group: slots of a partial, or stored fields.
pub const VALUES_MAX: usize = 3;

/// The most columns of labels; views with more tell labels group by group.
const COLUMNS_MAX: usize = 64;

/// How the labels are laid out.
const COLUMNS: u64 = 0;
const PAIRS: u64 = 1;

/// How a column of values is laid out.
const ZEROS: u64 = 0;
const WHOLE_NUMBERS: u64 = 1;
const FLOATS: u64 = 2;

/// Beyond this, floats are not all whole numbers any more.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A group and its values; those beyond what its kind has are zero.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRow {
    pub labels: GroupLabels,
    pub values: [f64; VALUES_MAX],
}

pub(super) fn put(out: &mut Vec<u8>, strings: &mut Strings, groups: &[GroupRow]) {
    put_varint(out, groups.len() as u64);
    if groups.is_empty() {
        return;
    }
    match columns(groups) {
        Some(names) => {
            put_varint(out, COLUMNS);
            put_varint(out, names.len() as u64);
            for name in &names {
                put_varint(out, strings.number(name));
            }
            for name in &names {
                groups.iter().for_each(|group| put_varint(out, strings.number(group.labels.get(name))));
            }
        }
        None => {
            put_varint(out, PAIRS);
            for group in groups {
                put_varint(out, group.labels.len() as u64);
                for label in group.labels.iter() {
                    put_varint(out, strings.number(&label.name));
                    put_varint(out, strings.number(&label.value));
                }
            }
        }
    }
    (0..VALUES_MAX).for_each(|index| put_values(out, groups, index));
}

/// The names of all labels, if columns of them are no larger than pairs would be.
fn columns(groups: &[GroupRow]) -> Option<Vec<SmolStr>> {
    let mut names: Vec<SmolStr> = Vec::new();
    let mut labels = 0;
    for group in groups {
        labels += group.labels.len();
        for label in group.labels.iter() {
            if !names.contains(&label.name) {
                names.push(label.name.clone());
            }
        }
        if names.len() > COLUMNS_MAX {
            return None;
        }
    }
    (names.len() * groups.len() <= 2 * labels).then_some(names)
}

fn put_values(out: &mut Vec<u8>, groups: &[GroupRow], index: usize) {
    let values = groups.iter().map(|group| group.values[index]);
    let is_whole = |v: f64| v.abs() <= WHOLE_MAX && v.trunc() == v && (v != 0.0 || v.is_sign_positive());
    if values.clone().all(|v| v.to_bits() == 0) {
        put_varint(out, ZEROS);
    } else if values.clone().all(is_whole) {
        put_varint(out, WHOLE_NUMBERS);
        values.for_each(|v| put_signed(out, v as i64));
    } else {
        put_varint(out, FLOATS);
        values.for_each(|v| out.extend_from_slice(&v.to_bits().to_le_bytes()));
    }
}

pub(super) fn read(reader: &mut Reader<'_>, strings: &StringsOf<'_>) -> Result<Vec<GroupRow>, WireError> {
    // A group without labels may take no byte of its own, but then it is the only one.
    let count = reader.varint()?;
    let left = reader.left();
    if count > left as u64 {
        return reader.error(Problem::LengthTooLong { claimed: count, left });
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    let labels = match reader.varint()? {
        COLUMNS => read_columns(reader, strings, count as usize)?,
        PAIRS => read_pairs(reader, strings, count as usize)?,
        found => return reader.error(Problem::NumberOutOfRange { what: "a layout of labels", found }),
    };
    let row = |labels| GroupRow { labels: Arc::new(labels), values: [0.0; VALUES_MAX] };
    let mut groups: Vec<GroupRow> = labels.into_iter().map(row).collect();
    for index in 0..VALUES_MAX {
        read_values(reader, &mut groups, index)?;
    }
    Ok(groups)
}

fn read_columns(reader: &mut Reader<'_>, strings: &StringsOf<'_>, count: usize) -> Result<Vec<Labels>, WireError> {
    let columns = read_count(reader, 1)?;
    if columns > COLUMNS_MAX {
        return reader.error(Problem::TooMany { what: "columns", max: COLUMNS_MAX });
    }
    // Without a column all groups would be the same one.
    if columns == 0 && count > 1 {
        return reader.error(Problem::TooMany { what: "groups without labels", max: 1 });
    }
    let names = (0..columns).map(|_| strings.read_one(reader)).collect::<Result<Vec<_>, _>>()?;
    // Each of them takes a byte at least: what is reserved is in proportion to what is there.
    let (values, left) = ((columns as u64).saturating_mul(count as u64), reader.left());
    if values > left as u64 {
        return reader.error(Problem::LengthTooLong { claimed: values, left });
    }
    let mut rows: Vec<Vec<(SmolStr, SmolStr)>> = (0..count).map(|_| Vec::with_capacity(columns)).collect();
    for name in &names {
        for row in &mut rows {
            let value = strings.read_one(reader)?;
            if !value.is_empty() {
                row.push((name.clone(), value));
            }
        }
    }
    Ok(rows.into_iter().map(Labels::from_pairs).collect())
}

fn read_pairs(reader: &mut Reader<'_>, strings: &StringsOf<'_>, count: usize) -> Result<Vec<Labels>, WireError> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let labels = read_count(reader, 2)?;
        let mut pairs = Vec::with_capacity(labels);
        for _ in 0..labels {
            pairs.push((strings.read_one(reader)?, strings.read_one(reader)?));
        }
        all.push(Labels::from_pairs(pairs));
    }
    Ok(all)
}

fn read_values(reader: &mut Reader<'_>, groups: &mut [GroupRow], index: usize) -> Result<(), WireError> {
    match reader.varint()? {
        ZEROS => {}
        WHOLE_NUMBERS => {
            for group in groups {
                group.values[index] = read_signed(reader)? as f64;
            }
        }
        FLOATS => {
            for group in groups {
                group.values[index] = f64::from_bits(reader.fixed64()?);
            }
        }
        found => return reader.error(Problem::NumberOutOfRange { what: "a layout of values", found }),
    }
    Ok(())
}
