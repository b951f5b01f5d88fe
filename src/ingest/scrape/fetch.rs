//! One HTTP exchange with a target: the request Prometheus would send, and a bounded body.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING, USER_AGENT};
use reqwest::{Client, Response, Version};

use super::failure::{FailureReason, ScrapeFailure};
use super::target::Target;
use crate::ingest::exposition::Format;

/// OpenMetrics first, then the text format, then whatever there is, which is refused by its Content-Type.
const ACCEPTED: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                        application/openmetrics-text;version=0.0.1;q=0.5,\
                        text/plain;version=0.0.4;q=0.4,*/*;q=0.2";

const AGENT: &str = concat!("prefold/", env!("CARGO_PKG_VERSION"));

/// A target's answer.
pub struct Fetched {
    pub body: Vec<u8>,
    pub format: Format,
    /// Whether the transport said where the body ends; a connection that just closed may have cut it.
    pub body_is_whole: bool,
}

/// Asks a target within its timeout. The client brings TLS, redirects and gzip.
///
/// # Errors
/// What went wrong.
pub async fn fetch(client: &Client, target: &Target) -> Result<Fetched, ScrapeFailure> {
    let timeout_ms = target.config.timeout_ms;
    let timeout = Duration::from_millis(timeout_ms.unsigned_abs());
    match tokio::time::timeout(timeout, exchange(client, target)).await {
        Ok(result) => result,
        Err(_) => {
            let text = format!("no whole answer within the scrape_timeout of {} s", timeout_ms as f64 / 1000.0);
            Err(ScrapeFailure::new(FailureReason::Timeout, text))
        }
    }
}

async fn exchange(client: &Client, target: &Target) -> Result<Fetched, ScrapeFailure> {
    let request = client
        .get(target.url.clone())
        .header(ACCEPT, ACCEPTED)
        .header(USER_AGENT, AGENT)
        .header("X-Prometheus-Scrape-Timeout-Seconds", (target.config.timeout_ms as f64 / 1000.0).to_string());
    let response = request.send().await?;
    if response.status().as_u16() != 200 {
        let text = format!("server returned HTTP status {}", response.status());
        return Err(ScrapeFailure::new(FailureReason::HttpStatus, text));
    }
    let content_type = response.headers().get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let format = Format::from_content_type(content_type.as_deref(), target.config.fallback)
        .map_err(|text| ScrapeFailure::new(FailureReason::ContentType, text))?;
    let body_is_whole = ends_by_itself(response.version(), response.headers());
    let body = read_body(response, target.config.body_bytes_max).await?;
    Ok(Fetched { body, format, body_is_whole })
}

/// HTTP/1 without a length and without chunks ends a body by closing the connection. (A compressed body, whose length the
/// client takes away, is whole too; it only looks like this if the connection closes, and then loses a last line that has
/// no newline.)
fn ends_by_itself(version: Version, headers: &HeaderMap) -> bool {
    let closes = headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    let by_closing = version < Version::HTTP_11 || (version == Version::HTTP_11 && closes);
    !by_closing || headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
}

async fn read_body(mut response: Response, bytes_max: u64) -> Result<Vec<u8>, ScrapeFailure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if (body.len() + chunk.len()) as u64 > bytes_max {
            let text = format!("the body is larger than the body_size_limit of {bytes_max} bytes");
            return Err(ScrapeFailure::new(FailureReason::BodyTooLarge, text));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closing_connection_leaves_the_end_open() {
        for (version, headers, expected) in [
            (Version::HTTP_11, &[][..], true),
            (Version::HTTP_11, &[(CONNECTION, "close")], false),
            (Version::HTTP_11, &[(CONNECTION, "Close"), (CONTENT_LENGTH, "5")], true),
            (Version::HTTP_11, &[(CONNECTION, "close"), (TRANSFER_ENCODING, "chunked")], true),
            (Version::HTTP_10, &[], false),
            (Version::HTTP_10, &[(CONTENT_LENGTH, "5")], true),
            (Version::HTTP_2, &[], true),
        ] {
            let map = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
            assert_eq!(ends_by_itself(version, &map), expected, "{version:?} {headers:?}");
        }
    }
}
