//! A query API request's parameters, from URL and form body, as Prometheus reads them.

use std::time::Duration;

use crate::model::Timestamp;
use crate::model::time::{parse_instant, parse_seconds};

/// The most bytes of a form body.
pub const FORM_BYTES_MAX: usize = 1 << 20;

/// Parameters of URL and body; the body's come first, as in Go's `FormValue`.
#[derive(Clone, Debug, Default)]
pub struct Params(Vec<(String, String)>);

/// Parameters of the query API that change nothing we do not do ourselves; anything else is forwarded.
const HARMLESS: [&str; 12] =
    ["query", "time", "start", "end", "step", "timeout", "limit", "stats", "match[]", "edge", "prefold_rewrite", "metric"];

impl Params {
    /// From the URL's query string and a form body, each possibly empty.
    pub fn parse(url: &str, body: &[u8]) -> Params {
        let mut pairs = decode(&String::from_utf8_lossy(body));
        pairs.extend(decode(url));
        Params(pairs)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The names of all parameters, as often as they are given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The first parameter whose meaning is not known here.
    pub fn unknown(&self) -> Option<&str> {
        self.0.iter().map(|(key, _)| key.as_str()).find(|key| !HARMLESS.contains(key))
    }

    /// An instant, or `default` when the parameter is missing.
    ///
    /// # Errors
    /// Prometheus' text for a bad parameter.
    pub fn instant(&self, name: &str, default: Timestamp) -> Result<Timestamp, String> {
        match self.get(name).filter(|text| !text.is_empty()) {
            None => Ok(default),
            Some(text) => parse_instant(text).map_err(|error| format!("invalid parameter {name:?}: {error}")),
        }
    }

    /// A duration in milliseconds: float seconds or `1m`.
    fn duration_ms(&self, name: &str) -> Result<i64, String> {
        let text = self.get(name).unwrap_or_default();
        parse_seconds(text).map_err(|error| format!("invalid parameter {name:?}: {error}"))
    }

    /// A step in milliseconds.
    ///
    /// # Errors
    /// Prometheus' text for a missing, bad or non-positive one.
    pub fn step_ms(&self, name: &str) -> Result<i64, String> {
        let ms = self.duration_ms(name)?;
        if ms <= 0 {
            return Err(format!(
                "invalid parameter {name:?}: zero or negative query resolution step widths are not accepted. Try a positive integer"
            ));
        }
        Ok(ms)
    }

    /// How long the answer may take at most; `None` when the parameter is missing. One that is not positive has passed.
    ///
    /// # Errors
    /// Prometheus' text for a bad one.
    pub fn timeout(&self) -> Result<Option<Duration>, String> {
        match self.get("timeout").filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(_) => self.duration_ms("timeout").map(|ms| Some(Duration::from_millis(ms.max(0).unsigned_abs()))),
        }
    }

    /// How many results at most; none for 0 or a missing parameter.
    ///
    /// # Errors
    /// Prometheus' text for a bad or negative one.
    pub fn limit(&self) -> Result<Option<usize>, String> {
        let Some(text) = self.get("limit").filter(|text| !text.is_empty()) else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(limit) if limit < 0 => Err("invalid parameter \"limit\": limit must be non-negative".to_owned()),
            Ok(limit) => Ok((limit > 0).then_some(limit as usize)),
            Err(_) => Err(format!("invalid parameter \"limit\": cannot parse {text:?} to a number")),
        }
    }
}

/// `application/x-www-form-urlencoded`; what is not valid UTF-8 after decoding is replaced.
fn decode(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key), percent_decode(value))
        })
        .collect()
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = |place: usize| bytes.get(place).and_then(|byte| (*byte as char).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'+', ..) => {
                out.push(b' ');
                at += 1;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_goes_before_url_and_escapes_are_undone() {
        let params = Params::parse("query=up&step=15&a%5B%5D=1&a%5B%5D=2", b"query=sum%28x%29+%2B+1&bad=%zz%4");
        assert_eq!(params.get("query"), Some("sum(x) + 1"));
        assert_eq!(params.step_ms("step"), Ok(15_000));
        assert_eq!(params.all("a[]").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(params.get("bad"), Some("%zz%4"));
        assert_eq!(params.unknown(), Some("bad"));
    }

    #[test]
    fn steps_and_instants_are_read_as_prometheus_does() {
        let params = Params::parse("step=1m&zero=0&neg=-5&bad=x&time=1435781451.781&limit=-1", b"");
        assert_eq!(params.step_ms("step"), Ok(60_000));
        assert!(params.step_ms("zero").unwrap_err().contains("zero or negative"));
        assert!(params.step_ms("neg").unwrap_err().contains("zero or negative"));
        assert!(params.step_ms("bad").unwrap_err().contains("cannot parse \"x\" to a valid duration"));
        assert_eq!(params.instant("time", Timestamp(0)), Ok(Timestamp(1_435_781_451_781)));
        assert_eq!(params.instant("start", Timestamp(7)), Ok(Timestamp(7)));
        assert!(params.instant("bad", Timestamp(0)).unwrap_err().contains("invalid parameter \"bad\""));
        assert!(params.limit().is_err());
        let timeout = |text: &str| Params::parse(&format!("timeout={text}"), b"").timeout();
        assert_eq!(timeout(""), Ok(None));
        assert_eq!(timeout("1.5"), Ok(Some(Duration::from_millis(1500))));
        assert_eq!((timeout("2m"), timeout("-1")), (Ok(Some(Duration::from_secs(120))), Ok(Some(Duration::ZERO))));
        assert!(timeout("x").unwrap_err().contains("cannot parse \"x\" to a valid duration"));
    }
}
