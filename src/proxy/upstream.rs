//! Upstream: the Prometheus-compatible database behind the proxy.
//!
//! What no view answers goes there byte for byte, and its answer comes back byte for byte. Only the read paths of
//! Prometheus' API are forwarded.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::json;
use crate::model::{Labels, Sample, Timestamp};
use crate::query::{MatrixSeries, VectorPoint};

/// The most bytes of an upstream answer that is read here rather than passed through.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// A client of upstream.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: reqwest::Client,
    /// Without a slash at its end.
    url: String,
    headers: Vec<(HeaderName, String)>,
}

/// A request as it came in, to be sent on as it is.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub method: Method,
    /// With its query string.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Headers that belong to one connection, or that the client library sets itself.
const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "accept-encoding",
];

impl Upstream {
    /// # Errors
    /// When the URL is not one, or a header is not one.
    pub fn new(url: &str, timeout: Duration, headers: &[(String, String)]) -> Result<Upstream, String> {
        let parsed: reqwest::Url = url.parse().map_err(|error| format!("upstream.url {url:?}: {error}"))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(format!("upstream.url {url:?}: write it like http://127.0.0.1:9090"));
        }
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("cannot make the upstream client: {error}"))?;
        let named = |(name, value): &(String, String)| {
            let parsed = name.parse().map_err(|_| format!("upstream.headers: {name:?} is not a header name"))?;
            Ok((parsed, value.clone()))
        };
        let headers = headers.iter().map(named).collect::<Result<_, String>>()?;
        Ok(Upstream { client, url: url.trim_end_matches('/').to_owned(), headers })
    }

    /// Sends a request on and streams the answer back.
    pub async fn forward(&self, incoming: &Incoming) -> Response {
        let mut request = self.client.request(incoming.method.clone(), format!("{}{}", self.url, incoming.path));
        for (name, value) in &incoming.headers {
            if !HOP_BY_HOP.contains(&name.as_str()) {
                request = request.header(name, value);
            }
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match request.body(incoming.body.clone()).send().await {
            Ok(answer) => passed_on(answer),
            Err(error) => unreachable_answer(&error),
        }
    }

    /// A range query of our own.
    ///
    /// # Errors
    /// What upstream or the way there said.
    pub async fn range(
        &self,
        headers: &HeaderMap,
        path: &str,
        query: &str,
        (start, end, step_ms): (Timestamp, Timestamp, i64),
    ) -> Result<RangeAnswer, String> {
        let form = [
            ("query", query.to_owned()),
            ("start", json::seconds(start)),
            ("end", json::seconds(end)),
            ("step", json::seconds(Timestamp(step_ms))),
        ];
        let answer: Answer<MatrixData> = self.ask(headers, path, &form).await?;
        let series = answer.data.result.into_iter().map(|series| MatrixSeries {
            labels: std::sync::Arc::new(Labels::from_pairs(series.metric)),
            points: series.values.into_iter().filter_map(sample).collect(),
        });
        Ok(RangeAnswer { series: series.collect(), warnings: answer.warnings, infos: answer.infos })
    }

    /// An instant query of our own that gives a vector.
    ///
    /// # Errors
    /// What upstream or the way there said.
    pub async fn instant(&self, tenant: &str, query: &str, at: Timestamp) -> Result<Vec<VectorPoint>, String> {
        let mut headers = HeaderMap::new();
        if let (false, Ok(value)) = (tenant.is_empty(), tenant.parse()) {
            headers.insert("X-Scope-OrgID", value);
        }
        let form = [("query", query.to_owned()), ("time", json::seconds(at))];
        let answer: Answer<VectorData> = self.ask(&headers, "/api/v1/query", &form).await?;
        let points = answer.data.result.into_iter().filter_map(|series| {
            Some(VectorPoint {
                labels: std::sync::Arc::new(Labels::from_pairs(series.metric)),
                sample: sample(series.value)?,
            })
        });
        Ok(points.collect())
    }

    /// What upstream calls its version.
    ///
    /// # Errors
    /// What upstream or the way there said.
    pub async fn version(&self) -> Result<String, String> {
        let url = format!("{}/api/v1/status/buildinfo", self.url);
        let answer = self.client.get(url).send().await.map_err(|error| format!("upstream cannot be asked: {error}"))?;
        let body = answer.bytes().await.map_err(|error| format!("upstream's answer broke off: {error}"))?;
        let info: serde_json::Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        Ok(info["data"]["version"].as_str().unwrap_or("unknown").to_owned())
    }

    async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        headers: &HeaderMap,
        path: &str,
        form: &[(&str, String)],
    ) -> Result<T, String> {
        let mut request = self.client.post(format!("{}{path}", self.url));
        for (name, value) in headers {
            let own = matches!(*name, header::CONTENT_TYPE | header::CONTENT_ENCODING | header::ACCEPT);
            if !own && !HOP_BY_HOP.contains(&name.as_str()) {
                request = request.header(name, value);
            }
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(encode_form(form));
        let answer = request.send().await.map_err(|error| format!("upstream cannot be asked: {error}"))?;
        let status = answer.status();
        let length = answer.content_length().unwrap_or_default();
        if length > ANSWER_BYTES_MAX as u64 {
            return Err(format!("upstream's answer of {length} bytes is larger than {ANSWER_BYTES_MAX}"));
        }
        let body = answer.bytes().await.map_err(|error| format!("upstream's answer broke off: {error}"))?;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            return Err(format!("upstream answered {status}: {}", text.chars().take(300).collect::<String>()));
        }
        serde_json::from_slice(&body).map_err(|error| format!("upstream's answer cannot be read: {error}"))
    }
}

/// Matrix and annotations of an upstream answer.
#[derive(Debug, Default)]
pub struct RangeAnswer {
    pub series: Vec<MatrixSeries>,
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
}

#[derive(Deserialize)]
struct Answer<D> {
    data: D,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Deserialize)]
struct MatrixData {
    result: Vec<MatrixOf>,
}

#[derive(Deserialize)]
struct MatrixOf {
    metric: std::collections::BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

#[derive(Deserialize)]
struct VectorData {
    result: Vec<VectorOf>,
}

#[derive(Deserialize)]
struct VectorOf {
    metric: std::collections::BTreeMap<String, String>,
    value: (f64, String),
}

fn sample((t, v): (f64, String)) -> Option<Sample> {
    let v = match v.as_str() {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().ok()?,
    };
    Some(Sample { t: Timestamp::from_seconds(t)?, v })
}

/// A form body.
pub fn encode_form(pairs: &[(&str, String)]) -> String {
    let encoded = pairs.iter().map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)));
    encoded.collect::<Vec<_>>().join("&")
}

fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn passed_on(answer: reqwest::Response) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    for (name, value) in answer.headers() {
        // The client library has undone the encoding, and the length with it.
        if !HOP_BY_HOP.contains(&name.as_str()) && *name != header::CONTENT_ENCODING {
            response.headers_mut().append(name, value.clone());
        }
    }
    *response.body_mut() = Body::from_stream(answer.bytes_stream());
    response
}

fn unreachable_answer(error: &reqwest::Error) -> Response {
    let message = format!("upstream cannot be reached: {error}; check upstream.url and that it runs");
    if error.is_timeout() {
        return json::error(StatusCode::SERVICE_UNAVAILABLE, "timeout", &message);
    }
    json::error(StatusCode::BAD_GATEWAY, "unavailable", &message).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded_so_that_they_decode_to_the_same() {
        let form = [("query", "sum(rate(x{a=\"b&c\"}[5m])) + 1%é".to_owned()), ("step", "15".to_owned())];
        let params = super::super::params::Params::parse("", encode_form(&form).as_bytes());
        assert_eq!(params.get("query"), Some(form[0].1.as_str()));
        assert_eq!(params.get("step"), Some("15"));
    }

    #[test]
    fn bad_urls_are_refused_with_a_remedy() {
        let new = |url| Upstream::new(url, Duration::from_secs(1), &[]).map(|_| ());
        assert!(new("http://127.0.0.1:9090/").is_ok());
        assert!(new("127.0.0.1:9090").is_err());
        assert!(new("ftp://x").unwrap_err().contains("write it like"));
    }
}
