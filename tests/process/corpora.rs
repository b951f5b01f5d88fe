//! Recorded inputs that are kept beside the repository.

use std::path::PathBuf;

/// A file or folder of the corpora: in PREFOLD_CORPORA, or beside the repository. None, with a message, where there are none.
pub fn corpus(path: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora");
    let folder = std::env::var_os("PREFOLD_CORPORA").map_or_else(beside, PathBuf::from);
    if !folder.is_dir() {
        println!("skipped: no corpora at {}", folder.display());
        return None;
    }
    Some(folder.join(path))
}
