//! `POST /api/v1/write`: remote write 1.0 and 2.0.
//!
//! Headers are judged before the body. What is invalid gets 400 with the rest committed; no room or no fsync is 503 with
//! Retry-After, never 429; a 2.0 request learns how much was written in every answer.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use smol_str::SmolStr;

use super::body_budget::{BodiesFull, Held};
use super::gateway::{Gateway, Origin, Protocol, WriteError, Written};
use super::limits::RefusalReason;
use super::senders::NotAdmitted;
use crate::model::{TENANT_HEADER, TenantMalformed, tenant_of_header};

/// How requests are received.
#[derive(Clone, Debug)]
pub struct ReceiverOptions {
    /// The most bytes of a body, compressed and decompressed each.
    pub body_bytes_max: usize,
    /// The header that names the sender.
    pub sender_header: String,
    /// A body must arrive within this.
    pub body_timeout: std::time::Duration,
}

/// Receives remote-write requests.
pub struct Receiver {
    pub gateway: Arc<Gateway>,
    pub options: ReceiverOptions,
}

/// Seconds after which a refused sender should try again.
const RETRY_AFTER_SECONDS: &str = "5";

/// What is reserved for a body at most before its bytes have come: announcing is cheap.
const RESERVED_BYTES_MAX: usize = 1 << 20;

/// A request that was not taken.
struct Refused {
    status: StatusCode,
    reason: RefusalReason,
    message: String,
}

impl Receiver {
    /// Answers one request. `peer` is the address it came from.
    pub async fn write(&self, headers: &HeaderMap, peer: &str, body: Body) -> Response {
        let protocol = match protocol(headers) {
            Ok(protocol) => protocol,
            Err(refused) => return self.refused(refused, None),
        };
        match self.receive(headers, peer, protocol, body).await {
            Ok(written) => answer(protocol, &written),
            Err(refused) => self.refused(refused, Some(protocol)),
        }
    }

    async fn receive(&self, headers: &HeaderMap, peer: &str, protocol: Protocol, body: Body) -> Result<Written, Refused> {
        let malformed = |status, message: String| Refused { status, reason: RefusalReason::BodyMalformed, message };
        let bytes_max = self.options.body_bytes_max;
        let origin = self.origin(headers, peer).map_err(|malformed| Refused {
            status: StatusCode::BAD_REQUEST,
            reason: RefusalReason::TenantMalformed,
            message: malformed.to_string(),
        })?;
        let collected = tokio::time::timeout(self.options.body_timeout, self.collect(body)).await;
        // 503 where the sender should come again: after any other 4xx it would drop what it has.
        let late = || malformed(StatusCode::SERVICE_UNAVAILABLE, "the body did not arrive in time".to_owned());
        let (compressed, _held) = match collected.unwrap_or_else(|_| Err(late())) {
            Ok(collected) => collected,
            Err(refused) => {
                if refused.reason != RefusalReason::BodiesFull {
                    self.gateway.note_unreadable(&origin, refused.reason).await;
                }
                return Err(refused);
            }
        };
        self.gateway.write(&origin, protocol, &compressed, bytes_max).await.map_err(|error| match error {
            WriteError::Malformed(error) => malformed(StatusCode::BAD_REQUEST, format!("body-malformed: {error}")),
            WriteError::BodiesFull(error) => full(error),
            WriteError::NotAdmitted(error @ NotAdmitted::TooMany { .. }) => Refused {
                status: StatusCode::SERVICE_UNAVAILABLE,
                reason: RefusalReason::TooManySenders,
                message: error.to_string(),
            },
            WriteError::NotAdmitted(error @ NotAdmitted::TooLong { .. }) => {
                Refused { status: StatusCode::BAD_REQUEST, reason: RefusalReason::OriginTooLong, message: error.to_string() }
            }
            WriteError::Append(error) if error.retryable() => Refused {
                status: StatusCode::SERVICE_UNAVAILABLE,
                reason: RefusalReason::LogUnavailable,
                message: error.to_string(),
            },
            WriteError::Append(error) => {
                Refused { status: StatusCode::BAD_REQUEST, reason: RefusalReason::BodyTooLarge, message: error.to_string() }
            }
        })
    }

    /// The body, with the bytes that it holds.
    async fn collect(&self, body: Body) -> Result<(Vec<u8>, Held), Refused> {
        let bytes_max = self.options.body_bytes_max;
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let (mut collected, mut held) = (Vec::new(), self.gateway.bodies.hold());
        let mut stream = body.into_data_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| Refused {
                status: StatusCode::BAD_REQUEST,
                reason: RefusalReason::BodyMalformed,
                message: format!("the body broke off: {error}"),
            })?;
            if collected.len() + chunk.len() > bytes_max {
                return Err(Refused {
                    status: StatusCode::PAYLOAD_TOO_LARGE,
                    reason: RefusalReason::BodyTooLarge,
                    message: format!(
                        "the body is larger than ingest.body_bytes_max ({bytes_max} bytes); send smaller requests"
                    ),
                });
            }
            let (needed, had) = (collected.len() + chunk.len(), collected.capacity());
            if needed > had {
                let capacity = needed.max(2 * had).max(announced.min(RESERVED_BYTES_MAX)).min(bytes_max);
                held.grow(capacity - had).map_err(full)?;
                collected.reserve_exact(capacity - collected.len());
            }
            collected.extend_from_slice(&chunk);
        }
        Ok((collected, held))
    }

    fn origin(&self, headers: &HeaderMap, peer: &str) -> Result<Origin, TenantMalformed> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
        let tenant = tenant_of_header(headers.get(TENANT_HEADER).map(HeaderValue::as_bytes))?;
        let named = text(&self.options.sender_header);
        let forwarded = text("X-Forwarded-For").and_then(|list| list.split(',').next()).map(str::trim);
        let sender = SmolStr::from(named.or(forwarded).unwrap_or(peer));
        Ok(Origin { tenant, sender, named: named.is_some() })
    }

    fn refused(&self, refused: Refused, protocol: Option<Protocol>) -> Response {
        self.gateway.counters().refuse(refused.reason, 1);
        let mut response = (refused.status, format!("{}\n", refused.message)).into_response();
        if refused.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        if protocol == Some(Protocol::V2) {
            written_headers(&mut response, 0);
        }
        response
    }
}

fn full(error: BodiesFull) -> Refused {
    let (status, reason) = (StatusCode::SERVICE_UNAVAILABLE, RefusalReason::BodiesFull);
    Refused { status, reason, message: error.to_string() }
}

/// Which protocol the headers announce; missing ones mean 1.0 and snappy, as for Prometheus.
fn protocol(headers: &HeaderMap) -> Result<Protocol, Refused> {
    let unsupported = |reason, message: String| Refused { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, reason, message };
    let text = |name| headers.get(name).map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let encoding = text(header::CONTENT_ENCODING).unwrap_or_else(|| "snappy".to_owned());
    let content_type = text(header::CONTENT_TYPE).unwrap_or_else(|| "application/x-protobuf".to_owned());
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/x-protobuf") {
        let message = format!("content-type: {content_type:?} is not application/x-protobuf");
        return Err(unsupported(RefusalReason::ContentType, message));
    }
    let protocol = match Protocol::of_content_type(&content_type) {
        Ok(named) => named.unwrap_or(Protocol::V1),
        Err(other) => {
            let message = format!(
                "content-type: proto={other} is neither prometheus.WriteRequest (1.0) nor io.prometheus.write.v2.Request (2.0)"
            );
            return Err(unsupported(RefusalReason::ContentType, message));
        }
    };
    if !encoding.eq_ignore_ascii_case("snappy") {
        let message = format!("content-encoding: {encoding:?} is not snappy");
        return Err(unsupported(RefusalReason::ContentEncoding, message));
    }
    Ok(protocol)
}

fn answer(protocol: Protocol, written: &Written) -> Response {
    let mut response = match written.refused.is_empty() {
        true => StatusCode::NO_CONTENT.into_response(),
        false => (StatusCode::BAD_REQUEST, partial_write(written)).into_response(),
    };
    if protocol == Protocol::V2 {
        written_headers(&mut response, written.samples);
    }
    response
}

fn partial_write(written: &Written) -> String {
    let refused: Vec<String> = written.refused.iter().map(|(reason, count)| format!("{count} x {reason}")).collect();
    format!("{} samples written; refused: {}\n", written.samples, refused.join("; "))
}

fn written_headers(response: &mut Response, samples: u64) {
    for (name, count) in [
        ("x-prometheus-remote-write-samples-written", samples),
        ("x-prometheus-remote-write-histograms-written", 0),
        ("x-prometheus-remote-write-exemplars-written", 0),
    ] {
        response.headers_mut().insert(name, HeaderValue::from(count));
    }
}
