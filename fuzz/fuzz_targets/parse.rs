//! Any text: the parser does not panic, and what reads survives printing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prefold::promql::parse;

fuzz_target!(|text: &str| {
    let Ok(expr) = parse(text) else { return };
    let printed = expr.to_string();
    assert_eq!(parse(&printed).as_ref(), Ok(&expr), "printed as {printed}");
});
