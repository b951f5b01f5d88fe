//! Prometheus' text format, version 0.0.4.
//!
//! Lines of any order; blanks anywhere between words; comments. A family has one HELP and one TYPE, the latter before its
//! samples, and the labels that make a histogram or a summary must be numbers.

use super::families::{Belongs, Families, MetricKind, described_name, help_text};
use super::labels::{self, Pair};
use super::line::{Line, UnknownEscapes, quote};
use super::number::{parse_float, parse_milliseconds};
use super::{ExpositionError, Limits, ParsedSample, Refused, Summary};
use crate::model::Timestamp;

/// Exporters on Windows that serve a file put it before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a body. See [`super::parse`].
pub fn parse(body: &[u8], limits: &Limits, visit: &mut dyn FnMut(ParsedSample<'_>)) -> Result<Summary, ExpositionError> {
    let mut reader = Reader { families: Families::default(), labels: Vec::new(), samples: 0 };
    let mut rest = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let mut number = 0u32;
    while !rest.is_empty() {
        number = number.saturating_add(1);
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        rest = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
        if end.is_none() && !limits.body_is_whole {
            return Err(ExpositionError::new(number, "the body ends within a line".to_owned()));
        }
        reader.line(line, limits, visit).map_err(|refused| ExpositionError::new(number, refused))?;
    }
    Ok(reader.families.into_summary(reader.samples, 0, limits))
}

struct Reader<'b> {
    families: Families<'b>,
    /// The labels of the current line; kept for its room.
    labels: Vec<Pair<'b>>,
    samples: u64,
}

impl<'b> Reader<'b> {
    fn line(&mut self, line: &'b [u8], limits: &Limits, visit: &mut dyn FnMut(ParsedSample<'_>)) -> Result<(), Refused> {
        let mut line = Line::new(line);
        line.skip_blanks();
        match line.peek() {
            None => Ok(()),
            Some(b'#') => Ok(self.comment(&mut line)?),
            Some(_) => self.sample(&mut line, limits, visit),
        }
    }

    /// HELP and TYPE are told from other comments by their first word; alone they are comments too.
    fn comment(&mut self, line: &mut Line<'b>) -> Result<(), String> {
        line.eat(b'#');
        line.skip_blanks();
        let word = line.take_while(|byte| byte != b' ' && byte != b'\t');
        line.skip_blanks();
        match word {
            _ if line.at_end() => Ok(()),
            b"HELP" => self.help(line),
            b"TYPE" => self.kind(line),
            _ => Ok(()),
        }
    }

    fn help(&mut self, line: &mut Line<'b>) -> Result<(), String> {
        let name = described_name(line, "HELP", UnknownEscapes::Refused)?;
        line.skip_blanks();
        if line.at_end() {
            return Ok(());
        }
        let at = self.families.described(name.clone());
        let family = self.families.get_mut(at);
        if family.help.replace(help_text(line.rest())).is_some() {
            return Err(format!("a second HELP for metric {}", quote(name.as_bytes())));
        }
        Ok(())
    }

    fn kind(&mut self, line: &mut Line<'b>) -> Result<(), String> {
        let name = described_name(line, "TYPE", UnknownEscapes::Refused)?;
        line.skip_blanks();
        let word = line.rest().trim_ascii_end();
        let kind = match word {
            b"counter" => MetricKind::Counter,
            b"gauge" => MetricKind::Gauge,
            b"histogram" => MetricKind::Histogram,
            b"summary" => MetricKind::Summary,
            b"untyped" => MetricKind::Unknown,
            _ => return Err(format!("{} is not a type of metric", quote(word))),
        };
        self.families.newest_kind = Some(kind);
        let at = self.families.described(name.clone());
        let family = self.families.get_mut(at);
        if family.sampled {
            return Err(format!("TYPE of metric {} after its first sample", quote(name.as_bytes())));
        }
        if family.kind.replace(kind).is_some() {
            return Err(format!("a second TYPE for metric {}", quote(name.as_bytes())));
        }
        Ok(())
    }

    fn sample(
        &mut self,
        line: &mut Line<'b>,
        limits: &Limits,
        visit: &mut dyn FnMut(ParsedSample<'_>),
    ) -> Result<(), Refused> {
        labels::series(line, &labels::TEXT, limits, &mut self.labels)?;
        line.skip_blanks();
        let value = parse_float(line.take_while(|byte| byte != b' ' && byte != b'\t'))?;
        line.skip_blanks();
        let token = line.take_while(|byte| byte != b' ' && byte != b'\t');
        let timestamp = if token.is_empty() { None } else { Some(Timestamp(parse_milliseconds(token)?)) };
        line.skip_blanks();
        if !line.at_end() {
            return Err(format!("expected the end of the line after the timestamp, found {}", line.found()).into());
        }
        self.check_kind()?;
        labels::write_bound(self.families.newest_kind, &mut self.labels);
        self.samples += 1;
        if self.samples > limits.samples_max {
            return Err(Refused::beyond_limits(format!("more than {} samples", limits.samples_max)));
        }
        visit(ParsedSample { labels: &self.labels, value, timestamp, exemplar: false });
        Ok(())
    }

    /// The bounds of buckets and quantiles are numbers.
    fn check_kind(&mut self) -> Result<(), String> {
        let Belongs { family, suffix } = self.families.sampled(self.labels[0].1.clone());
        let family = self.families.get_mut(family);
        family.sampled = true;
        let bound = match (family.kind, suffix) {
            (Some(MetricKind::Histogram), "_bucket") => "le",
            (Some(MetricKind::Summary), "") => "quantile",
            _ => return Ok(()),
        };
        for (_, value) in self.labels.iter().filter(|(name, _)| name == bound) {
            parse_float(value.as_bytes()).map_err(|reason| format!("label {bound}: {reason}"))?;
        }
        Ok(())
    }
}
