//! Requests: units of samples that are sent together, in bodies of bounded size.
//!
//! A unit is one grid point of one publication. A receiver may refuse a request because of one of its units, and take none
//! of it, so a request that was refused is sent again in halves, down to single units: what is wrong with one publication
//! hurts no other, and what the receiver has already does not take along what it has not.

use std::collections::HashMap;
use std::ops::Range;

use super::options::Protocol;
use crate::model::{Labels, Sample, Timestamp};
use crate::wire::{remote_write_v1, remote_write_v2, snappy};

/// What a sample takes beside its labels, at most.
const SAMPLE_BYTES: usize = 32;

/// Samples of one publication at one grid point: the numbers of their series in the batch, and values.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    pub t: Timestamp,
    pub values: Vec<(u32, f64)>,
}

/// Cuts units that would not fit into one request, and says which ones go together.
pub fn cut(units: Vec<Unit>, series: &[Labels], samples_max: usize, bytes_max: usize) -> (Vec<Unit>, Vec<Range<usize>>) {
    let mut fitting: Vec<Unit> = Vec::with_capacity(units.len());
    let (mut requests, mut first, mut samples, mut bytes) = (Vec::new(), 0, 0, 0);
    for unit in units {
        let mut part = Unit { t: unit.t, values: Vec::with_capacity(unit.values.len().min(samples_max)) };
        for (at, v) in unit.values {
            let size = series.get(at as usize).map_or(0, size_of_labels) + SAMPLE_BYTES;
            if samples > 0 && (samples >= samples_max || bytes + size > bytes_max) {
                // A unit that a request has begun ends with it, so that the next request begins with the rest.
                if !part.values.is_empty() {
                    fitting.push(Unit { t: part.t, values: std::mem::take(&mut part.values) });
                }
                requests.push(first..fitting.len());
                (first, samples, bytes) = (fitting.len(), 0, 0);
            }
            part.values.push((at, v));
            (samples, bytes) = (samples + 1, bytes + size);
        }
        if !part.values.is_empty() {
            fitting.push(part);
        }
    }
    if first < fitting.len() {
        requests.push(first..fitting.len());
    }
    (fitting, requests)
}

/// The halves of a request that was refused, of which the first is sent first; none when it cannot be divided.
pub fn halves(request: &Range<usize>) -> Option<(Range<usize>, Range<usize>)> {
    let middle = request.start + request.len() / 2;
    (request.len() > 1).then_some((request.start..middle, middle..request.end))
}

/// How many samples a request has.
pub fn samples(units: &[Unit]) -> usize {
    units.iter().map(|unit| unit.values.len()).sum()
}

/// A request's compressed body: each series once, its samples in time order.
pub fn encode(units: &[Unit], series: &[Labels], protocol: Protocol) -> Vec<u8> {
    let mut places: HashMap<u32, usize> = HashMap::new();
    let mut content: Vec<(&Labels, Vec<Sample>)> = Vec::new();
    for unit in units {
        for (number, v) in &unit.values {
            let Some(labels) = series.get(*number as usize) else { continue };
            let place = *places.entry(*number).or_insert_with(|| {
                content.push((labels, Vec::new()));
                content.len() - 1
            });
            content[place].1.push(Sample { t: unit.t, v: *v });
        }
    }
    snappy::compress(&match protocol {
        Protocol::V1 => remote_write_v1::encode(&content),
        // A result of any query may be less than the one before.
        Protocol::V2 => remote_write_v2::encode_gauges(&content),
    })
}

fn size_of_labels(labels: &Labels) -> usize {
    labels.iter().map(|label| label.name.len() + label.value.len() + 8).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(t: i64, series: Range<u32>) -> Unit {
        Unit { t: Timestamp(t), values: series.map(|at| (at, f64::from(at))).collect() }
    }

    fn labels(count: u32, value: &str) -> Vec<Labels> {
        (0..count).map(|at| Labels::from_pairs([("__name__", "m".to_owned()), ("i", format!("{value}{at}"))])).collect()
    }

    #[track_caller]
    fn check(units: Vec<Unit>, samples_max: usize, bytes_max: usize, expected: &[&[(i64, Range<u32>)]]) {
        let (fitting, requests) = cut(units, &labels(10, ""), samples_max, bytes_max);
        let cut: Vec<Vec<Unit>> = requests.iter().map(|request| fitting[request.clone()].to_vec()).collect();
        let expected: Vec<Vec<Unit>> =
            expected.iter().map(|one| one.iter().map(|(t, series)| unit(*t, series.clone())).collect()).collect();
        assert_eq!(cut, expected);
        assert_eq!(requests.iter().map(Range::len).sum::<usize>(), fitting.len());
    }

    #[test]
    fn requests_are_cut_where_they_are_full() {
        let plenty = 1 << 20;
        check(Vec::new(), 5, plenty, &[]);
        check(vec![unit(1, 0..2), unit(2, 0..3)], 5, plenty, &[&[(1, 0..2), (2, 0..3)]]);
        check(vec![unit(1, 0..2), unit(2, 0..3)], 2, plenty, &[&[(1, 0..2)], &[(2, 0..2)], &[(2, 2..3)]]);
        check(vec![unit(1, 0..1), unit(2, 0..6)], 3, plenty, &[&[(1, 0..1), (2, 0..2)], &[(2, 2..5)], &[(2, 5..6)]]);
        // One sample goes alone, however large.
        check(vec![unit(1, 0..2)], 9, 1, &[&[(1, 0..1)], &[(1, 1..2)]]);
    }

    #[test]
    fn what_is_refused_is_halved_down_to_single_units() {
        assert_eq!(halves(&(3..8)), Some((3..5, 5..8)));
        assert_eq!(halves(&(3..5)), Some((3..4, 4..5)));
        assert_eq!(halves(&(3..4)), None);
    }
}
