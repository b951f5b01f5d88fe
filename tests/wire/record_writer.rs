//! What a writer of records keeps apart: tables, records begun and not finished, formats.

use prefold::wire::Problem;
use prefold::wire::proto::record as proto;
use prefold::wire::record::{RecordWriter, RefusedSeries, SymbolTable, encode_record};
use prost::Message;

use super::record::{check, example, ours};

/// An older reader would take the labels told for all there are, so it must not read the record; the next one it may.
#[test]
fn labels_that_are_not_told_make_a_record_of_format_2() {
    let table = SymbolTable::new(1 << 20);
    let mut writer = RecordWriter::new();
    let interned = table.intern_labels(&example()[0].0).unwrap();
    let (labels, untold) = (interned.ids(&table).unwrap(), [table.intern("le").unwrap(), table.intern("").unwrap()]);
    writer.refusal(&RefusedSeries { labels, untold: &untold, timestamps: &[5, 7], reason: "too-many-labels" });
    writer.refusal(&RefusedSeries { untold: &untold[1..], reason: "too-many-labels", ..RefusedSeries::default() });
    let untold = writer.finish(&table).unwrap();
    writer.refusal(&RefusedSeries { labels, reason: "native-histogram", ..RefusedSeries::default() });
    let told = writer.finish(&table).unwrap();
    let format = |bytes: &[u8]| proto::Record::decode(bytes).unwrap().format_version;
    assert_eq!((format(&untold), format(&told)), (2, 1));
    check(&untold);
    let read = ours(&untold).unwrap().refusals;
    assert_eq!((read[0].labels.as_ref(), &*read[0].timestamps), (Some(&example()[0].0), &[5, 7][..]));
    assert_eq!(read[0].untold, Some(vec!["le".to_owned(), String::new()]));
    assert_eq!((read[1].untold.as_deref(), read[1].whole_body), (Some(&[String::new()][..]), false));
    assert!(!ours(&told).unwrap().refusals[0].whole_body);
}

#[test]
fn labels_of_another_table_are_never_written() {
    let (small, large) = (SymbolTable::new(1 << 20), SymbolTable::new(1 << 20));
    large.intern("something first").unwrap();
    let (labels, samples) = &example()[0];
    let interned = large.intern_labels(labels).unwrap();
    assert_eq!(interned.ids(&small), None);
    let mut writer = RecordWriter::new();
    writer.series(labels.series_id(""), interned.ids(&large).unwrap(), samples, None);
    assert_eq!(*writer.finish(&small).unwrap_err().problem(), Problem::SymbolForeign);
    writer.series(labels.series_id(""), interned.ids(&large).unwrap(), samples, None);
    assert_eq!(ours(&writer.finish(&large).unwrap()).unwrap().series[0].labels.as_ref(), Some(labels));
}

#[test]
fn what_was_begun_and_not_finished_leaves_no_trace() {
    let table = SymbolTable::new(1 << 20);
    let (labels, samples) = &example()[0];
    let interned = table.intern_labels(labels).unwrap();
    let mut writer = RecordWriter::new();
    writer.begin("a", "b");
    writer.series(labels.series_id("a"), interned.ids(&table).unwrap(), samples, None);
    writer.refusal(&RefusedSeries { reason: "late", ..RefusedSeries::default() });
    writer.begin("c", "d");
    assert_eq!(writer.finish(&table).unwrap(), encode_record("c", "d", &[]));
}
