//! Protobuf messages encoded in every way that the format allows: fields in any order, said twice, between unknown ones,
//! numbers longer than need be.

use proptest::prelude::*;

#[derive(Clone, Debug)]
pub enum Value {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
    /// Varints in one length-delimited field.
    Packed(Vec<u64>),
}

pub type Field = (u32, Value);

pub fn text(number: u32, text: &str) -> Field {
    (number, Value::Bytes(text.as_bytes().to_vec()))
}

/// Decides where the encoding is free. Zero is the plain encoding: in order, nothing added.
#[derive(Clone, Debug)]
pub struct Layout(pub u64);

impl Layout {
    /// Whether to do what is done once in `n` times.
    fn once_in(&mut self, n: u64) -> bool {
        self.0 != 0 && self.next().is_multiple_of(n)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn varint(&mut self, out: &mut Vec<u8>, mut value: u64) {
        let mut len = 1;
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
            len += 1;
        }
        out.push(value as u8);
        while len < 10 && self.once_in(60) {
            *out.last_mut().expect("a byte was just written") |= 0x80;
            out.push(0);
            len += 1;
        }
    }

    fn key(&mut self, out: &mut Vec<u8>, number: u32, wire_type: u64) {
        self.varint(out, u64::from(number) << 3 | wire_type);
    }

    fn delimited(&mut self, out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
        self.key(out, number, 2);
        self.varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }

    fn field(&mut self, out: &mut Vec<u8>, number: u32, value: &Value) {
        match value {
            Value::Varint(value) => {
                self.key(out, number, 0);
                self.varint(out, *value);
            }
            Value::Fixed64(value) => {
                self.key(out, number, 1);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Value::Fixed32(value) => {
                self.key(out, number, 5);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Value::Bytes(bytes) => self.delimited(out, number, bytes),
            Value::Message(fields) => {
                let body = self.encode(fields);
                self.delimited(out, number, &body);
            }
            Value::Packed(values) => self.packed(out, number, values),
        }
    }

    fn packed(&mut self, out: &mut Vec<u8>, number: u32, values: &[u64]) {
        let split = if self.once_in(4) { self.next() as usize % (values.len() + 1) } else { values.len() };
        let mut body = Vec::new();
        values[..split].iter().for_each(|value| self.varint(&mut body, *value));
        self.delimited(out, number, &body);
        values[split..].iter().for_each(|value| self.field(out, number, &Value::Varint(*value)));
    }

    /// A field that no message here knows, of any wire type there is.
    fn unknown(&mut self, out: &mut Vec<u8>) {
        let number = [6, 7, 19, 99, 104, 2047, (1 << 29) - 1][self.next() as usize % 7];
        let value = match self.next() % 4 {
            0 => Value::Varint(self.next()),
            1 => Value::Fixed64(self.next()),
            2 => Value::Fixed32(self.next() as u32),
            _ => Value::Bytes(vec![0xff; self.next() as usize % 40]),
        };
        self.field(out, number, &value);
    }

    pub fn encode(&mut self, fields: &[Field]) -> Vec<u8> {
        let mut order: Vec<&Field> = fields.iter().collect();
        if self.once_in(2) {
            for at in (1..order.len()).rev() {
                order.swap(at, self.next() as usize % (at + 1));
            }
        }
        let mut out = Vec::new();
        for (number, value) in order {
            while self.once_in(8) {
                self.unknown(&mut out);
            }
            self.field(&mut out, *number, value);
        }
        while self.once_in(8) {
            self.unknown(&mut out);
        }
        out
    }
}

pub fn layout() -> impl Strategy<Value = Layout> {
    prop_oneof![Just(Layout(0)), any::<u64>().prop_map(Layout)]
}

/// A scalar field: absent, there, or there twice, in which case the last counts.
pub fn scalar(number: u32, value: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<Field>> {
    prop::collection::vec(value.prop_map(move |value| (number, value)), 0..3)
}

/// A scalar field that is there, or there twice.
pub fn scalar_present(number: u32, value: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<Field>> {
    prop::collection::vec(value.prop_map(move |value| (number, value)), 1..3)
}

pub fn bytes_of(text: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    text.prop_map(|text| Value::Bytes(text.into_bytes()))
}

/// A sample message; of three fields, as in 2.0, the last one often missing.
pub fn sample(starts: bool) -> impl Strategy<Value = Vec<Field>> {
    let value = scalar(1, super::value_bits().prop_map(Value::Fixed64));
    let time = scalar(2, super::time().prop_map(|t| Value::Varint(t as u64)));
    let start = scalar(3, super::time().prop_map(|t| Value::Varint(t as u64)));
    (value, time, start).prop_map(move |(value, time, start)| {
        let start = if starts { start } else { Vec::new() };
        [value, time, start].concat()
    })
}

/// A repeated message field.
pub fn repeated(number: u32, message: impl Strategy<Value = Vec<Field>>, max: usize) -> impl Strategy<Value = Vec<Field>> {
    prop::collection::vec(message.prop_map(move |fields| (number, Value::Message(fields))), 0..=max)
}
