//! What can be wrong with bytes from outside, and where.

use std::fmt;

/// Why bytes could not be read, and at which of them. One pointer wide, so that decoders return it cheaply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireError(Box<Detail>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Detail {
    offset: usize,
    problem: Problem,
}

impl WireError {
    #[cold]
    pub(super) fn new(offset: usize, problem: Problem) -> WireError {
        WireError(Box::new(Detail { offset, problem }))
    }

    /// The byte at which reading stopped, counted from the beginning of what was given to the decoder.
    pub fn offset(&self) -> usize {
        self.0.offset
    }

    /// What is wrong.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }
}

/// Of the whole.
impl From<Problem> for WireError {
    fn from(problem: Problem) -> WireError {
        WireError::new(0, problem)
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.0.problem, self.0.offset)
    }
}

impl std::error::Error for WireError {}

/// What is wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("the message ends in the middle of a number")]
    Truncated,
    #[error("a number is longer than 64 bits")]
    VarintTooLong,
    #[error("{key} is not the key of a field")]
    KeyInvalid { key: u64 },
    #[error("field {field} is of wire type {wire_type}, which does not exist")]
    WireTypeUnknown { field: u32, wire_type: u32 },
    #[error("field {field} is of wire type {wire_type}, which is not the one it must have")]
    WireTypeWrong { field: u32, wire_type: u32 },
    #[error("field {field} is a group; groups are not read")]
    Group { field: u32 },
    #[error("a field claims {claimed} bytes where {left} are left")]
    LengthTooLong { claimed: u64, left: usize },
    #[error("a string is not UTF-8")]
    NotUtf8,
    #[error("more than {max} {what}; split the request")]
    TooMany { what: &'static str, max: usize },
    #[error("field {field} belongs to a {belongs_to} message; the Content-Type does not say what the body is")]
    OtherProtocol { field: u32, belongs_to: &'static str },
    #[error("no field of remote write is in it")]
    NoRemoteWrite,
    #[error("the content type names {proto:?}, which is no remote write")]
    ProtoUnknown { proto: String },
    #[error("the message is empty")]
    Empty,
    #[error("not a sample in JSON: {0}")]
    Json(String),
    #[error("the first symbol is not the empty string")]
    FirstSymbolNotEmpty,
    #[error("{count} label references, but they come in pairs of name and value")]
    ReferencesOdd { count: usize },
    #[error("a label refers to symbol {reference} of {symbols}")]
    ReferenceOutOfRange { reference: u32, symbols: usize },
    #[error("not snappy's block format: {0}")]
    Snappy(String),
    #[error(
        "the body decompresses to {claimed} bytes, more than the {max} allowed; send smaller requests or raise the limit"
    )]
    TooLarge { claimed: u64, max: usize },
    #[error("the names and values of labels take more than {max} bytes; send smaller requests")]
    SymbolsTooLarge { max: usize },
    #[error("not a record that Prefold wrote: it begins with no version of its format")]
    FormatMissing,
    #[error(
        "the record has format {found}, this version of Prefold reads up to {known}; upgrade the readers before the writers"
    )]
    FormatNewer { found: u32, known: u32 },
    #[error("a series has no id")]
    SeriesIdMissing,
    #[error("a series id has {len} bytes instead of 16")]
    SeriesIdLength { len: usize },
    #[error("the record is over, and {left} bytes are left")]
    BytesLeft { left: usize },
    #[error("{found} is not the number of {what}")]
    NumberOutOfRange { what: &'static str, found: u64 },
    #[error("a record's labels were interned in another symbol table than the one it was finished with")]
    SymbolForeign,
}
