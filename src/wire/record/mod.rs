//! The records of our log "samples": a remote write 2.0 request, and in fields that its readers skip, what a request
//! leaves to its surroundings.
//!
//! Records are what Prefold reads and writes most of. A writer caches the labels of the series it knows as numbers of a
//! [`SymbolTable`], so that writing a series again looks up no string; a reader knows a series by its id, and touches
//! labels only of one it has not seen.

mod reader;
mod refusal;
mod symbols;
mod writer;

pub use reader::{Record, RecordBuffers, RecordSeries};
pub use refusal::{RecordRefusal, RefusedSeries};
pub use symbols::{InternedLabels, Interner, SymbolId, SymbolTable, SymbolTableRead, TableFull};
pub use writer::{RecordWriter, encode_record};

use super::reader::{DELIMITED, VARINT, key};

/// The newest format that this version reads. It writes the oldest in which nothing of a record is misread.
pub const FORMAT_VERSION: u32 = 2;

/// The format of records in which every refusal tells all its labels.
const FORMAT_OF_ALL_LABELS: u32 = 1;

const FORMAT: u32 = key(100, VARINT);
const TENANT: u32 = key(101, DELIMITED);
const SENDER: u32 = key(102, DELIMITED);
const REFUSAL: u32 = key(103, DELIMITED);

/// `series_id` of a series.
const SERIES_ID: u32 = key(100, DELIMITED);

/// `timestamps` of a refusal, packed.
const TIMESTAMPS: u32 = key(2, DELIMITED);
/// `timestamps` of a refusal, one by one.
const TIMESTAMP: u32 = key(2, VARINT);
const REASON: u32 = key(3, DELIMITED);
/// `untold_refs` of a refusal, packed.
const UNTOLD: u32 = key(4, DELIMITED);
/// `untold_refs` of a refusal, one by one.
const UNTOLD_ONE: u32 = key(4, VARINT);
