//! One histogram at one time: its buckets, count and sum, which only make sense together.
//!
//! OpenMetrics wants the buckets in order and cumulative, ending with `+Inf`, whose value is the count, and a sum and a
//! count both or neither. Where the corpora contradict:
//! - The OpenMetrics suite refuses a `_count` without a `_sum`; Prometheus' vectors have one that carries an exemplar.
//!   OpenMetrics 1.0 knows no exemplars on counts, so such a line is Prometheus' extension of the format, and is judged by
//!   Prometheus, which asks for no sum.
//! - The suite refuses a `_sum` where buckets take negative values (it would not be a counter); Prometheus' client library
//!   writes it, and is scraped everywhere. The one body of the suite that has all parts writes its bound `-1`, where client
//!   libraries write OpenMetrics' canonical `-1.0`: a sum is taken beside canonical negative bounds, refused beside others.

use super::families::MetricKind;

/// The parts seen so far.
pub struct Histogram {
    kind: MetricKind,
    /// The newest bucket's bound and value.
    newest: Option<(f64, f64)>,
    infinite: Option<f64>,
    negative_bounds: bool,
    /// Whether each negative bound is written the canonical way.
    canonical: bool,
    count: Option<f64>,
    sum: Option<f64>,
    count_has_exemplar: bool,
}

impl Histogram {
    /// `kind` is histogram or gaugehistogram.
    pub fn new(kind: MetricKind) -> Histogram {
        Histogram {
            kind,
            newest: None,
            infinite: None,
            negative_bounds: false,
            canonical: true,
            count: None,
            sum: None,
            count_has_exemplar: false,
        }
    }

    /// Takes a sample by its suffix. `le` is the text of that label, where it has one, and the number it means.
    pub fn add(&mut self, suffix: &str, le: Option<(&str, f64)>, value: f64, exemplar: bool) -> Result<(), String> {
        match suffix {
            "_bucket" => self.add_bucket(le.ok_or("a bucket without the label le")?, value),
            "_count" | "_gcount" => {
                not_negative(suffix, value)?;
                self.count = Some(value);
                self.count_has_exemplar |= exemplar;
                Ok(())
            }
            "_sum" | "_gsum" => {
                if value.is_nan() {
                    return Err(format!("{suffix} must not be NaN"));
                }
                self.sum = Some(value);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn add_bucket(&mut self, (text, bound): (&str, f64), value: f64) -> Result<(), String> {
        not_negative("_bucket", value)?;
        if bound.is_nan() {
            return Err("a bucket's label le is NaN".to_owned());
        }
        if let Some((before, before_value)) = self.newest {
            if bound <= before {
                return Err(format!("bucket le={text:?} is out of order: it comes after {before}"));
            }
            if value < before_value {
                return Err(format!("bucket le={text:?} holds {value}, fewer than the bucket before it: {before_value}"));
            }
        }
        self.newest = Some((bound, value));
        if bound < 0.0 {
            self.negative_bounds = true;
            self.canonical &= text.contains(['.', 'e']);
        }
        if text == "+Inf" {
            self.infinite = Some(value);
        }
        Ok(())
    }

    /// Whether it is whole, asked when the next one begins.
    pub fn finish(&self) -> Result<(), String> {
        let Some(infinite) = self.infinite else {
            return Err("it has no bucket le=\"+Inf\"".to_owned());
        };
        if let Some(count) = self.count.filter(|count| *count != infinite) {
            return Err(format!("its count is {count}, its bucket le=\"+Inf\" holds {infinite}"));
        }
        if self.sum.is_some() && self.count.is_none() {
            return Err("it has a sum but no count".to_owned());
        }
        let sum_optional = self.count_has_exemplar || (self.kind == MetricKind::Histogram && self.negative_bounds);
        if self.sum.is_none() && self.count.is_some() && !sum_optional {
            return Err("it has a count but no sum".to_owned());
        }
        if self.sum.is_some() && self.kind == MetricKind::Histogram && self.negative_bounds && !self.canonical {
            return Err("it has a sum although its buckets take negative values".to_owned());
        }
        if self.sum.is_some_and(|sum| sum < 0.0) && !self.negative_bounds {
            return Err("its sum is negative although no bucket takes negative values".to_owned());
        }
        Ok(())
    }
}

/// What counts observations.
pub fn not_negative(what: &str, value: f64) -> Result<(), String> {
    if value >= 0.0 { Ok(()) } else { Err(format!("{what} must not be negative or NaN, it is {value}")) }
}
