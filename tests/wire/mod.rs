//! Bytes and the model, held against prost.
//!
//! What these tests can see: a message that prost reads and we do not, or read differently; a panic on any bytes; a size
//! from outside that is believed. What they cannot: a wrong idea of the protocol itself, since `proto/` is ours too; for
//! that there is the golden record.
//!
//! Where we refuse what prost accepts, on purpose, `stricter` in each file says so; everything else must be accepted with
//! equal content.

mod cluster;
mod cluster_golden;
mod message;
mod record;
mod record_writer;
mod remote_write_v1;
mod remote_write_v2;
mod snappy;

use crate::process::processes::corpus;
use prefold::model::Timestamp;
use prefold::wire::Histograms;
use proptest::prelude::*;

/// What is to be known of native histograms of these times.
fn histograms(times: impl Iterator<Item = i64> + Clone) -> Histograms {
    let at = |t: Option<i64>, none| t.map_or(none, Timestamp);
    Histograms {
        count: times.clone().count(),
        least: at(times.clone().min(), Timestamp::MAX),
        greatest: at(times.max(), Timestamp::MIN),
    }
}

/// Protobuf files of another kind: none is a message of ours, and none may harm.
fn foreign_messages() -> Vec<Vec<u8>> {
    let files = [
        "expositions/expfmt_protobuf/protobuf.pb",
        "expositions/expfmt_protobuf/protobuf-multimessage.pb",
        "expositions/telegraf_vectors/influxdata+telegraf/plugins/parsers/openmetrics/testcases/protobuf/input.bin",
        "expositions/telegraf_vectors/influxdata+telegraf/plugins/parsers/openmetrics/testcases/protobuf_infolabels/input.bin",
        "expositions/telegraf_vectors/influxdata+telegraf/plugins/parsers/prometheus/testcases/protobuf/input.bin",
        "vectors/snappy/baddata1.snappy",
        "vectors/snappy/baddata2.snappy",
        "vectors/snappy/baddata3.snappy",
    ];
    files.iter().filter_map(|file| corpus(file)).map(|path| std::fs::read(path).expect("a file of the corpora")).collect()
}

/// Every way of cutting a message short and of flipping one of its bits.
fn mutilated(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cut = (0..message.len()).map(|len| message[..len].to_vec());
    let flipped = (0..8 * message.len()).map(|bit| {
        let mut bytes = message.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    cut.chain(flipped)
}

/// A message with some of its bytes replaced.
fn damaged(message: &[u8], damage: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = message.to_vec();
    for (at, byte) in damage.iter().filter(|_| !message.is_empty()) {
        bytes[at.index(message.len())] = *byte;
    }
    bytes
}

fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
}

/// Texts of every length class of a varint, empty ones and text outside ASCII included.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z_]{1,12}", "\\PC{0,6}", "[a-z]{120,140}"]
}

/// Floats by their bits: staleness markers, NaNs and infinities among them.
fn value_bits() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(prefold::model::sample::STALE_NAN_BITS),
        any::<u64>(),
        (-1000i32..1000).prop_map(|n| (f64::from(n) / 8.0).to_bits())
    ]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), 1_700_000_000_000i64..1_800_000_000_000, any::<i64>()]
}
