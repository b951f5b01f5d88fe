//! Expressions grown from the fuzzer's bytes, so that it need not find PromQL's grammar first.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prefold::model::Timestamp;

#[path = "../../tests/fuzz/generate.rs"]
mod generate;
#[path = "../../tests/fuzz/world.rs"]
#[allow(dead_code)]
mod world;

fuzz_target!(|bytes: &[u8]| {
    let mut choices = generate::Choices::new(bytes, 1);
    let depth = 1 + choices.below(5);
    let text = generate::expression(&mut choices, depth);
    let _ = world::evaluate(&text, world::source(), Timestamp(world::AT));
});
