//! Rows of results: how they are written down.
//!
//! Times are distances from the row before, group numbers from the group before: a byte each, mostly, beside the value.

use super::encoding::{Input, Malformed, put_signed, put_varint};

/// The values of some groups of a view at one grid point, by group number, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The grid point's time divided by the view's step.
    pub index: i64,
    pub points: Vec<(u32, [f64; 2])>,
}

pub fn encode_rows(out: &mut Vec<u8>, fields: u8, rows: &[Row]) {
    out.push(fields);
    put_varint(out, rows.len() as u64);
    let mut index = 0i64;
    for row in rows {
        put_signed(out, row.index.wrapping_sub(index));
        index = row.index;
        put_varint(out, row.points.len() as u64);
        let mut group = 0;
        for (next, values) in &row.points {
            put_varint(out, u64::from(next.wrapping_sub(group)));
            group = *next;
            values.iter().take(usize::from(fields)).for_each(|value| out.extend(value.to_le_bytes()));
        }
    }
}

/// The number of fields, and the rows.
pub fn decode_rows(input: &mut Input<'_>) -> Result<(u8, Vec<Row>), Malformed> {
    let fields = input.byte()?;
    if !(1..=2).contains(&fields) {
        return Err(Malformed("results have one or two fields"));
    }
    let mut index = 0i64;
    let rows = input.list(2, |input| {
        index = index.wrapping_add(input.signed()?);
        let mut group = 0u32;
        let points = input.list(1 + 8 * usize::from(fields), |input| {
            group = group.wrapping_add(input.varint32()?);
            let mut values = [0.0; 2];
            for value in values.iter_mut().take(usize::from(fields)) {
                *value = input.f64()?;
            }
            Ok((group, values))
        })?;
        Ok(Row { index, points })
    })?;
    Ok((fields, rows))
}
