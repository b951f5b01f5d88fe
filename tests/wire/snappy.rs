//! Snappy against the vectors of its other implementations.

use prefold::wire::Problem;
use prefold::wire::snappy::{compress, decompress, decompress_into};

use crate::process::processes::corpus;

const MAX: usize = 1 << 20;

/// Standard base64, as in the vectors.
fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter(|byte| *byte != b'=');
    let values = digits.map(|digit| ALPHABET.iter().position(|known| *known == digit).expect("base64"));
    let (mut bytes, mut bits, mut have) = (Vec::new(), 0usize, 0);
    for value in values {
        bits = bits << 6 | value;
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
        }
    }
    bytes
}

#[test]
fn the_reference_vectors_decode_or_fail_as_they_say() {
    let Some(path) = corpus("vectors/snappy_decode.jsonl") else { return };
    let lines = std::fs::read_to_string(path).unwrap();
    let mut seen = 0;
    for line in lines.lines() {
        let vector: serde_json::Value = serde_json::from_str(line).unwrap();
        let input = base64(vector["input_b64"].as_str().unwrap());
        match vector["expect"].as_str().unwrap() {
            "good" => assert_eq!(decompress(&input, MAX), Ok(base64(vector["want_b64"].as_str().unwrap())), "{line}"),
            _ => assert!(decompress(&input, MAX).is_err(), "{line}"),
        }
        seen += 1;
    }
    assert!(seen >= 30, "{seen}");
}

#[test]
fn whole_files_decode_or_fail() {
    let Some(folder) = corpus("vectors/snappy") else { return };
    let file = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let text = file("Isaac.Newton-Opticks.txt");
    assert_eq!(decompress(&file("Isaac.Newton-Opticks.txt.rawsnappy"), MAX).as_ref(), Ok(&text));
    assert_eq!(decompress(&compress(&text), MAX), Ok(text));
    for name in ["baddata1.snappy", "baddata2.snappy", "baddata3.snappy"] {
        assert!(decompress(&file(name), MAX).is_err(), "{name}");
    }
}

#[test]
fn a_claim_is_judged_before_it_is_believed() {
    let four_gib = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let problem = |body: &[u8], max| decompress(body, max).unwrap_err().problem().clone();
    assert_eq!(problem(&four_gib, MAX), Problem::TooLarge { claimed: u32::MAX.into(), max: MAX });
    assert!(matches!(problem(&four_gib, usize::MAX), Problem::Snappy(text) if text.contains("cannot decompress to")));
    assert!(matches!(problem(&[0xff; 11], usize::MAX), Problem::Snappy(_)));
    assert!(matches!(problem(&[], MAX), Problem::Snappy(_)));
    // The densest blocks there are pass.
    for len in [1, 64, 65_536, MAX] {
        let zeros = vec![0; len];
        assert_eq!(decompress(&compress(&zeros), len), Ok(zeros));
        assert!(matches!(problem(&compress(&vec![0; len]), len - 1), Problem::TooLarge { .. }));
    }
}

#[test]
fn a_buffer_is_used_again_and_holds_only_what_was_last_decoded() {
    let mut buffer = Vec::new();
    for text in ["long long long long long text", "short", "", "again a longer one"] {
        decompress_into(&compress(text.as_bytes()), MAX, &mut buffer).unwrap();
        assert_eq!(buffer, text.as_bytes());
    }
    decompress_into(&[0x05, 0x00], MAX, &mut buffer).unwrap_err();
    assert!(buffer.is_empty());
}
