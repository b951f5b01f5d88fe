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
    /// The format a Content-Type names, or where it names none that is read here, the fallback.
    ///
    /// # Errors
    /// Without a fallback names what the target sent, and what it should send.
    pub fn from_content_type(content_type: Option<&str>, fallback: Option<Format>) -> Result<Format, String> {
        let content_type = content_type.map(str::trim).unwrap_or_default();
        Format::named(content_type).or(fallback).ok_or_else(|| {
            let found = match content_type {
                "" => "the target sends no Content-Type".to_owned(),
                other => format!("Content-Type {other:?} is not read here"),
            };
            format!(
                "{found}: it must answer with text/plain; version=0.0.4 or application/openmetrics-text; version=1.0.0, or \
                 the job must say what it is with fallback_scrape_protocol"
            )
        })
    }

    fn named(content_type: &str) -> Option<Format> {
        let mut parts = content_type.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let version = parts
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("version"))
            .map(|(_, value)| value.trim().trim_matches('"'));
        match (media.as_str(), version) {
            ("text/plain", _) => Some(Format::PrometheusText),
            ("application/openmetrics-text", None | Some("0.0.1" | "1.0.0")) => Some(Format::OpenMetrics),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_decides() {
        for (text, expected) in [
            (None, None),
            (Some(""), None),
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
            let fallback = Format::from_content_type(text, Some(Format::OpenMetrics));
            assert_eq!(fallback, Ok(expected.unwrap_or(Format::OpenMetrics)), "{text:?}");
            match (Format::from_content_type(text, None), expected) {
                (Ok(format), Some(expected)) => assert_eq!(format, expected, "{text:?}"),
                (Err(reason), None) => {
                    let named =
                        text.filter(|text| !text.is_empty()).map_or("no Content-Type".to_owned(), |t| format!("{t:?}"));
                    assert!(reason.contains(&named) && reason.contains("fallback_scrape_protocol"), "{reason}");
                }
                (got, _) => panic!("{text:?}: {got:?}"),
            }
        }
    }
}
