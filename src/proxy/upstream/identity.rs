//! What upstream is, and where its numbers are bound to differ from those of a view (semantics.md S1).

use std::fmt;

/// The databases known by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Prometheus,
    VictoriaMetrics,
    Thanos,
    Mimir,
    M3,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Prometheus => "prometheus",
            Kind::VictoriaMetrics => "victoriametrics",
            Kind::Thanos => "thanos",
            Kind::Mimir => "mimir",
            Kind::M3 => "m3",
        }
    }
}

/// A kind and a version, each as far as it is known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    pub kind: Option<Kind>,
    pub version: Option<String>,
}

/// What VictoriaMetrics calls its version, so that Grafana takes it for a Prometheus.
const VICTORIAMETRICS_VERSION: &str = "2.24.0";

impl Identity {
    /// From the `data` of a buildinfo.
    pub(super) fn of_build_info(data: &serde_json::Value) -> Identity {
        let text = |name: &str| data[name].as_str().filter(|text| !text.is_empty()).map(str::to_lowercase);
        let version = data["version"].as_str().map(str::to_owned);
        let named = text("application").unwrap_or_default();
        let built = text("revision").is_some() || text("goVersion").is_some() || text("goversion").is_some();
        let kind = match version.as_deref() {
            _ if named.contains("mimir") => Some(Kind::Mimir),
            _ if named.contains("victoria") => Some(Kind::VictoriaMetrics),
            Some(VICTORIAMETRICS_VERSION) if !built => Some(Kind::VictoriaMetrics),
            // Prometheus has had this page since 2.14, Thanos has never left 0.
            Some(version) if version.trim_start_matches('v').starts_with("0.") => Some(Kind::Thanos),
            Some(version) if named.is_empty() && is_prometheus(version) => Some(Kind::Prometheus),
            _ => None,
        };
        Identity { kind, version }
    }

    /// Where its values must differ from those of views, which follow Prometheus 3; `None` where nothing is known to.
    pub fn difference(&self) -> Option<&'static str> {
        let left_closed =
            "it closes windows on the left too, so values differ where a sample lies exactly on a window's edge";
        match (self.kind, &self.version) {
            (Some(Kind::Prometheus), Some(version)) if version.starts_with("2.") => Some(left_closed),
            (Some(Kind::M3), _) => Some(left_closed),
            (Some(Kind::VictoriaMetrics), _) => Some(
                "it does not extrapolate rate and increase, and counts the sample before a window: views of these differ and \
                 are not served while trust is compare",
            ),
            _ => None,
        }
    }
}

fn is_prometheus(version: &str) -> bool {
    version.starts_with("2.") || version.starts_with("3.")
}

/// `prometheus 3.1.0`, or what of it is known.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.map_or("of an unknown kind", Kind::name);
        match &self.version {
            Some(version) => write!(f, "{kind} {version}"),
            None => f.write_str(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_told_apart_by_their_buildinfo() {
        for (info, expected, differs) in [
            (r#"{"version":"3.4.1","revision":"abc","goVersion":"go1.24"}"#, "prometheus 3.4.1", false),
            (r#"{"version":"2.42.0+ds","revision":"2.42.0+ds-5","goVersion":"go1.19"}"#, "prometheus 2.42.0+ds", true),
            (r#"{"version":"2.24.0","revision":"abc","goVersion":"go1.15"}"#, "prometheus 2.24.0", true),
            (r#"{"version":"2.24.0"}"#, "victoriametrics 2.24.0", true),
            (
                r#"{"application":"Grafana Mimir","version":"2.15.0","features":{"ruler_config_api":"true"}}"#,
                "mimir 2.15.0",
                false,
            ),
            (r#"{"version":"0.37.2","revision":"abc","goVersion":"go1.23"}"#, "thanos 0.37.2", false),
            (r#"{"version":"9","application":"something"}"#, "of an unknown kind 9", false),
            (r#"{}"#, "of an unknown kind", false),
            (r#"[1]"#, "of an unknown kind", false),
        ] {
            let identity = Identity::of_build_info(&serde_json::from_str(info).unwrap());
            assert_eq!((identity.to_string().as_str(), identity.difference().is_some()), (expected, differs), "{info}");
        }
        let told = Identity { kind: Some(Kind::M3), version: None };
        assert!(told.to_string() == "m3" && told.difference().is_some());
    }
}
