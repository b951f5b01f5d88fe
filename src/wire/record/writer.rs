//! Writes records of our log.
//!
//! A record numbers its own strings, from 0. Going from a table's number to the record's is a look-up in an array, not in
//! a hash table: the array is as long as the table and is never cleared, because each entry says which record it is of.
//! Of a table of more than two million symbols, those beyond are looked up in a hash table, which bounds the array.

use std::collections::HashMap;

use super::refusal::RefusedSeries;
use super::symbols::{SymbolId, SymbolTable};
use super::{FORMAT, FORMAT_OF_ALL_LABELS, FORMAT_VERSION, REASON, REFUSAL, SENDER, SERIES_ID, TENANT, TIMESTAMPS, UNTOLD};
use crate::model::{Labels, Sample, SeriesId};
use crate::wire::encode::{MessageSymbols, put_bytes, put_sample, put_varint, sample_len, varint_len};
use crate::wire::error::{Problem, WireError};
use crate::wire::remote_write_v2::{REFERENCES, SERIES};

/// Where in a record its format stands, one byte: first of all, behind a key of two bytes.
const FORMAT_AT: usize = 2;

/// Symbols of a table whose numbers are found in an array.
const BY_SYMBOL_MAX: usize = 1 << 21;

/// Bytes of the field `series_id`: a two-byte key, the length, the id.
const ID_FIELD_LEN: usize = 19;

/// Writes one record after another, using its buffers again. They shrink never: they are as long as the longest record
/// written, and eight bytes for each symbol of the table, at most 16 MiB. Keep writers, within bounds: a new one pays for its
/// buffers with its first record.
pub struct RecordWriter {
    numbers: RecordNumbers,
    /// Fields 100 to 102.
    head: Vec<u8>,
    refusals: Vec<u8>,
    series: Vec<u8>,
    /// The fields `symbols`, of as many of the record's symbols as `gathered` says.
    symbols: Vec<u8>,
    gathered: usize,
    /// A symbol that the table did not have: the record cannot be finished.
    foreign: bool,
    /// Whether a refusal does not tell all its labels, so that older readers must not read the record.
    untold: bool,
    /// The packed label references of the series being written.
    references: Vec<u8>,
}

/// The record's numbers of a table's symbols.
#[derive(Default)]
struct RecordNumbers {
    /// By [`SymbolId`]. An entry holds for the record of the same epoch.
    by_symbol: Vec<Numbered>,
    epoch: u32,
    /// Of this record, the numbers' varints of symbols that `by_symbol` has no place for.
    beyond: HashMap<SymbolId, u32, foldhash::fast::RandomState>,
    /// The other way: by the record's number.
    symbols: Vec<SymbolId>,
}

#[derive(Clone, Copy, Default)]
struct Numbered {
    epoch: u32,
    /// The number's varint, its first byte lowest: it is written as it stands.
    varint: u32,
}

impl Default for RecordWriter {
    fn default() -> RecordWriter {
        RecordWriter::new()
    }
}

impl RecordWriter {
    /// A writer that stands at the beginning of a record of tenant "" and sender "".
    pub fn new() -> RecordWriter {
        let mut writer = RecordWriter {
            numbers: RecordNumbers::default(),
            head: Vec::new(),
            refusals: Vec::new(),
            series: Vec::new(),
            symbols: Vec::new(),
            gathered: 0,
            foreign: false,
            untold: false,
            references: Vec::new(),
        };
        writer.begin("", "");
        writer
    }

    /// Begins a record; what was not finished is forgotten.
    pub fn begin(&mut self, tenant: &str, sender: &str) {
        self.head.clear();
        put_head(&mut self.head, tenant, sender);
        self.clear();
    }

    fn clear(&mut self) {
        self.numbers.clear();
        self.refusals.clear();
        self.series.clear();
        self.symbols.clear();
        self.gathered = 0;
        self.foreign = false;
        self.untold = false;
    }

    /// Adds a series.
    ///
    /// - **Labels are the series'**: names and values by turns, sorted by name, whose hash is `id`; all of one record are of
    ///   the table it is finished with. Not checked here; [`InternedLabels`](super::InternedLabels) gives no others.
    /// - **A start timestamp for each sample**, when there are any; one that is missing is written as not known.
    pub fn series(&mut self, id: SeriesId, labels: &[SymbolId], samples: &[Sample], start_timestamps: Option<&[i64]>) {
        debug_assert!(labels.len().is_multiple_of(2), "labels are the series': pairs of name and value");
        let references_len = self.encode_references(labels);
        let starts = start_timestamps.unwrap_or_default();
        put_series_head(&mut self.series, id, samples, starts, references_len);
        self.series.extend_from_slice(&self.references[..references_len]);
    }

    /// Adds a refusal. Its symbols are of the table that the record is finished with.
    pub fn refusal(&mut self, refused: &RefusedSeries<'_>) {
        let mut body = Vec::new();
        self.put_references(&mut body, REFERENCES, refused.labels);
        if !refused.timestamps.is_empty() {
            let mut packed = Vec::new();
            refused.timestamps.iter().for_each(|t| put_varint(&mut packed, *t as u64));
            put_bytes(&mut body, TIMESTAMPS, &packed);
        }
        put_bytes(&mut body, REASON, refused.reason.as_bytes());
        self.put_references(&mut body, UNTOLD, refused.untold);
        self.untold |= !refused.untold.is_empty();
        put_bytes(&mut self.refusals, REFUSAL, &body);
    }

    fn put_references(&mut self, body: &mut Vec<u8>, field: u32, symbols: &[SymbolId]) {
        if !symbols.is_empty() {
            let len = self.encode_references(symbols);
            put_bytes(body, field, &self.references[..len]);
        }
    }

    /// The memory of its buffers.
    pub fn memory_bytes(&self) -> usize {
        let buffers = [&self.head, &self.refusals, &self.series, &self.symbols, &self.references];
        let numbers = &self.numbers;
        buffers.iter().map(|buffer| buffer.capacity()).sum::<usize>()
            + numbers.by_symbol.capacity() * size_of::<Numbered>()
            + (numbers.symbols.capacity() + 4 * numbers.beyond.capacity()) * size_of::<SymbolId>()
    }

    /// How many bytes the record would have if it were finished now.
    pub fn len_bytes(&mut self, symbols: &SymbolTable) -> usize {
        self.gather(symbols);
        self.head.len() + self.refusals.len() + self.symbols.len() + self.series.len()
    }

    /// The record. The writer then stands at the beginning of the next one, of the same tenant and sender.
    ///
    /// # Errors
    /// [`Problem::SymbolForeign`] when labels were not of this table; the record is then lost.
    pub fn finish(&mut self, symbols: &SymbolTable) -> Result<Vec<u8>, WireError> {
        let mut record = Vec::with_capacity(self.len_bytes(symbols));
        for part in [&self.head, &self.refusals, &self.symbols, &self.series] {
            record.extend_from_slice(part);
        }
        if self.untold {
            record[FORMAT_AT] = FORMAT_VERSION as u8;
        }
        let foreign = self.foreign;
        self.clear();
        if foreign { Err(WireError::new(0, Problem::SymbolForeign)) } else { Ok(record) }
    }

    /// Packs label references into `self.references` and gives their length.
    fn encode_references(&mut self, labels: &[SymbolId]) -> usize {
        let len_max = 4 * labels.len();
        if self.references.len() < len_max {
            self.references.resize(len_max, 0);
        }
        let mut at = 0;
        for &symbol in labels {
            let varint = self.numbers.varint(symbol);
            // Four bytes each time, of which the next one overwrites what is too many: no branch on the length.
            self.references[at..at + 4].copy_from_slice(&varint.to_le_bytes());
            at += word_varint_len(varint);
        }
        at
    }

    /// Copies the fields of symbols that are new since the last time.
    fn gather(&mut self, symbols: &SymbolTable) {
        if self.gathered == self.numbers.symbols.len() {
            return;
        }
        let table = symbols.read();
        for &symbol in &self.numbers.symbols[self.gathered..] {
            match table.encoded(symbol) {
                Some(field) => self.symbols.extend_from_slice(field),
                None => self.foreign = true,
            }
        }
        self.gathered = self.numbers.symbols.len();
    }
}

impl RecordNumbers {
    /// Forgets all numbers but the empty string's, which is 0 in every record.
    fn clear(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.by_symbol.clear();
            self.epoch = 1;
        }
        self.symbols.clear();
        self.beyond.clear();
        self.add(SymbolId::EMPTY);
    }

    #[inline]
    fn varint(&mut self, symbol: SymbolId) -> u32 {
        match self.by_symbol.get(symbol.0 as usize) {
            Some(numbered) if numbered.epoch == self.epoch => numbered.varint,
            _ => self.rare_varint(symbol),
        }
    }

    /// Of a symbol that is new in the record, or far up in the table.
    #[cold]
    fn rare_varint(&mut self, symbol: SymbolId) -> u32 {
        match self.beyond.get(&symbol) {
            Some(varint) => *varint,
            None => self.add(symbol),
        }
    }

    #[cold]
    fn add(&mut self, symbol: SymbolId) -> u32 {
        let (at, varint) = (symbol.0 as usize, word_varint(self.symbols.len() as u32));
        self.symbols.push(symbol);
        if at >= BY_SYMBOL_MAX {
            self.beyond.insert(symbol, varint);
            return varint;
        }
        if at >= self.by_symbol.len() {
            self.by_symbol.resize((at + 1).next_power_of_two(), Numbered::default());
        }
        self.by_symbol[at] = Numbered { epoch: self.epoch, varint };
        varint
    }
}

/// The varint of a number below 2^28 as a little-endian word.
fn word_varint(number: u32) -> u32 {
    debug_assert!(number < 1 << 28, "a record numbers no more symbols than a table");
    let groups = [number & 0x7f, number >> 7 & 0x7f, number >> 14 & 0x7f, number >> 21 & 0x7f];
    let last = varint_len(u64::from(number)) - 1;
    groups.iter().enumerate().fold(0, |word, (index, group)| word | (group | u32::from(index < last) << 7) << (8 * index))
}

/// How many bytes of such a word are the varint: up to the first that does not say "another byte follows".
#[inline]
fn word_varint_len(word: u32) -> usize {
    (!word & 0x8080_8080).trailing_zeros() as usize / 8 + 1
}

fn put_head(out: &mut Vec<u8>, tenant: &str, sender: &str) {
    put_varint(out, u64::from(FORMAT));
    debug_assert_eq!(out.len(), FORMAT_AT, "the format is patched there");
    put_varint(out, u64::from(FORMAT_OF_ALL_LABELS));
    put_bytes(out, TENANT, tenant.as_bytes());
    put_bytes(out, SENDER, sender.as_bytes());
}

/// A field `timeseries` up to where its packed label references stand: the id, the samples, the references' length.
#[inline]
fn put_series_head(out: &mut Vec<u8>, id: SeriesId, samples: &[Sample], starts: &[i64], references_len: usize) {
    let start = |index: usize| starts.get(index).copied().unwrap_or(0);
    let samples_len: usize = samples.iter().enumerate().map(|(index, sample)| sample_len(sample, start(index))).sum();
    let references_field_len = 1 + varint_len(references_len as u64) + references_len;
    let body_len = ID_FIELD_LEN + samples_len + references_field_len;
    out.reserve(body_len + 16);
    out.push(SERIES as u8);
    put_varint(out, body_len as u64);
    let mut id_field = [0; ID_FIELD_LEN];
    id_field[..3].copy_from_slice(&[SERIES_ID as u8 | 0x80, (SERIES_ID >> 7) as u8, 16]);
    id_field[3..].copy_from_slice(&id.0.to_le_bytes());
    out.extend_from_slice(&id_field);
    for (index, sample) in samples.iter().enumerate() {
        put_sample(out, sample, start(index));
    }
    out.push(REFERENCES as u8);
    put_varint(out, references_len as u64);
}

/// One record of these series, their ids computed, for who has no table and writes few: scraper, imports, tests.
pub fn encode_record(tenant: &str, sender: &str, series: &[(Labels, Vec<Sample>)]) -> Vec<u8> {
    let mut record = Vec::new();
    put_head(&mut record, tenant, sender);
    let mut symbols = MessageSymbols::new();
    let mut encoded = Vec::new();
    for (labels, samples) in series {
        let references = symbols.references(labels);
        put_series_head(&mut encoded, labels.series_id(tenant), samples, &[], references.len());
        encoded.extend_from_slice(&references);
    }
    record.append(&mut symbols.encoded);
    record.append(&mut encoded);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_varints_are_varints() {
        for number in (0..28).flat_map(|bits| [(1 << bits) - 1, 1 << bits]).chain([(1 << 28) - 1]) {
            let mut varint = Vec::new();
            put_varint(&mut varint, u64::from(number));
            let word = word_varint(number);
            assert_eq!(word_varint_len(word), varint.len(), "{number}");
            assert_eq!(word.to_le_bytes()[..varint.len()], varint[..], "{number}");
        }
    }

    #[test]
    fn numbers_of_an_old_epoch_are_not_found_when_epochs_begin_again() {
        let mut numbers = RecordNumbers::default();
        numbers.clear();
        assert_eq!((numbers.varint(SymbolId(9)), numbers.varint(SymbolId(7)), numbers.varint(SymbolId(9))), (1, 2, 1));
        let far = SymbolId(BY_SYMBOL_MAX as u32);
        assert_eq!((numbers.varint(far), numbers.varint(SymbolId(9)), numbers.varint(far)), (3, 1, 3));
        assert_eq!(numbers.by_symbol.len(), 16, "what lies far up takes no place in the array");
        numbers.epoch = u32::MAX;
        numbers.clear();
        assert_eq!(numbers.varint(far), 1, "nor is it remembered from record to record");
        assert_eq!((numbers.epoch, numbers.varint(SymbolId(7)), numbers.varint(SymbolId::EMPTY)), (1, 2, 0));
    }
}
