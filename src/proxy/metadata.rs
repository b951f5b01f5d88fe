//! Rules, metadata and buildinfo: upstream's where there is one. Our recording rules are added to its rules.

use axum::body::to_bytes;
use axum::http::StatusCode;
use axum::response::Response;

use super::Proxy;
use super::json::{self, Notes};
use super::params::Params;
use super::upstream::{Incoming, Purpose};

/// The most bytes of upstream's rules that ours are added to.
const RULES_BYTES_MAX: usize = 64 << 20;

/// `/api/v1/rules`: upstream's with ours behind them, unless the request asks for certain ones; without one, ours.
pub(super) async fn rules(proxy: &Proxy, incoming: &Incoming, params: &Params) -> Response {
    let alerts_only = params.get("type") == Some("alert");
    let ours = if alerts_only { Vec::new() } else { groups(proxy) };
    let Some(upstream) = &proxy.upstream else {
        return json::success(&serde_json::json!({"groups": ours}).to_string(), &Notes::default());
    };
    let chosen = params.names().any(|name| name != "type" && name != "exclude_alerts");
    let response = upstream.forward(incoming, Purpose::Listed).await;
    match chosen || ours.is_empty() || response.status() != StatusCode::OK {
        true => response,
        false => with_groups(response, ours).await,
    }
}

/// The rules of our jobs that have a record name, in Prometheus' form: a group is a job.
fn groups(proxy: &Proxy) -> Vec<serde_json::Value> {
    let jobs = proxy.jobs.load();
    let groups = jobs.iter().filter(|job| job.rules.iter().any(|rule| rule.record.is_some())).map(|job| {
        let rules = job.rules.iter().filter_map(|rule| {
            let name = rule.record.as_ref()?;
            let labels: serde_json::Map<String, serde_json::Value> =
                rule.labels.iter().map(|label| (label.name.to_string(), label.value.as_str().into())).collect();
            Some(serde_json::json!({
                "name": name, "query": rule.expr, "labels": labels, "health": "ok", "evaluationTime": 0,
                "lastEvaluation": "0001-01-01T00:00:00Z", "type": "recording",
            }))
        });
        serde_json::json!({
            "name": job.name, "file": job.file.display().to_string(), "interval": 0, "limit": 0, "evaluationTime": 0,
            "lastEvaluation": "0001-01-01T00:00:00Z", "rules": rules.collect::<Vec<_>>(),
        })
    });
    groups.collect()
}

async fn with_groups(response: Response, ours: Vec<serde_json::Value>) -> Response {
    let (head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, RULES_BYTES_MAX).await else {
        return json::error(StatusCode::BAD_GATEWAY, "unavailable", "upstream's answer broke off or is too large");
    };
    let mut answer: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    match answer.get_mut("data").and_then(|data| data.get_mut("groups")).and_then(|groups| groups.as_array_mut()) {
        Some(groups) => groups.extend(ours),
        None => return Response::from_parts(head, bytes.into()),
    }
    json::json(StatusCode::OK, answer.to_string())
}

/// `/api/v1/metadata`: upstream's; nothing is kept here.
pub(super) async fn metadata(proxy: &Proxy, incoming: &Incoming) -> Response {
    match &proxy.upstream {
        Some(upstream) => upstream.forward(incoming, Purpose::Listed).await,
        None => json::success("{}", &Notes::default()),
    }
}

/// `/api/v1/status/buildinfo`: upstream's; without one our own, with no features: any would make Grafana take us for Mimir.
pub(super) async fn build_info(proxy: &Proxy, incoming: &Incoming) -> Response {
    if let Some(upstream) = &proxy.upstream {
        return upstream.forward(incoming, Purpose::Listed).await;
    }
    let info = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"), "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
        "application": "prefold",
    });
    json::success(&info.to_string(), &Notes::default())
}

/// A label's name in a path: `U__` begins one whose odd characters are written `_HEX_`, as Grafana sends them.
pub fn unescape_label(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let code = tail.find('_').and_then(|end| Some((end, char::from_u32(u32::from_str_radix(&tail[..end], 16).ok()?)?)));
        let Some((end, character)) = code else { return name.to_owned() };
        out.push(character);
        rest = &tail[end + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_label_names_are_read() {
        for (name, expected) in [
            ("job", "job"),
            ("U__a_2e_b", "a.b"),
            ("U__a__b", "a_b"),
            ("U__bad_zz_", "U__bad_zz_"),
            ("U__bad_2e", "U__bad_2e"),
        ] {
            assert_eq!(unescape_label(name), expected);
        }
    }
}
