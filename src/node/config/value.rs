//! Values of the configuration that are written with a unit, and those that are not shown.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::model::time::{format_duration, parse_duration};

/// A duration in milliseconds, written as Prometheus does: `90s`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub i64);

impl Millis {
    /// For timers; a negative one cannot be written.
    pub fn std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.unsigned_abs())
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Millis).map_err(D::Error::custom)
    }
}

impl JsonSchema for Millis {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "prometheus-duration", "examples": ["30s"] })
    }
}

/// A number of bytes, written plain or with a unit: `8GiB`, `512KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// How a size is written.
pub const SIZE_REMEDY: &str = "write it like 512KiB, 32MiB or 8GiB";

const UNITS: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

impl ByteSize {
    /// Reads `8GiB`, `512 KiB` or `1048576`.
    ///
    /// # Errors
    /// What is wrong and what would be right.
    pub fn parse(text: &str) -> Result<ByteSize, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let scale = match unit.trim_start() {
            "" => Some(1),
            unit => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes),
        };
        let bytes = number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
        bytes.map(ByteSize).ok_or_else(|| format!("not a valid size: {text:?} ({SIZE_REMEDY})"))
    }
}

/// In the largest unit that divides it.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().rev().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        let (name, bytes) = exact.unwrap_or(&UNITS[0]);
        write!(f, "{}{name}", self.0 / bytes)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        deserializer.deserialize_any(ByteSizeVisitor)
    }
}

struct ByteSizeVisitor;

impl Visitor<'_> for ByteSizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a size such as 8GiB")
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(bytes))
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<ByteSize, E> {
        u64::try_from(bytes).map(ByteSize).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
        ByteSize::parse(text).map_err(E::custom)
    }
}

impl JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "format": "byte-size", "minimum": 0, "examples": ["8GiB"] })
    }
}

/// A text that may hold a credential: it is never shown.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself: only for the wire.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "header-value" })
    }
}

/// What is wrong with a value, and what to do.
pub type Fault = (String, &'static str);

/// What is wrong with a listening address; `None` when nothing is.
pub fn listen_address_problem(text: &str) -> Option<Fault> {
    let remedy = "write it like 127.0.0.1:9480, or 0.0.0.0:9480 for every interface";
    match text.rsplit_once(':') {
        Some(("", _)) => Some((format!("{text:?} names no host"), remedy)),
        Some((host, port)) if port.parse::<u16>().is_ok() && is_host(host) => None,
        _ => Some((format!("{text:?} is not an address"), remedy)),
    }
}

/// What is wrong with a broker's address; `None` when nothing is.
pub fn broker_problem(text: &str) -> Option<Fault> {
    let named = text.rsplit_once(':').is_some_and(|(host, port)| port.parse::<u16>().is_ok() && is_host(host));
    (!named).then(|| (format!("{text:?} is not the address of a broker"), "write it like 127.0.0.1:9092"))
}

/// What is wrong with an upstream's URL; `None` when nothing is.
pub fn url_problem(text: &str) -> Option<Fault> {
    let remedy = "write it like http://127.0.0.1:9090";
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return Some((format!("{text:?} is not an http:// or https:// address"), remedy));
    };
    if rest.contains(['?', '#']) {
        return Some((format!("{text:?} has a query or a fragment"), "write only scheme, host, port and path"));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let host_port = authority.rsplit('@').next().unwrap_or_default();
    let named = match host_port.rsplit_once(':') {
        Some((host, port)) if !host_port.ends_with(']') => port.parse::<u16>().is_ok() && is_host(host),
        _ => is_host(host_port),
    };
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    (!named || !printable).then(|| (format!("{text:?} is not an address"), remedy))
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    }
}

/// A header's name: the characters HTTP allows.
pub fn is_header_name(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

/// A header's value: printable, so that it ends where it seems to.
pub fn is_header_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, bytes) in [("0", 0), ("17", 17), ("3B", 3), ("512KiB", 524_288), ("8GiB", 8 << 30), ("2 TiB", 2 << 40)] {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "GiB", "8GB", "8g", "-1", "1.5GiB", "99999999TiB", "8GiB "] {
            assert!(ByteSize::parse(text).unwrap_err().contains("8GiB"), "{text}");
        }
        for text in ["0B", "17B", "512KiB", "8GiB", "1025KiB"] {
            assert_eq!(ByteSize::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn addresses() {
        for good in ["127.0.0.1:9480", "localhost:80", "[::1]:9480", "0.0.0.0:0"] {
            assert_eq!(listen_address_problem(good), None, "{good}");
        }
        for bad in ["", "9480", ":9480", "a:b", "a:99999", "::1:9480", "a b:1", "http://a:1"] {
            assert!(listen_address_problem(bad).is_some(), "{bad}");
        }
        for good in
            ["http://a", "https://a.b:443/select/0/prometheus/", "http://[::1]:9090", "http://u:p@h:1/x", "http://[::1]"]
        {
            assert_eq!(url_problem(good), None, "{good}");
        }
        for bad in
            ["", "a:9090", "ftp://a", "http://", "http://:80", "http://a:b", "http://a?x=1", "http://a /", "http://a/#f"]
        {
            assert!(url_problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Secret("Bearer x".to_owned())), "***");
    }
}
