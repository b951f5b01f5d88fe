//! OpenMetrics text, versions 0.0.1 and 1.0.0: single spaces, nothing between the lines, `# EOF` at the end.

use super::families::{Families, MetricKind, described_name, help_text};
use super::labels::{self, Pair};
use super::line::{Line, UnknownEscapes, quote};
use super::number::{milliseconds, parse_float, parse_seconds};
use super::openmetrics_families::{Judged, Rules, check_type, check_unit};
use super::{ExpositionError, Limits, ParsedSample, Refused, Summary};
use crate::model::Timestamp;

/// The most characters that an exemplar's labels may have together.
const EXEMPLAR_CHARACTERS_MAX: usize = 128;

/// Reads a body. See [`super::parse`].
pub fn parse(body: &[u8], limits: &Limits, visit: &mut dyn FnMut(ParsedSample<'_>)) -> Result<Summary, ExpositionError> {
    let mut reader = Reader::default();
    let mut rest = body;
    let mut number = 0u32;
    loop {
        number = number.saturating_add(1);
        let at = |refused: Refused| ExpositionError::new(number, refused);
        if rest.is_empty() {
            return Err(at("the body does not end with # EOF".to_owned().into()));
        }
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        rest = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
        if line == b"# EOF" {
            reader.rules.end().map_err(|reason| at(reason.into()))?;
            break;
        }
        reader.line(line, limits, visit).map_err(at)?;
    }
    if !rest.is_empty() {
        return Err(ExpositionError::new(number + 1, format!("unexpected text after # EOF: {}", quote(rest))));
    }
    Ok(reader.families.into_summary(reader.samples, reader.exemplars, limits))
}

#[derive(Default)]
struct Reader<'b> {
    families: Families<'b>,
    rules: Rules,
    /// The labels of the current line; kept for its room.
    labels: Vec<Pair<'b>>,
    samples: u64,
    exemplars: u64,
}

impl<'b> Reader<'b> {
    fn line(&mut self, line: &'b [u8], limits: &Limits, visit: &mut dyn FnMut(ParsedSample<'_>)) -> Result<(), Refused> {
        let mut line = Line::new(line);
        match line.peek() {
            None => Err("a blank line".to_owned().into()),
            Some(b'#') => Ok(self.metadata(&mut line)?),
            Some(_) => self.sample(&mut line, limits, visit),
        }
    }

    /// A line of metadata: `# WORD name text`, each once for a metric, and before its samples.
    fn metadata(&mut self, line: &mut Line<'b>) -> Result<(), String> {
        let words: [(&[u8], &'static str); 3] = [(b"# HELP ", "HELP"), (b"# TYPE ", "TYPE"), (b"# UNIT ", "UNIT")];
        let Some((_, word)) = words.into_iter().find(|(prefix, _)| line.eat_text(prefix)) else {
            return Err(format!("expected # HELP, # TYPE, # UNIT or # EOF, found {}", line.found()));
        };
        let name = described_name(line, word, UnknownEscapes::Kept)?;
        if !line.eat(b' ') {
            return Err(format!("expected a space and a text after {word} and the name, found {}", line.found()));
        }
        let text = line.rest();
        let kind = if word == "TYPE" { Some(kind(text)?) } else { None };
        if let Some(kind) = kind {
            check_type(&self.families, &name, kind)?;
            self.families.newest_kind = Some(kind);
        }
        let at = self.families.described(name.clone());
        let family = self.families.get_mut(at);
        if family.sampled {
            return Err(format!("{word} of metric {} after its first sample", quote(name.as_bytes())));
        }
        let repeated = match word {
            "HELP" => family.help.replace(help_text(text)).is_some(),
            "UNIT" => family.unit.replace(String::from_utf8_lossy(text)).is_some(),
            _ => std::mem::replace(&mut family.kind, kind).is_some(),
        };
        if repeated {
            return Err(format!("a second {word} for metric {}", quote(name.as_bytes())));
        }
        check_unit(&name, family.unit.as_deref().unwrap_or_default(), family.kind)
    }

    fn sample(
        &mut self,
        line: &mut Line<'b>,
        limits: &Limits,
        visit: &mut dyn FnMut(ParsedSample<'_>),
    ) -> Result<(), Refused> {
        labels::series(line, &labels::OPENMETRICS, limits, &mut self.labels)?;
        let value = parse_float(word(line, "a value")?)?;
        let mut timestamp = None;
        if !line.at_end() && !line.rest().starts_with(b" #") {
            timestamp = Some(parse_seconds(word(line, "a timestamp")?)?);
        }
        let exemplar = !line.at_end();
        if exemplar {
            read_exemplar(line, limits)?;
        }
        self.rules.sample(&mut self.families, &Judged { labels: &self.labels, value, timestamp, exemplar })?;
        labels::write_bound(self.families.newest_kind, &mut self.labels);
        self.samples += 1;
        self.exemplars += u64::from(exemplar);
        if self.samples > limits.samples_max {
            return Err(Refused::beyond_limits(format!("more than {} samples", limits.samples_max)));
        }
        let timestamp = timestamp.map(|seconds| Timestamp(milliseconds(seconds)));
        visit(ParsedSample { labels: &self.labels, value, timestamp, exemplar });
        Ok(())
    }
}

/// The next word, after exactly one space.
fn word<'b>(line: &mut Line<'b>, what: &str) -> Result<&'b [u8], String> {
    if !line.eat(b' ') {
        return Err(format!("expected a space and {what}, found {}", line.found()));
    }
    Ok(line.take_while(|byte| byte != b' '))
}

/// ` # {labels} value [timestamp]`, to the end of the line.
fn read_exemplar(line: &mut Line<'_>, limits: &Limits) -> Result<(), Refused> {
    if !line.eat_text(b" # ") {
        return Err(format!("expected the end of the line or an exemplar, found {}", line.found()).into());
    }
    let characters = labels::exemplar_characters(line, &labels::OPENMETRICS, limits)?;
    if characters > EXEMPLAR_CHARACTERS_MAX {
        let most = EXEMPLAR_CHARACTERS_MAX;
        return Err(format!("an exemplar's labels have {characters} characters, more than {most}").into());
    }
    parse_float(word(line, "the exemplar's value")?).map_err(|reason| format!("exemplar: {reason}"))?;
    if !line.at_end() {
        parse_seconds(word(line, "the exemplar's timestamp")?).map_err(|reason| format!("exemplar: {reason}"))?;
    }
    if !line.at_end() {
        return Err(format!("expected the end of the line after the exemplar, found {}", line.found()).into());
    }
    Ok(())
}

fn kind(word: &[u8]) -> Result<MetricKind, String> {
    const KINDS: [MetricKind; 8] = [
        MetricKind::Counter,
        MetricKind::Gauge,
        MetricKind::Histogram,
        MetricKind::GaugeHistogram,
        MetricKind::Summary,
        MetricKind::Info,
        MetricKind::StateSet,
        MetricKind::Unknown,
    ];
    let found = KINDS.into_iter().find(|kind| kind.name().as_bytes() == word);
    found.ok_or_else(|| format!("{} is not a type of metric", quote(word)))
}
