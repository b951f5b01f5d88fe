//! The exposition parsers against what others hold them to: Prometheus' parser vectors, the OpenMetrics test suite, the
//! test data of Prometheus' client library, and real scrapes.
//!
//! These see whether a body is taken or refused, and that nothing panics; what the samples are is tested beside the parsers.

use std::path::PathBuf;

use prefold::ingest::exposition::{ExpositionError, Format, Limits, Summary, parse};

/// Where the corpora are; `None`, said aloud, when they are not here.
fn corpora() -> Option<PathBuf> {
    let fallback = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora");
    let folder = std::env::var_os("PREFOLD_CORPORA").map_or_else(fallback, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no corpora at {}", folder.display());
    None
}

fn read(body: &[u8], format: Format, limits: &Limits) -> Result<Summary, ExpositionError> {
    let mut visited = 0;
    let summary = parse(body, format, limits, &mut |sample| {
        visited += 1;
        assert_eq!(sample.labels[0].0, "__name__");
        assert!(!sample.labels[0].1.is_empty());
    })?;
    assert_eq!(summary.samples, visited);
    Ok(summary)
}

/// Whether a body is judged as it should be: good ones are taken, bad ones refused with a line of the body and a reason.
fn judge(name: &str, good: bool, body: &[u8], result: &Result<Summary, ExpositionError>) -> Result<(), String> {
    let lines = 2 + body.iter().filter(|byte| **byte == b'\n').count();
    match (good, result) {
        (true, Ok(_)) => Ok(()),
        (true, Err(error)) => Err(format!("{name}: refused: {error}")),
        (false, Ok(_)) => Err(format!("{name}: taken")),
        (false, Err(error)) if error.line == 0 || error.line as usize > lines || error.reason.is_empty() => {
            Err(format!("{name}: refused without a place or a reason: {error}"))
        }
        (false, Err(_)) => Ok(()),
    }
}

#[track_caller]
fn report(what: &str, judged: &[Result<(), String>], expected: usize) {
    let wrong: Vec<&String> = judged.iter().filter_map(|result| result.as_ref().err()).collect();
    println!("{what}: {} bodies judged, {} wrongly", judged.len(), wrong.len());
    assert!(wrong.is_empty(), "{what}: {wrong:#?}");
    assert!(judged.len() >= expected, "{what}: only {} of {expected} bodies found", judged.len());
}

/// Every body of the manifest that is here. The client library reads streams, so its bodies are not known to be whole.
#[test]
fn corpus_bodies_are_taken_or_refused_as_the_manifest_says() {
    let Some(corpora) = corpora() else { return };
    let manifest = std::fs::read_to_string(corpora.join("expositions/MANIFEST.tsv")).unwrap();
    let (mut judged, mut absent) = (Vec::new(), 0);
    for line in manifest.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (path, format, expected) = (columns[0], columns[5], columns[6]);
        let Ok(body) = std::fs::read(corpora.join(path)) else {
            absent += 1;
            continue;
        };
        let limits = Limits { body_is_whole: !path.contains("/expfmt_text/"), ..Limits::default() };
        // Protobuf that the manifest lists under the parser it was found beside, and formats that are not text.
        let foreign = path.ends_with("input.bin") || !matches!(format, "text-0.0.4" | "openmetrics");
        let format = if format == "openmetrics" { Format::OpenMetrics } else { Format::PrometheusText };
        judged.push(judge(path, expected != "bad" && !foreign, &body, &read(&body, format, &limits)));
    }
    println!("{absent} bodies of the manifest are not here");
    report("manifest", &judged, 300);
}

/// Prometheus' own parser vectors; it is handed whole bodies.
#[test]
fn prometheus_parser_vectors_are_taken_or_refused_as_they_say() {
    let Some(corpora) = corpora() else { return };
    for (file, format, expected) in
        [("prom_text_parse.jsonl", Format::PrometheusText, 29), ("openmetrics_parse.jsonl", Format::OpenMetrics, 84)]
    {
        let vectors = std::fs::read_to_string(corpora.join("vectors").join(file)).unwrap();
        let judged: Vec<_> = vectors
            .lines()
            .enumerate()
            .map(|(at, line)| {
                let vector: serde_json::Value = serde_json::from_str(line).unwrap();
                let body = match vector["text"].as_str() {
                    Some(text) => text.as_bytes().to_vec(),
                    None => base64(vector["b64"].as_str().unwrap()),
                };
                let result = read(&body, format, &Limits::default());
                judge(&format!("{file}:{} {}", at + 1, vector["err"]), vector["expect"] == "good", &body, &result)
            })
            .collect();
        report(file, &judged, expected);
    }
}

/// Whatever a good body is cut or changed to, the parsers answer.
#[test]
fn damaged_bodies_are_answered() {
    let Some(corpora) = corpora() else { return };
    let folder = corpora.join("expositions/openmetrics_vectors/good");
    let (mut answered, mut state) = (0u32, 0x9e37_79b9_7f4a_7c15u64);
    for entry in std::fs::read_dir(folder).unwrap() {
        let body = std::fs::read(entry.unwrap().path()).unwrap();
        for at in 0..body.len() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut damaged = body.clone();
            damaged[at] = (state >> 56) as u8;
            for body in [&body[..at], &body[at..], &damaged] {
                for format in [Format::OpenMetrics, Format::PrometheusText] {
                    answered += 1;
                    drop(read(body, format, &Limits::default()));
                }
            }
        }
    }
    println!("{answered} damaged bodies answered");
    assert!(answered > 10_000);
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let digit = ALPHABET.iter().position(|letter| *letter == byte).expect("base64");
        held = held << 6 | digit as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
    }
    out
}
