//! limit_ratio: a share of the series, told by a hash of their labels.
//!
//! The hash is the one that Prometheus' default build takes of a label set, so that the same series are chosen, and so that
//! `r` and `-(1 - r)` choose complements. Prometheus does not promise the hash to stay the same between its versions.

use xxhash_rust::xxh64::xxh64;

use super::parameter;
use crate::model::Labels;
use crate::promql::Aggregate;
use crate::query::error::QueryError;
use crate::query::evaluate::Evaluator;
use crate::query::row::Row;
use crate::query::steps::Steps;

pub(super) fn limit_ratio(evaluator: &mut Evaluator<'_>, node: &Aggregate, steps: &Steps) -> Result<Vec<Row>, QueryError> {
    let mut ratios = parameter(evaluator, node, steps)?;
    let mut rows = evaluator.vector(&node.expr, steps)?;
    if ratios.iter().any(|ratio| ratio.is_nan()) {
        return Err(QueryError::execution("Ratio value is NaN"));
    }
    let source = node.param.as_ref().map(|param| param.source).unwrap_or_default();
    let (least, greatest) =
        ratios.iter().fold((f64::MAX, f64::MIN), |(least, greatest), r| (least.min(*r), greatest.max(*r)));
    if greatest > 1.0 {
        evaluator.notes.ratio_out_of_range(greatest, 1.0, source);
    }
    if least < -1.0 {
        evaluator.notes.ratio_out_of_range(least, -1.0, source);
    }
    ratios.iter_mut().for_each(|ratio| *ratio = ratio.clamp(-1.0, 1.0));
    let mut canonical = Vec::new();
    rows.retain_mut(|row| {
        let place = place(&row.labels, &mut canonical);
        row.retain(|step| chosen(ratios[step], place))
    });
    Ok(rows)
}

/// Whether a ratio takes in a place. One from below takes what lies under it, a negative one what lies above.
fn chosen(ratio: f64, place: f64) -> bool {
    if ratio < 0.0 { place >= 1.0 + ratio } else { ratio != 0.0 && place < ratio }
}

/// Where in 0 to 1 a label set stands.
fn place(labels: &Labels, canonical: &mut Vec<u8>) -> f64 {
    canonical.clear();
    for label in labels {
        push_sized(canonical, &label.name);
        push_sized(canonical, &label.value);
    }
    xxh64(canonical, 0) as f64 / u64::MAX as f64
}

/// A text after its length: one byte, or 255 and three bytes, the lowest first.
fn push_sized(out: &mut Vec<u8>, text: &str) {
    const ONE_BYTE: usize = 255;
    if text.len() < ONE_BYTE {
        out.push(text.len() as u8);
    } else {
        out.push(u8::MAX);
        out.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
    }
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complements_share_no_series_and_miss_none() {
        for tenth in 1..10 {
            let ratio = f64::from(tenth) / 10.0;
            for i in 0..1000 {
                let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())]);
                let place = place(&labels, &mut Vec::new());
                assert!((0.0..=1.0).contains(&place));
                assert_ne!(chosen(ratio, place), chosen(ratio - 1.0, place), "{ratio} {i}");
            }
        }
        assert!(!chosen(0.0, 0.0) && chosen(1.0, 0.999) && chosen(-1.0, 0.0));
    }

    /// Fixed for as long as Prometheus' hash is: dashboards compare.
    #[test]
    fn places_are_those_of_prometheus_default_build() {
        let mut canonical = Vec::new();
        place(&Labels::from_pairs([("__name__", "up"), ("job", "node")]), &mut canonical);
        assert_eq!(canonical, b"\x08__name__\x02up\x03job\x04node");
        place(&Labels::from_pairs([("a", "b".repeat(300))]), &mut canonical);
        assert_eq!(&canonical[..6], b"\x01a\xff\x2c\x01\x00");
        // The published test vectors of XXH64 with seed 0.
        assert_eq!((xxh64(b"", 0), xxh64(b"a", 0)), (0xef46_db37_51d8_e999, 0xd24e_c4f1_a98c_6e5b));
    }
}
