//! A chunk: one piece of one group, compressed.
//!
//! A checksum, the place on the grid, a bit per slot if any is free, then each field by the codec that is smallest for
//! it. pco compresses floats best; whether it gives the very same bits back (NaNs have payloads) is checked on writing,
//! chunk by chunk, and bits are compressed as integers where it does not.
//!
//! Useful for stretches of a hundred points and more. Not useful for a handful: they are stored raw.

use pco::ChunkConfig;
use pco::standalone::{simple_compress, simple_decompress_into};

use super::encoding::{Input, Malformed, put_bytes, put_signed};
use super::head::Piece;

/// Below this many values compression only adds headers.
const COMPRESS_MIN: usize = 16;

/// How hard pco tries: 4 of 12 keeps writing at millions of points a second.
const PCO_LEVEL: usize = 4;

// The codecs of a field, as stored: append only.
const SAME: u8 = 0;
const RAW: u8 = 1;
const PCO_FLOATS: u8 = 2;
const PCO_BITS: u8 = 3;

pub fn encode(piece: &Piece, fields: usize) -> Vec<u8> {
    let mut out = vec![0; 4];
    put_signed(&mut out, piece.first());
    out.push(piece.slots());
    out.push(u8::from(!piece.is_full()));
    if !piece.is_full() {
        out.extend(piece.presence());
    }
    for values in piece.values.iter().take(fields) {
        encode_field(&mut out, values);
    }
    let crc = crc32fast::hash(&out[4..]);
    out[..4].copy_from_slice(&crc.to_le_bytes());
    out
}

fn encode_field(out: &mut Vec<u8>, values: &[f64]) {
    if let Some(first) = values.first().filter(|first| same_bits(values.iter(), std::iter::repeat(*first))) {
        out.push(SAME);
        out.extend(first.to_le_bytes());
        return;
    }
    match compress(values).filter(|(_, bytes)| bytes.len() + 2 < values.len() * 8) {
        Some((codec, bytes)) => {
            out.push(codec);
            put_bytes(out, &bytes);
        }
        None => {
            out.push(RAW);
            values.iter().for_each(|value| out.extend(value.to_le_bytes()));
        }
    }
}

fn same_bits<'a>(a: impl Iterator<Item = &'a f64>, b: impl Iterator<Item = &'a f64>) -> bool {
    a.zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// The values by the first codec that gives them back bit by bit.
fn compress(values: &[f64]) -> Option<(u8, Vec<u8>)> {
    if values.len() < COMPRESS_MIN {
        return None;
    }
    let config = ChunkConfig::default().with_compression_level(PCO_LEVEL);
    let floats = simple_compress(values, &config).ok().map(|bytes| (PCO_FLOATS, bytes));
    let faithful = |(codec, bytes): &(u8, Vec<u8>)| {
        decompress(*codec, bytes, values.len()).is_ok_and(|back| same_bits(back.iter(), values.iter()))
    };
    floats.filter(faithful).or_else(|| {
        let bits: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
        simple_compress(&bits, &config).ok().map(|bytes| (PCO_BITS, bytes)).filter(faithful)
    })
}

fn decompress(codec: u8, bytes: &[u8], count: usize) -> Result<Vec<f64>, Malformed> {
    const WRONG: Malformed = Malformed("compressed values cannot be read");
    let whole = |progress: pco::Progress| progress.finished && progress.n_processed == count;
    if codec == PCO_FLOATS {
        let mut values = vec![0f64; count];
        let progress = simple_decompress_into(bytes, &mut values).map_err(|_| WRONG)?;
        return if whole(progress) { Ok(values) } else { Err(WRONG) };
    }
    let mut bits = vec![0u64; count];
    let progress = simple_decompress_into(bytes, &mut bits).map_err(|_| WRONG)?;
    if whole(progress) { Ok(bits.into_iter().map(f64::from_bits).collect()) } else { Err(WRONG) }
}

/// # Errors
/// When the bytes are not those of a chunk of so many fields.
pub fn decode(bytes: &[u8], fields: usize) -> Result<Piece, Malformed> {
    let mut input = Input::new(bytes);
    if input.u32()? != crc32fast::hash(bytes.get(4..).unwrap_or_default()) {
        return Err(Malformed("a chunk's checksum is wrong"));
    }
    let first = input.signed()?;
    let slots = input.byte()?;
    let presence = match input.byte()? {
        0 => all_present(slots),
        _ => input.take(usize::from(slots).div_ceil(8))?.to_vec(),
    };
    let count = presence.iter().map(|byte| byte.count_ones() as usize).sum();
    let mut values = [Vec::new(), Vec::new()];
    for field in values.iter_mut().take(fields) {
        *field = decode_field(&mut input, count)?;
    }
    if !input.is_empty() {
        return Err(Malformed("a chunk is longer than its values"));
    }
    Piece::from_parts(first, slots, &presence, values).ok_or(Malformed("a chunk's times and values do not agree"))
}

fn all_present(slots: u8) -> Vec<u8> {
    let mut presence = vec![0xff; usize::from(slots / 8)];
    if !slots.is_multiple_of(8) {
        presence.push((1 << (slots % 8)) - 1);
    }
    presence
}

fn decode_field(input: &mut Input<'_>, count: usize) -> Result<Vec<f64>, Malformed> {
    match input.byte()? {
        SAME => Ok(vec![input.f64()?; count]),
        RAW => (0..count).map(|_| input.f64()).collect(),
        codec @ (PCO_FLOATS | PCO_BITS) => decompress(codec, input.bytes()?, count),
        _ => Err(Malformed("an unknown codec")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::STALE_NAN;
    use crate::store::head::push_point;
    use proptest::prelude::*;

    #[track_caller]
    fn check(points: &[(i64, [f64; 2])], fields: usize) -> usize {
        let mut pieces = Vec::new();
        points.iter().for_each(|(index, values)| push_point(&mut pieces, *index, &values[..fields]));
        let mut size = 0;
        for piece in &pieces {
            let bytes = encode(piece, fields);
            let again = decode(&bytes, fields).unwrap();
            assert_eq!((again.first(), again.slots(), again.presence()), (piece.first(), piece.slots(), piece.presence()));
            for (a, b) in again.values.iter().zip(&piece.values) {
                assert!(a.len() == b.len() && same_bits(a.iter(), b.iter()), "{a:?} {b:?}");
            }
            size += bytes.len();
        }
        size
    }

    #[test]
    fn every_bit_comes_back_whatever_the_float() {
        let odd = [f64::NAN, STALE_NAN, f64::from_bits(0xfff8_dead_beef_0001), f64::INFINITY, -0.0, f64::MIN_POSITIVE / 3.0];
        let points: Vec<_> = (0..240).map(|i| (i, [odd[i as usize % odd.len()], i as f64 * 0.1])).collect();
        check(&points, 2);
        let decimals: Vec<_> = (0..240).map(|i| (i, [(i % 7) as f64 / 100.0, 0.0])).collect();
        assert!(check(&decimals, 1) < 240 * 2, "decimals compress");
        let constant: Vec<_> = (0..240).map(|i| (i, [STALE_NAN, 0.0])).collect();
        assert!(check(&constant, 1) < 24, "equal values are stored once");
        check(&[(i64::MIN, [1.0, 2.0])], 2);
        check(&[(i64::MAX, [1.0, 2.0])], 2);
    }

    #[test]
    fn damage_is_noticed() {
        let mut piece = Piece::new(5);
        (5..105).for_each(|i| assert!(piece.push(i, &[(i as f64).sqrt()])));
        let bytes = encode(&piece, 1);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged, 1).is_err(), "byte {at}");
            assert!(decode(&bytes[..at], 1).is_err(), "cut at {at}");
        }
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![any::<u64>().prop_map(f64::from_bits), (-50i32..50).prop_map(f64::from), Just(STALE_NAN), Just(0.25)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn chunks_round_trip(
            values in prop::collection::vec((1i64..9, any_value(), any_value()), 1..400),
            fields in 1usize..3,
        ) {
            let mut index = -100;
            let points: Vec<_> = values.into_iter().map(|(gap, a, b)| { index += gap; (index, [a, b]) }).collect();
            check(&points, fields);
        }
    }
}
