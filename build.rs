//! Generates Rust from `proto/`. The compiler is protox, a Rust crate: building Prefold needs no protoc.

use std::error::Error;

const FILES: [&str; 3] = ["proto/remote_write_v1.proto", "proto/remote_write_v2.proto", "proto/record.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
