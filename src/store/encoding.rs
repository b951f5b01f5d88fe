//! Numbers and strings as the store's files have them: varints, zigzag, lengths before bytes; all else little-endian.
//!
//! Reading never trusts a length or count: each is checked against the bytes that are left.

use crate::model::Timestamp;

/// What was wrong with bytes that were read. Their file adds its name and the place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed(pub &'static str);

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small numbers of either sign become small.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Nothing, or an instant.
pub fn put_instant(out: &mut Vec<u8>, instant: Option<Timestamp>) {
    out.push(u8::from(instant.is_some()));
    if let Some(t) = instant {
        put_signed(out, t.0);
    }
}

/// Bytes being read from the front.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn u128(&mut self) -> Result<u128, Malformed> {
        self.array().map(u128::from_le_bytes)
    }

    pub fn f64(&mut self) -> Result<f64, Malformed> {
        self.u64().map(f64::from_bits)
    }

    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if shift == 63 && byte > 1 { Err(Malformed("a number is too large")) } else { Ok(value) };
            }
        }
        Err(Malformed("a number is too long"))
    }

    /// A varint that fits 32 bits.
    pub fn varint32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed("a number is too large"))
    }

    pub fn signed(&mut self) -> Result<i64, Malformed> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// How many things follow, each of at least `bytes_min` bytes.
    pub fn count(&mut self, bytes_min: usize) -> Result<usize, Malformed> {
        let count = self.varint()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.rest.len() / bytes_min.max(1) => Ok(count),
            _ => Err(Malformed("a count is larger than what follows")),
        }
    }

    /// As many things as a count says, each of at least `bytes_min` bytes.
    pub fn list<T>(
        &mut self,
        bytes_min: usize,
        mut one: impl FnMut(&mut Input<'a>) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.count(bytes_min)?;
        (0..count).map(|_| one(self)).collect()
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.count(1)?;
        self.take(count)
    }

    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("text is not UTF-8"))
    }

    pub fn instant(&mut self) -> Result<Option<Timestamp>, Malformed> {
        match self.byte()? {
            0 => Ok(None),
            1 => self.signed().map(|t| Some(Timestamp(t))),
            _ => Err(Malformed("a flag is neither 0 nor 1")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        let mut out = Vec::new();
        let unsigned = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        let signed = [0, 1, -1, 63, -64, 64, i64::MIN, i64::MAX];
        unsigned.iter().for_each(|v| put_varint(&mut out, *v));
        signed.iter().for_each(|v| put_signed(&mut out, *v));
        put_instant(&mut out, None);
        put_instant(&mut out, Some(Timestamp(-5)));
        put_bytes(&mut out, b"abc");
        let mut input = Input::new(&out);
        unsigned.iter().for_each(|v| assert_eq!(input.varint(), Ok(*v)));
        signed.iter().for_each(|v| assert_eq!(input.signed(), Ok(*v)));
        assert_eq!(input.instant(), Ok(None));
        assert_eq!(input.instant(), Ok(Some(Timestamp(-5))));
        assert_eq!(input.text(), Ok("abc"));
        assert!(input.is_empty() && input.byte().is_err());
    }

    #[test]
    fn lengths_beyond_the_end_are_refused() {
        assert!(Input::new(&[0xff; 11]).varint().is_err());
        assert!(Input::new(&[5, 1, 2]).bytes().is_err());
        assert!(Input::new(&[3, 0, 0, 0, 0]).count(2).is_err());
        assert!(Input::new(&[1, 0xff]).text().is_err());
    }
}
