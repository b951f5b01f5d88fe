//! Upstream: the Prometheus-compatible database behind the proxy.
//!
//! What no view answers goes there byte for byte, and its answer comes back byte for byte. Only the read paths of
//! Prometheus' API are forwarded.

mod answers;
mod contact;
mod form;
mod identity;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::json;
use crate::model::Timestamp;
use crate::query::VectorPoint;

pub use answers::RangeAnswer;
pub use contact::{Contact, Purpose};
pub use form::encode_form;
pub use identity::{Identity, Kind};

/// The most bytes of an upstream answer that is read here rather than passed through.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// A client of upstream.
#[derive(Debug)]
pub struct Upstream {
    client: reqwest::Client,
    /// Without a slash at its end.
    url: String,
    headers: Vec<(HeaderName, String)>,
    /// What it was configured to be; asked of it otherwise.
    told: Option<Kind>,
    identity: ArcSwapOption<Identity>,
    contact: Contact,
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
            .no_proxy()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("cannot make the upstream client: {error}"))?;
        let named = |(name, value): &(String, String)| {
            let parsed = name.parse().map_err(|_| format!("upstream.headers: {name:?} is not a header name"))?;
            Ok((parsed, value.clone()))
        };
        let headers = headers.iter().map(named).collect::<Result<_, String>>()?;
        let url = url.trim_end_matches('/').to_owned();
        let (identity, contact) = (ArcSwapOption::empty(), Contact::default());
        Ok(Upstream { client, url, headers, told: None, identity, contact })
    }

    /// The same, told what it is instead of asking it.
    #[must_use]
    pub fn told(self, kind: Option<Kind>) -> Upstream {
        let identity = kind.map(|kind| Arc::new(Identity { kind: Some(kind), version: None }));
        Upstream { told: kind, identity: ArcSwapOption::from(identity), ..self }
    }

    /// How many requests were made, and how the last ones went.
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// What it is, as far as that is known.
    pub fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.load_full()
    }

    /// Sends a request on and streams the answer back.
    pub async fn forward(&self, incoming: &Incoming, purpose: Purpose) -> Response {
        let mut request = self.client.request(incoming.method.clone(), format!("{}{}", self.url, incoming.path));
        for (name, value) in &incoming.headers {
            if !HOP_BY_HOP.contains(&name.as_str()) {
                request = request.header(name, value);
            }
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match self.send(request.body(incoming.body.clone()), purpose).await {
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
        let answer: answers::Answer<answers::MatrixData> = self.ask(headers, path, &form, Purpose::Stitched).await?;
        answer.range()
    }

    /// An instant query of our own that gives a vector.
    ///
    /// # Errors
    /// What upstream or the way there said.
    pub async fn instant(
        &self,
        tenant: &str,
        query: &str,
        at: Timestamp,
        purpose: Purpose,
    ) -> Result<Vec<VectorPoint>, String> {
        let mut headers = HeaderMap::new();
        if let (false, Ok(value)) = (tenant.is_empty(), tenant.parse()) {
            headers.insert("X-Scope-OrgID", value);
        }
        let form = [("query", query.to_owned()), ("time", json::seconds(at))];
        let answer: answers::Answer<answers::VectorData> = self.ask(&headers, "/api/v1/query", &form, purpose).await?;
        answer.vector()
    }

    /// Asks it what it is, and remembers that. What was told goes before what it says.
    ///
    /// # Errors
    /// What upstream or the way there said.
    pub async fn identify(&self) -> Result<Arc<Identity>, String> {
        let mut request = self.client.get(format!("{}/api/v1/status/buildinfo", self.url));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = self.send(request, Purpose::Identified).await;
        let answer = answer.map_err(|error| format!("upstream cannot be asked: {error}"))?;
        let body = read(answer).await?;
        let info: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| format!("its buildinfo is not JSON: {error}"))?;
        let found = Identity::of_build_info(&info["data"]);
        let identity = Arc::new(Identity { kind: self.told.or(found.kind), ..found });
        self.identity.store(Some(Arc::clone(&identity)));
        Ok(identity)
    }

    async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        headers: &HeaderMap,
        path: &str,
        form: &[(&str, String)],
        purpose: Purpose,
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
        let answer = self.send(request, purpose).await.map_err(|error| format!("upstream cannot be asked: {error}"))?;
        let status = answer.status();
        let body = read(answer).await?;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            return Err(format!("upstream answered {status}: {}", text.chars().take(300).collect::<String>()));
        }
        serde_json::from_slice(&body).map_err(|error| format!("upstream's answer cannot be read: {error}"))
    }

    async fn send(&self, request: reqwest::RequestBuilder, purpose: Purpose) -> Result<reqwest::Response, reqwest::Error> {
        self.contact.asked(purpose);
        let answer = request.send().await;
        self.contact.ended(answer.as_ref().err());
        answer
    }
}

/// A body that is read here, which has a bound whether or not its length was said before.
async fn read(mut answer: reqwest::Response) -> Result<Vec<u8>, String> {
    let too_large = || format!("upstream's answer is larger than {ANSWER_BYTES_MAX} bytes");
    if answer.content_length().unwrap_or_default() > ANSWER_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > ANSWER_BYTES_MAX => return Err(too_large()),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(format!("upstream's answer broke off: {error}")),
        }
    }
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
    fn bad_urls_are_refused_with_a_remedy() {
        let new = |url| Upstream::new(url, Duration::from_secs(1), &[]).map(|_| ());
        assert!(new("http://127.0.0.1:9090/").is_ok());
        assert!(new("127.0.0.1:9090").is_err());
        assert!(new("ftp://x").unwrap_err().contains("write it like"));
    }
}
