//! Prefold's one test binary: dependencies and the library are linked once.

mod laws;
mod oracle;
