//! Upstream's JSON as values. What cannot be read, a native histogram among it, is an error and never left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::model::{Labels, Sample, Timestamp};
use crate::query::{MatrixSeries, VectorPoint};

/// Matrix and annotations of an upstream answer.
#[derive(Debug, Default)]
pub struct RangeAnswer {
    pub series: Vec<MatrixSeries>,
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct Answer<D> {
    data: D,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct MatrixData {
    result: Vec<MatrixOf>,
}

#[derive(Deserialize)]
struct MatrixOf {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    histograms: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct VectorData {
    result: Vec<VectorOf>,
}

#[derive(Deserialize)]
struct VectorOf {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl Answer<MatrixData> {
    /// # Errors
    /// The value or time that is not one, or that there are native histograms.
    pub fn range(self) -> Result<RangeAnswer, String> {
        let series = self.data.result.into_iter().map(|series| {
            if !series.histograms.is_empty() {
                return Err("upstream's answer holds native histograms, which cannot be stitched".to_owned());
            }
            let points = series.values.into_iter().map(sample).collect::<Result<_, String>>()?;
            Ok(MatrixSeries { labels: Arc::new(Labels::from_pairs(series.metric)), points })
        });
        let series = series.collect::<Result<_, String>>()?;
        Ok(RangeAnswer { series, warnings: self.warnings, infos: self.infos })
    }
}

impl Answer<VectorData> {
    /// # Errors
    /// The value or time that is not one.
    pub fn vector(self) -> Result<Vec<VectorPoint>, String> {
        let points = self.data.result.into_iter().map(|series| {
            let labels = Arc::new(Labels::from_pairs(series.metric));
            Ok(VectorPoint { labels, sample: sample(series.value)? })
        });
        points.collect()
    }
}

fn sample((t, v): (f64, String)) -> Result<Sample, String> {
    let value = match v.as_str() {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().map_err(|_| format!("upstream's answer holds {v:?}, which is no value"))?,
    };
    let time = Timestamp::from_seconds(t).ok_or_else(|| format!("upstream's answer holds {t}, which is no time"))?;
    Ok(Sample { t: time, v: value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(result: &str) -> Result<Vec<(String, i64, f64)>, String> {
        let text = format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":{result}}}}}");
        let answer: Answer<VectorData> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        Ok(answer.vector()?.into_iter().map(|point| (point.labels.to_string(), point.sample.t.0, point.sample.v)).collect())
    }

    #[test]
    fn values_are_read_or_the_answer_is_refused() {
        let read = vector(r#"[{"metric":{"a":"1"},"value":[1.5,"+Inf"]},{"metric":{},"value":[2,"0.25"]}]"#);
        assert_eq!(read, Ok(vec![(r#"{a="1"}"#.to_owned(), 1500, f64::INFINITY), ("{}".to_owned(), 2000, 0.25)]));
        assert!(vector(r#"[{"metric":{},"value":[1,"x"]}]"#).unwrap_err().contains("\"x\", which is no value"));
        assert!(vector(r#"[{"metric":{},"histogram":[1,{"count":"1"}]}]"#).is_err());
        let matrix = |series: &str| {
            let text = format!(r#"{{"data":{{"resultType":"matrix","result":[{{"metric":{{}},{series}}}]}}}}"#);
            let answer: Answer<MatrixData> = serde_json::from_str(&text).unwrap();
            answer.range().map(|answer| answer.series[0].points.len())
        };
        let (values, histograms) = (r#""values":[[1,"2"]]"#, r#""histograms":[[1,{"count":"1"}]]"#);
        assert_eq!(matrix(values), Ok(1));
        for series in [histograms.to_owned(), format!("{values},{histograms}")] {
            assert!(matrix(&series).unwrap_err().contains("native histograms"));
        }
    }
}
