//! Any text that is PromQL: evaluation over a small world does not panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prefold::model::Timestamp;

#[path = "../../tests/fuzz/world.rs"]
#[allow(dead_code)]
mod world;

fuzz_target!(|text: &str| {
    let _ = world::evaluate(text, world::source(), Timestamp(world::AT));
});
