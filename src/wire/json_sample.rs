//! A sample as JSON, as prometheus-kafka-adapter writes it: one object a message.
//!
//! `{"timestamp": "2026-01-02T03:04:05Z", "value": "1.5", "name": "up", "labels": {"__name__": "up", "job": "node"}}`. Text
//! is borrowed where it has no escapes. Other members are passed over. Useful for: taking what such an adapter leaves in
//! Kafka. Not useful for: exact times, which the adapter cuts to seconds, and staleness markers, which it writes as NaN.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::LABELS_PER_SERIES_MAX;
use super::error::{Problem, WireError};
use crate::model::time::parse_rfc_3339;
use crate::model::{METRIC_NAME, Sample, Timestamp};

/// The NaN that Prometheus stores for any it reads: a text is never a staleness marker.
const ORDINARY_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// Of what is said of a message that cannot be read.
const TOLD_CHARS_MAX: usize = 200;

/// One message: the labels in their order, the metric's name among them, and the sample.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonSample<'a> {
    labels: Vec<(Text<'a>, Text<'a>)>,
    pub sample: Sample,
}

impl<'a> JsonSample<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is not one object of these members, or two of them contradict each other.
    pub fn parse(message: &'a [u8]) -> Result<JsonSample<'a>, WireError> {
        let wrong = |what: String| WireError::from(Problem::Json(what.chars().take(TOLD_CHARS_MAX).collect()));
        let read: Message<'a> = serde_json::from_slice(message).map_err(|error| wrong(error.to_string()))?;
        let Message { timestamp: Time(t), value: Value(v), name, labels: TextPairs(mut labels) } = read;
        match (labels.iter().find(|(label, _)| &**label == METRIC_NAME), name) {
            (Some((_, named)), Some(name)) if **named != *name => {
                return Err(wrong(format!("name is {:?} and the label {METRIC_NAME} is {:?}", &*name, &**named)));
            }
            (None, Some(name)) => labels.push((Text(Cow::Borrowed(METRIC_NAME)), name)),
            _ => {}
        }
        Ok(JsonSample { labels, sample: Sample { t, v } })
    }

    /// Names and values as they were sent; a name may be there twice.
    pub fn labels(&self) -> Vec<(&str, &str)> {
        self.labels.iter().map(|(name, value)| (&**name, &**value)).collect()
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    timestamp: Time,
    value: Value,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    labels: TextPairs<'a>,
}

/// Text that is borrowed where it can be.
#[derive(Clone, Debug, PartialEq)]
struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Texts)
    }
}

/// An object of texts, in its order.
struct TextPairs<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for TextPairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TextPairs<'a>, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = TextPairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TextPairs<'de>, A::Error> {
                let mut pairs = Vec::with_capacity(16);
                while let Some(pair) = map.next_entry()? {
                    if pairs.len() == LABELS_PER_SERIES_MAX {
                        return Err(A::Error::custom(format_args!("more than {LABELS_PER_SERIES_MAX} labels")));
                    }
                    pairs.push(pair);
                }
                Ok(TextPairs(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// RFC 3339, to the millisecond.
struct Time(Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = Text::deserialize(deserializer)?;
        parse_rfc_3339(&text).map(Time).ok_or_else(|| D::Error::custom(format_args!("{:?} is not a time", &*text)))
    }
}

/// A number, or a text that is one: so are `NaN`, `+Inf` and `-Inf`.
struct Value(f64);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        struct Values;
        impl Visitor<'_> for Values {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a text that is one")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                number(text).map(Value).ok_or_else(|| E::custom(format_args!("{text:?} is not a number")))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
                Ok(Value(value))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
                Ok(Value(value as f64))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
                Ok(Value(value as f64))
            }
        }
        deserializer.deserialize_any(Values)
    }
}

/// What is too large for a float is none, not an infinity.
fn number(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let spelled = text.trim_start_matches(['+', '-']).starts_with(['i', 'I']);
    match value {
        value if value.is_nan() => Some(ORDINARY_NAN),
        value if value.is_infinite() && !spelled => None,
        value => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: &str = "\"timestamp\":\"2023-11-14T22:13:20Z\"";

    /// Time, bits of the value, labels.
    type Read = (i64, u64, Vec<(String, String)>);

    fn parse(text: &str) -> Result<Read, String> {
        let message = JsonSample::parse(text.as_bytes()).map_err(|error| error.to_string())?;
        let labels = message.labels().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok((message.sample.t.0, message.sample.v.to_bits(), labels))
    }

    #[track_caller]
    fn check(rest: &str, v: f64, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(parse(&format!("{{{T},{rest}}}")), Ok((1_700_000_000_000, v.to_bits(), labels)), "{rest}");
    }

    #[test]
    fn what_the_adapter_writes_is_read() {
        let up = [("__name__", "up"), ("job", "n")];
        check(r#""value":"1.5","name":"up","labels":{"__name__":"up","job":"n"}"#, 1.5, &up);
        check(r#""value":"1","name":"up","labels":{"job":"n"}"#, 1.0, &[("job", "n"), ("__name__", "up")]);
        check(r#""labels":{"__name__":"up","job":"n"},"value":1,"more":[{"a":[1,{}]},null]"#, 1.0, &up);
        check(r#""value":"0","name":"","labels":{}"#, 0.0, &[("__name__", "")]);
        check(r#""value":0,"labels":{"a":"\"\u00e9\n\ud83d\ude00","a":"2"}"#, 0.0, &[("a", "\"é\n\u{1F600}"), ("a", "2")]);
    }

    #[test]
    fn values_are_exact() {
        for (text, v) in [
            (r#""NaN""#, ORDINARY_NAN),
            (r#""+Inf""#, f64::INFINITY),
            (r#""-Inf""#, f64::NEG_INFINITY),
            (r#""-0""#, -0.0),
            ("-7", -7.0),
            ("18446744073709551615", 18_446_744_073_709_551_615.0),
            ("1e-7", 1e-7),
            // Read in haste, the last bit of these is wrong.
            ("31.245270191439438", 31.245_270_191_439_438),
            ("121.48791951161945", 121.487_919_511_619_45),
            (r#""31.245270191439438""#, 31.245_270_191_439_438),
        ] {
            check(&format!(r#""value":{text},"labels":{{}}"#), v, &[]);
        }
        for text in [r#""""#, r#""1_0""#, r#""1e999""#, "1e999", r#""0x1""#, "true", "null", "[1]", "{}", r#"" 1""#] {
            let read = parse(&format!(r#"{{{T},"value":{text},"labels":{{}}}}"#));
            assert!(read.as_ref().is_err_and(|error| error.contains("not a sample in JSON")), "{text}: {read:?}");
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        let at = |time: &str| {
            let text = format!(r#"{{"timestamp":"{time}","value":1,"labels":{{}}}}"#);
            parse(&text).ok().map(|read| read.0)
        };
        assert_eq!(at("2023-11-14T22:13:20.1239Z"), Some(1_700_000_000_123));
        assert_eq!(at("2023-11-14T23:13:20+01:00"), Some(1_700_000_000_000));
        for time in ["", "1700000000", "2023-11-14", "2023-11-14T22:13:20", "2023-11-14T22Z", "2023-13-14T22:13:20Z"] {
            assert_eq!(at(time), None, "{time}");
        }
    }

    #[test]
    fn hostile_messages_are_refused() {
        let deep = format!(r#"{{{T},"value":1,"labels":{{}},"x":{}"#, "[".repeat(1 << 20));
        let long = format!(r#"{{{T},"value":"{}","labels":{{}}}}"#, "9x".repeat(1 << 20));
        let many: Vec<String> = (0..=LABELS_PER_SERIES_MAX).map(|n| format!(r#""{n}":"""#)).collect();
        let many = format!(r#"{{{T},"value":1,"labels":{{{}}}}}"#, many.join(","));
        let whole = format!(r#"{{{T},"value":1,"name":"a","labels":{{"__name__":"a"}}}}"#);
        let bad = |old: &str, new: &str| whole.replace(old, new);
        for text in [
            String::new(),
            "null".to_owned(),
            "[]".to_owned(),
            bad("1,", "1,,"),
            bad(T, r#""timestamp":1700000000"#),
            bad(r#""value":1,"#, ""),
            bad(r#""value":1"#, r#""value":1,"value":2"#),
            bad(r#"{"__name__":"a"}"#, "null"),
            bad(r#"{"__name__":"a"}"#, r#"{"__name__":1}"#),
            bad(r#"{"__name__":"a"}"#, r#"{"__name__":"b"}"#),
            bad(r#""a""#, r#""\ud800""#),
            format!("{whole}x"),
            format!("{whole}{whole}"),
            deep,
            long,
            many,
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.len() < 300, "{error}");
        }
        assert!(JsonSample::parse(b"{\"value\":\"\xff\"}").is_err());
        assert!(parse(&whole).is_ok());
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }
}
