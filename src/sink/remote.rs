//! The receiver at the other end: one request, and what its answer means (remote write's rules for senders).
//!
//! Taken is what was answered 2xx. What may be taken later, 5xx, 429 or no answer at all, is sent again. Whatever else is
//! answered is final. A receiver that does not know remote write 2.0 says 415, or takes the body for an empty request of
//! 1.0, which is seen by the headers that are missing then.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};

use super::options::{Protocol, ReadHeaders, SinkOptions};
use super::retry;
use crate::model::Timestamp;

const VERSION: &str = "X-Prometheus-Remote-Write-Version";
const SAMPLES_WRITTEN: &str = "X-Prometheus-Remote-Write-Samples-Written";

/// How much of an answer is read, and how much of that is told.
const ANSWER_BYTES_MAX: usize = 16 << 10;
const TOLD_CHARS_MAX: usize = 200;

/// A client of one receiver.
pub struct Remote {
    client: reqwest::Client,
    url: String,
    headers: ReadHeaders,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With how many samples the receiver says it has written, if it says so.
    Taken { written: Option<u64> },
    /// For ever.
    Refused { status: u16, reason: &'static str, said: String },
    /// It may be taken later; not before so long, if the receiver says so.
    Later { reason: &'static str, said: String, after: Option<Duration> },
    /// It does not know remote write 2.0.
    OtherProtocol { said: String },
}

impl Remote {
    /// # Errors
    /// When no client can be made.
    pub fn new(options: &SinkOptions) -> Result<Remote, String> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(options.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("cannot make a client: {error}"))?;
        Ok(Remote { client, url: options.url.clone(), headers: options.headers.clone() })
    }

    /// Sends a compressed body once.
    pub async fn send(&self, body: Vec<u8>, protocol: Protocol, now: Timestamp) -> Answer {
        let headers = match self.all_headers(protocol).await {
            Ok(headers) => headers,
            Err(said) => return Answer::Later { reason: "headers", said, after: None },
        };
        match self.client.post(&self.url).headers(headers).body(body).send().await {
            Ok(answer) => read(answer, protocol, now).await,
            Err(error) => {
                let reason = if error.is_timeout() { "timeout" } else { "unreachable" };
                Answer::Later { reason, said: causes(&error), after: None }
            }
        }
    }

    /// Ours, and those that were configured, which may be in files.
    async fn all_headers(&self, protocol: Protocol) -> Result<HeaderMap, String> {
        let read = self.headers.clone();
        let configured = tokio::task::spawn_blocking(move || read()).await.map_err(|error| error.to_string())??;
        let mut headers = HeaderMap::new();
        for (name, value) in configured {
            let parsed = HeaderName::try_from(&name).map_err(|_| format!("{name:?} is not the name of a header"))?;
            let value =
                HeaderValue::try_from(value).map_err(|_| format!("the value of {name} cannot be sent in a header"))?;
            headers.insert(parsed, value);
        }
        let (content_type, version) = match protocol {
            Protocol::V1 => ("application/x-protobuf", "0.1.0"),
            Protocol::V2 => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(
            HeaderName::from_bytes(VERSION.as_bytes()).map_err(|error| error.to_string())?,
            HeaderValue::from_static(version),
        );
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(concat!("prefold/", env!("CARGO_PKG_VERSION"))));
        Ok(headers)
    }
}

async fn read(answer: reqwest::Response, protocol: Protocol, now: Timestamp) -> Answer {
    let (status, headers) = (answer.status(), answer.headers().clone());
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let said = beginning(answer).await;
    if status.is_success() {
        let written = header(SAMPLES_WRITTEN).and_then(|text| text.trim().parse().ok());
        return match (protocol, written) {
            (Protocol::V2, None) => {
                let said = format!("it answered {status} and not how many samples it has written");
                Answer::OtherProtocol { said }
            }
            (_, written) => Answer::Taken { written },
        };
    }
    let said = if said.is_empty() { format!("it answered {status}") } else { format!("it answered {status}: {said}") };
    match status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE if protocol == Protocol::V2 => Answer::OtherProtocol { said },
        StatusCode::TOO_MANY_REQUESTS => {
            let after = header(RETRY_AFTER.as_str()).and_then(|text| retry::asked(text, now));
            Answer::Later { reason: "too-many-requests", said, after }
        }
        status if status.is_server_error() => {
            let after = header(RETRY_AFTER.as_str()).and_then(|text| retry::asked(text, now));
            Answer::Later { reason: "server-error", said, after }
        }
        status => Answer::Refused { status: status.as_u16(), reason: reason(status, &said), said },
    }
}

/// What kind of refusal it is, by the words that receivers have for it.
fn reason(status: StatusCode, said: &str) -> &'static str {
    let said = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| said.contains(words));
    match status {
        _ if has(&["out of order", "out-of-order"]) => "out-of-order",
        _ if has(&["duplicate sample"]) => "duplicate",
        _ if has(&["out of bounds", "too old", "too-old", "too far in the past"]) => "too-old",
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "not-allowed",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "no-receiver",
        StatusCode::PAYLOAD_TOO_LARGE => "too-large",
        _ => "refused",
    }
}

/// The first line of a body, of which no more is read than that takes.
async fn beginning(mut answer: reqwest::Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= ANSWER_BYTES_MAX {
            break;
        }
    }
    let text = String::from_utf8_lossy(&body);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(TOLD_CHARS_MAX).collect()
}

/// An error with what caused it, which is where the words are.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_names() {
        for (status, said, expected) in [
            (StatusCode::BAD_REQUEST, "it answered 400: out of order sample", "out-of-order"),
            (StatusCode::BAD_REQUEST, "duplicate sample for timestamp", "duplicate"),
            (StatusCode::BAD_REQUEST, "Out of bounds", "too-old"),
            (StatusCode::CONFLICT, "too old sample", "too-old"),
            (StatusCode::UNPROCESSABLE_ENTITY, "err-mimir-sample-timestamp-too-old", "too-old"),
            (StatusCode::BAD_REQUEST, "max-label-names-per-series", "refused"),
            (StatusCode::UNAUTHORIZED, "", "not-allowed"),
            (StatusCode::NOT_FOUND, "", "no-receiver"),
            (StatusCode::PAYLOAD_TOO_LARGE, "", "too-large"),
            (StatusCode::MOVED_PERMANENTLY, "", "refused"),
        ] {
            assert_eq!(reason(status, said), expected, "{said}");
        }
    }
}
