//! The names of the store's files, and how each begins: what it is, and of which version of its format.

use super::error::StoreError;

/// The file that names the others.
pub const MANIFEST: &str = "MANIFEST";
/// The manifest that is being written.
pub const MANIFEST_NEW: &str = "MANIFEST.new";

/// The bytes before a file's content.
pub const HEADER_BYTES: usize = 8;

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    Manifest,
    Checkpoint,
    Wal,
    Block,
}

impl FileKind {
    /// The format written, and the newest that can be read. A change of stored bytes raises it.
    pub fn version(self) -> u8 {
        match self {
            FileKind::Manifest | FileKind::Checkpoint | FileKind::Wal | FileKind::Block => 1,
        }
    }

    fn letter(self) -> u8 {
        match self {
            FileKind::Manifest => b'M',
            FileKind::Checkpoint => b'C',
            FileKind::Wal => b'W',
            FileKind::Block => b'B',
        }
    }

    fn stem(self) -> &'static str {
        match self {
            FileKind::Manifest => "manifest-",
            FileKind::Checkpoint => "checkpoint-",
            FileKind::Wal => "wal-",
            FileKind::Block => "block-",
        }
    }

    pub fn name(self, number: u32) -> String {
        format!("{}{number:08}", self.stem())
    }

    /// The number of a file of this kind, by its name.
    pub fn number(self, name: &str) -> Option<u32> {
        name.strip_prefix(self.stem())?.parse().ok()
    }

    pub fn header(self) -> [u8; HEADER_BYTES] {
        [b'P', b'F', b'S', self.letter(), self.version(), 0, 0, 0]
    }

    /// Checks a file's first bytes.
    pub fn check_header(self, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let wrong = StoreError::corrupt(file, 0, "it does not begin as such a file does");
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Err(wrong) };
        let [b'P', b'F', b'S', letter, version, ..] = *header else { return Err(wrong) };
        if letter != self.letter() || version == 0 {
            return Err(wrong);
        }
        if version > self.version() {
            return Err(StoreError::NewerFormat { file: file.to_owned(), found: version, known: self.version() });
        }
        Ok(())
    }

    /// A whole file around a body: header, checksum, body.
    pub fn seal(self, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 4 + body.len());
        bytes.extend(self.header());
        bytes.extend(crc32fast::hash(body).to_le_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    /// The body of a sealed file.
    pub fn unseal<'a>(self, file: &str, bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
        self.check_header(file, bytes)?;
        let sealed = bytes.get(HEADER_BYTES..).and_then(<[u8]>::split_first_chunk::<4>);
        match sealed {
            Some((crc, body)) if u32::from_le_bytes(*crc) == crc32fast::hash(body) => Ok(body),
            _ => Err(StoreError::corrupt(file, HEADER_BYTES as u64, "its checksum is wrong")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_name_and_header() {
        assert_eq!(FileKind::Wal.name(7), "wal-00000007");
        assert_eq!(FileKind::Wal.number("wal-00000007"), Some(7));
        assert_eq!(FileKind::Block.number("wal-00000007"), None);
        let sealed = FileKind::Checkpoint.seal(b"abc");
        assert_eq!(FileKind::Checkpoint.unseal("f", &sealed).unwrap(), b"abc");
        assert!(matches!(FileKind::Manifest.unseal("f", &sealed), Err(StoreError::Corrupt { .. })));
        assert!(FileKind::Checkpoint.unseal("f", &sealed[..sealed.len() - 1]).is_err());
        let mut newer = sealed.clone();
        newer[4] = 9;
        let error = FileKind::Checkpoint.unseal("f", &newer).unwrap_err();
        assert!(error.to_string().contains("run a newer version"), "{error}");
    }
}
