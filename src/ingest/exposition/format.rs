//! Which format a body is in, by its Content-Type.

/// A text format that is read here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `text/plain`, any version: the parameter never changed what a line means.
    PrometheusText,
    /// `application/openmetrics-text`, versions 0.0.1 and 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format a Content-Type names. A target that sends none is taken to speak Prometheus' text format.
    ///
    /// # Errors
    /// Names a type that is not read here, and what the target should send.
    pub fn from_content_type(content_type: Option<&str>) -> Result<Format, String> {
        let Some(content_type) = content_type.map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(Format::PrometheusText);
        };
        let mut parts = content_type.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let version = parts
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("version"))
            .map(|(_, value)| value.trim().trim_matches('"'));
        match (media.as_str(), version) {
            ("text/plain", _) => Ok(Format::PrometheusText),
            ("application/openmetrics-text", None | Some("0.0.1" | "1.0.0")) => Ok(Format::OpenMetrics),
            _ => Err(format!(
                "Content-Type {content_type:?} is not read here: the target must answer with text/plain; version=0.0.4 or \
                 application/openmetrics-text; version=1.0.0"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_decides() {
        for (text, expected) in [
            (None, Some(Format::PrometheusText)),
            (Some(""), Some(Format::PrometheusText)),
            (Some("text/plain"), Some(Format::PrometheusText)),
            (Some("text/plain; version=0.0.4; charset=utf-8; escaping=underscores"), Some(Format::PrometheusText)),
            (Some("Text/Plain;charset=utf-8"), Some(Format::PrometheusText)),
            (Some("application/openmetrics-text; version=1.0.0; charset=utf-8"), Some(Format::OpenMetrics)),
            (Some("application/openmetrics-text;version=\"0.0.1\""), Some(Format::OpenMetrics)),
            (Some("application/openmetrics-text"), Some(Format::OpenMetrics)),
            (Some("application/openmetrics-text; version=2.0.0"), None),
            (Some("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"), None),
            (Some("application/json; schema=\"prometheus/telemetry\"; version=0.0.2"), None),
            (Some("text/html; charset=utf-8"), None),
        ] {
            match (Format::from_content_type(text), expected) {
                (Ok(format), Some(expected)) => assert_eq!(format, expected, "{text:?}"),
                (Err(reason), None) => assert!(reason.contains(&format!("{:?}", text.unwrap_or(""))), "{reason}"),
                (got, _) => panic!("{text:?}: {got:?}"),
            }
        }
    }
}
