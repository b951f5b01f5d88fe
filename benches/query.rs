//! Query: the demo's dashboard query, pre-aggregated against raw, as `prefold demo --json` says it.

use std::process::Command;

use crate::Scale;

pub fn run(scale: Scale) {
    let series = scale.series.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_prefold")).args(["demo", "--json", "--series", &series]).output();
    let output = output.expect("the binary was built with the bench");
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the demo prints one line of JSON");
    assert_eq!(outcome["equal"], true, "the demo's values must be equal");
    println!(
        "{:<28} {:>8.0} times faster than raw ({} s against {} s, {} series)",
        "query",
        outcome["speedup"].as_f64().unwrap_or(0.0),
        outcome["preaggregated"]["seconds"],
        outcome["raw"]["seconds"],
        series
    );
}
