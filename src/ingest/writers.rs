//! The memory of record writers, used again by the next request.
//!
//! A writer has grown to the size of the symbol table it wrote with. When another table takes that one's place it begins
//! small again, so writers of the old one are let go.

use parking_lot::Mutex;

use crate::wire::record::{RecordWriter, SymbolTable};

/// Writers kept, and the bytes of all of them together.
const KEPT_MAX: usize = 64;
const KEPT_BYTES_MAX: usize = 256 << 20;

/// Writers nobody uses at the moment.
#[derive(Default)]
pub(super) struct Writers(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Of the table they wrote with.
    generation: u64,
    writers: Vec<RecordWriter>,
    bytes: usize,
}

impl Writers {
    /// One that wrote with this table before, or a new one.
    pub fn take(&self, table: &SymbolTable) -> RecordWriter {
        let mut kept = self.0.lock();
        if kept.generation != table.generation() {
            return RecordWriter::new();
        }
        let writer = kept.writers.pop().unwrap_or_default();
        kept.bytes = kept.bytes.saturating_sub(writer.memory_bytes());
        writer
    }

    pub fn give_back(&self, table: &SymbolTable, writer: RecordWriter) {
        let mut kept = self.0.lock();
        if kept.generation < table.generation() {
            *kept = Kept { generation: table.generation(), ..Kept::default() };
        }
        let bytes = writer.memory_bytes();
        let has_room = kept.writers.len() < KEPT_MAX && kept.bytes + bytes <= KEPT_BYTES_MAX;
        if has_room && kept.generation == table.generation() {
            kept.bytes += bytes;
            kept.writers.push(writer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Sample, Timestamp};

    fn written(table: &SymbolTable) -> RecordWriter {
        let mut writer = RecordWriter::new();
        let labels = Labels::from_pairs([("__name__", "a")]);
        let interned = table.intern_labels(&labels).unwrap();
        let sample = Sample { t: Timestamp(1), v: 1.0 };
        writer.series(labels.series_id(""), interned.ids(table).unwrap(), &[sample], None);
        writer.finish(table).unwrap();
        writer
    }

    #[test]
    fn writers_are_bounded_and_go_with_their_table() {
        let (old, new) = (SymbolTable::new(1 << 20), SymbolTable::new(1 << 20));
        let writers = Writers::default();
        let kept = || (writers.0.lock().writers.len(), writers.0.lock().bytes);
        (0..2 * KEPT_MAX).for_each(|_| writers.give_back(&old, written(&old)));
        let one = written(&old).memory_bytes();
        assert_eq!(kept(), (KEPT_MAX, KEPT_MAX * one));
        assert_eq!(writers.take(&old).memory_bytes(), one);
        assert_eq!(kept(), (KEPT_MAX - 1, (KEPT_MAX - 1) * one));
        assert!(writers.take(&new).memory_bytes() < one, "a new one");
        writers.give_back(&new, written(&new));
        assert_eq!(kept(), (1, one));
        writers.give_back(&old, written(&old));
        assert_eq!(kept(), (1, one), "one that began before the table was replaced");
    }
}
