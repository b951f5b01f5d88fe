//! What OpenMetrics asks of a family: its metadata in one place before its samples, names that clash with no other
//! family's, values and labels that fit its type, time that does not go back.
//!
//! Of a family's samples only a histogram's are tied to each other, so only there must label sets not alternate: a histogram
//! that was left may not be taken up again. The specification forbids it for all families; Prometheus' vectors alternate
//! summaries. So does this place accept a sample that bears its family's bare name where the type asks for a suffix (an info
//! without `_info`), a stateset whose state is under another label than its own name, and the same sample twice.
//!
//! The suite refuses a summary's negative sum or quantile, alone in its body; Prometheus' client library writes them where
//! observations may be negative, always with the count. So they are taken from a summary that has a count.

use std::collections::{HashMap, HashSet};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::families::{Belongs, Families, MetricKind};
use super::histogram::{Histogram, not_negative};
use super::labels::Pair;
use super::line::quote;
use super::number::parse_float;

/// A sample to be judged.
pub struct Judged<'s, 'b> {
    pub labels: &'s [Pair<'b>],
    pub value: f64,
    /// Seconds.
    pub timestamp: Option<f64>,
    pub exemplar: bool,
}

/// The rules, and what they must remember. Holds one histogram, one sample, and 16 bytes for each histogram left behind.
#[derive(Default)]
pub struct Rules {
    histogram: Option<Open>,
    left_behind: HashSet<u128>,
    newest: Option<(u128, Option<f64>)>,
    summaries: HashMap<usize, Signs>,
}

/// What must be known of a summary at the end of the body.
#[derive(Default)]
struct Signs {
    /// The first sample with a negative value.
    negative: Option<String>,
    counted: bool,
}

/// The histogram whose samples are coming.
struct Open {
    key: u128,
    timestamp: Option<u64>,
    name: String,
    parts: Histogram,
}

/// Checks a TYPE before it is set.
pub fn check_type(families: &Families<'_>, name: &str, kind: MetricKind) -> Result<(), String> {
    if let Some(other) = families.taken_by(name, kind) {
        return Err(format!(
            "metric {} clashes with {}, a name of its samples",
            quote(name.as_bytes()),
            quote(other.as_bytes())
        ));
    }
    if families.parent(name).is_some() {
        return Err(format!("metric {} has the name of another metric's samples", quote(name.as_bytes())));
    }
    Ok(())
}

/// Checks a unit against the name and the type, which may come before or after it.
pub fn check_unit(name: &str, unit: &str, kind: Option<MetricKind>) -> Result<(), String> {
    if unit.is_empty() {
        return Ok(());
    }
    if !name.strip_suffix(unit).is_some_and(|before| before.ends_with('_')) {
        return Err(format!("unit {} is not a suffix of metric {}", quote(unit.as_bytes()), quote(name.as_bytes())));
    }
    match kind {
        Some(kind @ (MetricKind::Info | MetricKind::StateSet)) => {
            Err(format!("a metric of type {} has no unit", kind.name()))
        }
        _ => Ok(()),
    }
}

impl Rules {
    /// Judges the next sample.
    pub fn sample<'b>(&mut self, families: &mut Families<'b>, judged: &Judged<'_, 'b>) -> Result<(), String> {
        let name = &judged.labels[0].1;
        let belongs = families.sampled(name.clone());
        let runs = families.runs;
        let family = families.get_mut(belongs.family);
        let described = family.kind.is_some() || family.help.is_some() || family.unit.is_some();
        if !family.sampled && described && family.described_at + 1 != runs {
            let name = quote(name.as_bytes());
            return Err(format!("other samples stand between the metadata and the first sample of metric {name}"));
        }
        family.sampled = true;
        let kind = family.kind.unwrap_or(MetricKind::Unknown);
        if judged.exemplar {
            check_exemplar_place(kind, name)?;
        }
        check_value(kind, belongs.suffix, judged)?;
        if kind == MetricKind::Summary && (judged.value < 0.0 || belongs.suffix == "_count") {
            let signs = self.summaries.entry(belongs.family).or_default();
            signs.counted |= belongs.suffix == "_count";
            if judged.value < 0.0 {
                signs.negative.get_or_insert_with(|| judged.labels[0].1.to_string());
            }
        }
        self.check_time(judged)?;
        match kind {
            MetricKind::Histogram | MetricKind::GaugeHistogram if !belongs.suffix.is_empty() => {
                self.histogram_sample(kind, belongs, judged)
            }
            _ => self.finish(),
        }
    }

    /// What can only be judged at the end of the body.
    pub fn end(&mut self) -> Result<(), String> {
        self.finish()?;
        let uncounted = self.summaries.values().filter(|signs| !signs.counted).find_map(|signs| signs.negative.as_ref());
        match uncounted {
            Some(name) => Err(format!("{} was negative in a summary without count", quote(name.as_bytes()))),
            None => Ok(()),
        }
    }

    /// Ends the histogram that is open, if one is: at another family's sample.
    fn finish(&mut self) -> Result<(), String> {
        let Some(open) = self.histogram.take() else { return Ok(()) };
        self.left_behind.insert(open.key);
        open.parts.finish().map_err(|reason| format!("histogram {} before this line: {reason}", quote(open.name.as_bytes())))
    }

    fn histogram_sample(&mut self, kind: MetricKind, belongs: Belongs, judged: &Judged<'_, '_>) -> Result<(), String> {
        let key = labels_hash(judged.labels.iter().skip(1).filter(|(name, _)| name != "le"), belongs.family as u64);
        let timestamp = judged.timestamp.map(f64::to_bits);
        if self.histogram.as_ref().is_none_or(|open| open.key != key || open.timestamp != timestamp) {
            let same_labels = self.histogram.as_ref().is_some_and(|open| open.key == key);
            self.finish()?;
            if !same_labels && self.left_behind.contains(&key) {
                return Err("a histogram's samples stand apart: those of one label set must follow each other".to_owned());
            }
            let name = judged.labels[0].1.strip_suffix(belongs.suffix).unwrap_or_default().to_owned();
            self.histogram = Some(Open { key, timestamp, name, parts: Histogram::new(kind) });
        }
        let le = match judged.labels.iter().find(|(name, _)| name == "le") {
            Some((_, text)) if belongs.suffix == "_bucket" => {
                let bound = parse_float(text.as_bytes()).map_err(|reason| format!("label le: {reason}"))?;
                Some((text.as_ref(), bound))
            }
            _ => None,
        };
        match &mut self.histogram {
            Some(open) => open.parts.add(belongs.suffix, le, judged.value, judged.exemplar),
            None => Ok(()),
        }
    }

    /// Of a series given several times in a row, all samples have a time or none has, and time does not go back.
    fn check_time(&mut self, judged: &Judged<'_, '_>) -> Result<(), String> {
        let key = labels_hash(judged.labels.iter(), 0);
        let before = self.newest.replace((key, judged.timestamp));
        match (before.filter(|(before, _)| *before == key), judged.timestamp) {
            (Some((_, Some(before))), Some(now)) if now < before => Err("time goes back within a series".to_owned()),
            (Some((_, before)), now) if before.is_some() != now.is_some() => {
                Err("a series has samples with and without a timestamp".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Values and labels by type.
fn check_value(kind: MetricKind, suffix: &str, judged: &Judged<'_, '_>) -> Result<(), String> {
    match (kind, suffix) {
        (MetricKind::Counter, "" | "_total") => not_negative("a counter", judged.value),
        (MetricKind::Summary, "_count") => not_negative(suffix, judged.value),
        (MetricKind::Summary, "_sum") if judged.value.is_nan() => Err("_sum must not be NaN".to_owned()),
        (MetricKind::Summary, "") => check_quantile(judged),
        (MetricKind::Info, _) if judged.value != 1.0 => Err(format!("an info metric is 1, not {}", judged.value)),
        (MetricKind::StateSet, _) if judged.value != 0.0 && judged.value != 1.0 => {
            Err(format!("a state is 0 or 1, not {}", judged.value))
        }
        (MetricKind::StateSet, _) if judged.labels.len() == 1 => {
            Err("a stateset's sample names its state in a label".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_quantile(judged: &Judged<'_, '_>) -> Result<(), String> {
    let quantile = judged.labels.iter().find(|(name, _)| name == "quantile").map(|(_, value)| value);
    let quantile = quantile.ok_or("a summary's sample without suffix needs the label quantile")?;
    match parse_float(quantile.as_bytes()) {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(()),
        _ => Err(format!("quantile {} is not a number from 0 to 1", quote(quantile.as_bytes()))),
    }
}

/// Exemplars belong to samples that count events, and, as in Prometheus' vectors, to a summary's sum.
fn check_exemplar_place(kind: MetricKind, name: &str) -> Result<(), String> {
    let counts = ["_total", "_bucket", "_count", "_gcount"].into_iter().any(|suffix| name.ends_with(suffix));
    let allowed = match kind {
        MetricKind::Gauge | MetricKind::Info | MetricKind::StateSet => false,
        MetricKind::Summary => counts || name.ends_with("_sum"),
        _ => counts,
    };
    if allowed { Ok(()) } else { Err(format!("metric {} cannot have an exemplar", quote(name.as_bytes()))) }
}

/// A hash of labels that does not depend on their order.
fn labels_hash<'s, 'b: 's>(labels: impl Iterator<Item = &'s Pair<'b>>, seed: u64) -> u128 {
    labels.fold(u128::from(seed), |sum, (name, value)| {
        let name = xxh3_128_with_seed(name.as_bytes(), seed);
        sum.wrapping_add(xxh3_128_with_seed(value.as_bytes(), name as u64 ^ (name >> 64) as u64))
    })
}
