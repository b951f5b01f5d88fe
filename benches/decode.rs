//! Decode: a remote-write 1.0 body of 5,000 series to label blocks, hashes and samples.
//!
//! Baseline: prost's generated decoder, which makes a String of every name and value.

use std::hint::black_box;

use prefold::cli::workload::Workload;
use prefold::model::Timestamp;
use prefold::wire::{proto, remote_write_v1, snappy};
use prost::Message;
use xxhash_rust::xxh3::xxh3_128;

use crate::{Scale, cpu, report};

const SERIES: usize = 5_000;

pub fn run(scale: Scale) {
    let workload = Workload { series: SERIES, start: Timestamp(1_700_000_000_000) };
    let series: Vec<_> = (0..SERIES).map(|n| (workload.labels(n), workload.samples(n, 1))).collect();
    let body = snappy::compress(&remote_write_v1::encode(&series));
    let rounds = (scale.series / 100).max(100);
    let began = cpu::own();
    for _ in 0..rounds / 10 {
        let decoded = snappy::decompress(&body, 1 << 26).expect("made here");
        black_box(proto::remote_write_v1::WriteRequest::decode(decoded.as_slice()).expect("made here"));
    }
    let baseline = (rounds / 10 * SERIES) as f64 / (cpu::own() - began).max(0.01);
    let began = cpu::own();
    for _ in 0..rounds {
        let decoded = snappy::decompress(&body, 1 << 26).expect("made here");
        let mut request = remote_write_v1::Request::new(&decoded);
        let mut buffer = Vec::new();
        while let Some(series) = request.next_series().expect("made here") {
            black_box((xxh3_128(series.labels.contiguous(&mut buffer).expect("made here")), series.samples[0]));
        }
    }
    report("decode", rounds * SERIES, (cpu::own() - began).max(0.01), ("prost", baseline));
}
