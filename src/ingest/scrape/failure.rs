//! Why a scrape failed: one word for the metrics, and a sentence for the status page and the log.

use std::fmt;

use crate::ingest::exposition::ExpositionError;

/// One line a reason: its slug, and what it means.
macro_rules! failure_reasons {
    ($($(#[doc = $doc:literal])* $reason:ident: $slug:literal;)*) => {
        /// The label `reason` of `prefold_scrapes_failed_total`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum FailureReason {
            $($(#[doc = $doc])* $reason,)*
        }

        impl FailureReason {
            pub const ALL: &[FailureReason] = &[$(FailureReason::$reason,)*];

            pub fn slug(self) -> &'static str {
                match self {
                    $(FailureReason::$reason => $slug,)*
                }
            }
        }
    };
}

failure_reasons! {
    /// No connection: the name, the address, or TLS.
    Connect: "connect";
    /// No whole answer within `scrape_timeout`.
    Timeout: "timeout";
    /// The exchange broke off, or was no HTTP.
    Transfer: "transfer";
    /// A status other than 200.
    HttpStatus: "http-status";
    /// A Content-Type that is not read here.
    ContentType: "content-type";
    /// More bytes than `body_size_limit`.
    BodyTooLarge: "body-too-large";
    /// A body against its format.
    BodyMalformed: "body-malformed";
    /// More samples, more labels or longer ones than the limits of the job or of the node.
    BeyondLimits: "beyond-limits";
}

/// A scrape that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScrapeFailure {
    pub reason: FailureReason,
    /// What happened, with what the target or the parser said.
    pub text: String,
}

impl ScrapeFailure {
    pub fn new(reason: FailureReason, text: impl Into<String>) -> ScrapeFailure {
        ScrapeFailure { reason, text: text.into() }
    }
}

impl fmt::Display for ScrapeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<ExpositionError> for ScrapeFailure {
    fn from(error: ExpositionError) -> ScrapeFailure {
        let reason = if error.beyond_limits { FailureReason::BeyondLimits } else { FailureReason::BodyMalformed };
        ScrapeFailure::new(reason, error.to_string())
    }
}

/// The client's error with what caused it; its own text is only "error sending request".
impl From<reqwest::Error> for ScrapeFailure {
    fn from(error: reqwest::Error) -> ScrapeFailure {
        let reason = match () {
            () if error.is_connect() => FailureReason::Connect,
            () if error.is_decode() => FailureReason::BodyMalformed,
            () => FailureReason::Transfer,
        };
        let error = error.without_url();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        ScrapeFailure { reason, text }
    }
}
