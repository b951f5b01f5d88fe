//! Damaged queries: nothing may panic, and what still reads must survive printing.

use prefold::promql::{SIGNATURES, parse};

use super::corpus::{dashboard_expressions, eval_queries, vectors};
use super::random::Random;
use super::{round_trip, text};
use crate::fuzz::cases;

/// Of one run, unless PREFOLD_FUZZ_CASES says otherwise; a failure names the text, so that it can be replayed without the
/// others.
const MUTATIONS: usize = 20_000;

/// Pieces of the language, to be put where they may not belong.
const PIECES: [&str; 56] = [
    " and ",
    " or ",
    " unless ",
    " atan2 ",
    " + ",
    "-",
    "*",
    "/",
    "%",
    "^",
    "==",
    "!=",
    " >= bool ",
    " < ",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    " @ ",
    " @ -1.5",
    " @ start()",
    " offset ",
    " offset -5m",
    "[5m]",
    "[5m:]",
    "[1h:30s]",
    "sum",
    "topk(1, ",
    " by (a) ",
    " without (b,) ",
    " on (x) ",
    " ignoring () ",
    " group_left ",
    " group_right (y) ",
    " fill (0) ",
    "rate(",
    "NaN",
    "-Inf",
    "0x1F",
    "1e3",
    "1_0",
    "'",
    "\"",
    "`",
    "\\",
    "\\x41",
    "#",
    "\n",
    "é",
    "=~\"a|b\"",
    "!~'.+'",
    "info(a, {b!=''})",
];

/// One of the texts with a few bytes changed, cut out, doubled, or with pieces of the language put in.
pub fn mutate(random: &mut Random, texts: &[String]) -> String {
    let mut bytes = random.pick(texts).clone().into_bytes();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 => drop(bytes.splice(at..(at + 1).min(bytes.len()), [random.below(128) as u8])),
            1 => drop(bytes.drain(at..(at + random.below(8)).min(bytes.len()))),
            2 => {
                let copied = bytes[at..(at + random.below(12)).min(bytes.len())].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copied);
            }
            3 => {
                let name = if random.below(4) == 0 { random.pick(&SIGNATURES).name } else { random.pick(&PIECES) };
                bytes.splice(at..at, name.bytes());
            }
            4 => {
                let joint = *random.pick(&PIECES);
                let other = random.pick(texts);
                bytes.extend(joint.bytes().chain(other.bytes()));
            }
            _ => bytes.truncate(at),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn damaged_queries_never_panic_and_survive_printing() {
    let (Some(rows), Some(queries), Some(expressions)) =
        (vectors("promql_parse.jsonl"), eval_queries(), dashboard_expressions())
    else {
        return;
    };
    let mut texts: Vec<String> = rows.iter().map(|row| text(row, "expr").to_owned()).collect();
    texts.extend(queries.into_iter().map(|(query, _)| query));
    // One dashboard expression in ten: they are long and much alike.
    texts.extend(expressions.into_iter().step_by(10));
    let (mut random, mutations) = (Random::new(0), cases(MUTATIONS));
    let (mut read, mut bytes) = (0, 0);
    for _ in 0..mutations {
        let damaged = mutate(&mut random, &texts);
        bytes += damaged.len();
        match round_trip(&damaged) {
            Ok(_) => read += 1,
            Err(error) => assert!(!error.to_string().is_empty() && error.line >= 1 && error.column >= 1, "{damaged}"),
        }
    }
    println!("{read} of {mutations} damaged texts still read, {bytes} bytes");
    assert!(read > mutations / 20, "only {read} still read: the damage is too heavy to test printing");
    assert!(parse("1").is_ok());
}
