//! The strings of one record, each said once and referred to by its number. Number 0 is the empty string.

use hashbrown::HashMap;
use smol_str::SmolStr;

use crate::wire::encode::put_varint;
use crate::wire::error::{Problem, WireError};
use crate::wire::reader::Reader;

/// Being written.
#[derive(Default)]
pub(super) struct Strings {
    numbers: HashMap<SmolStr, u64>,
    encoded: Vec<u8>,
}

impl Strings {
    pub fn number(&mut self, text: &str) -> u64 {
        if text.is_empty() {
            return 0;
        }
        if let Some(known) = self.numbers.get(text) {
            return *known;
        }
        let number = self.numbers.len() as u64 + 1;
        put_varint(&mut self.encoded, text.len() as u64);
        self.encoded.extend_from_slice(text.as_bytes());
        self.numbers.insert(SmolStr::new(text), number);
        number
    }

    pub fn bytes(&self) -> usize {
        self.encoded.len()
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.numbers.len() as u64);
        out.extend_from_slice(&self.encoded);
    }
}

/// Being read. Each is made once, however often it is referred to.
pub(super) struct StringsOf<'a> {
    texts: Vec<(&'a str, SmolStr)>,
}

impl<'a> StringsOf<'a> {
    pub fn read(reader: &mut Reader<'a>) -> Result<StringsOf<'a>, WireError> {
        let count = super::read_count(reader, 1)?;
        let mut texts = Vec::with_capacity(count.min(1 << 16) + 1);
        texts.push(("", SmolStr::default()));
        for _ in 0..count {
            let text = reader.text()?;
            texts.push((text, SmolStr::new(text)));
        }
        Ok(StringsOf { texts })
    }

    /// The string of the number that is read next.
    pub fn read_one(&self, reader: &mut Reader<'_>) -> Result<SmolStr, WireError> {
        let number = reader.varint()?;
        match usize::try_from(number).ok().and_then(|number| self.texts.get(number)) {
            Some((_, text)) => Ok(text.clone()),
            None => reader.error(Problem::ReferenceOutOfRange {
                reference: u32::try_from(number).unwrap_or(u32::MAX),
                symbols: self.texts.len(),
            }),
        }
    }
}
