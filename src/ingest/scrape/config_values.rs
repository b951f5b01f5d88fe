//! Durations and sizes as Prometheus writes them in `scrape_configs`.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::ingest::exposition::Format;
use crate::model::time::parse_duration;

/// A duration in milliseconds.
pub struct Millis(pub i64);

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Millis).map_err(D::Error::custom)
    }
}

/// A size as Prometheus writes it: a number of bytes, or one with a unit, where `KB` and `KiB` both are 1024 bytes.
pub struct Bytes(pub u64);

impl Bytes {
    fn parse(text: &str) -> Result<Bytes, String> {
        const UNITS: [(&str, u32); 9] =
            [("", 0), ("B", 0), ("KB", 10), ("KiB", 10), ("MB", 20), ("MiB", 20), ("GB", 30), ("GiB", 30), ("TB", 40)];
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, bits)| 1u64 << bits);
        let bytes = number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
        bytes.map(Bytes).ok_or_else(|| format!("not a valid size: {text:?} (write it like 512KB, 50MB or 1GB)"))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size like 50MB, or a number of bytes")
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<Bytes, E> {
                u64::try_from(bytes).map(Bytes).map_err(|_| E::custom("a size is not negative"))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
                Bytes::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A scrape protocol by Prometheus' name for it, as far as it is read here.
pub struct TextProtocol(pub Format);

impl<'de> Deserialize<'de> for TextProtocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TextProtocol, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "PrometheusText0.0.4" | "PrometheusText1.0.0" => Ok(TextProtocol(Format::PrometheusText)),
            "OpenMetricsText0.0.1" | "OpenMetricsText1.0.0" => Ok(TextProtocol(Format::OpenMetrics)),
            _ => Err(D::Error::custom(format!(
                "fallback_scrape_protocol {text:?} is not read here: use PrometheusText0.0.4, PrometheusText1.0.0, \
                 OpenMetricsText0.0.1 or OpenMetricsText1.0.0"
            ))),
        }
    }
}
