//! Kafka's jars: fetched once with Maven into target/kafka.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// In the folder's name, so that another version is fetched anew.
const VERSION: &str = "4.1.0-tools";

/// Maven's repositories fail now and then.
const ATTEMPTS: usize = 4;

/// The folder of the jars. `None`, with a message, where Java or Maven are missing and this is not CI.
pub fn jars() -> Option<PathBuf> {
    let missing = ["java", "mvn"].into_iter().find(|program| !is_there(program));
    if let Some(program) = missing {
        assert!(std::env::var_os("CI").is_none(), "{program} is missing: `bash tests/run --install-only` installs it");
        println!("skipped: {program} is missing; `bash tests/run --install-only` installs it");
        return None;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("kafka");
    fs::create_dir_all(&target).unwrap();
    // Another test process may be fetching them.
    let lock = File::create(target.join("lock")).unwrap();
    lock.lock().unwrap();
    let folder = target.join(VERSION);
    if !folder.is_dir() {
        fetch(&target, &folder);
    }
    Some(folder)
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("-version").stdin(Stdio::null()).output().is_ok()
}

/// Into a folder beside, which is renamed when it is complete.
fn fetch(target: &Path, folder: &Path) {
    let partial = target.join("partial");
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/pom.xml");
    for attempt in 1..=ATTEMPTS {
        let output = Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(&pom)
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", partial.display()))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if output.status.success() {
            fs::rename(&partial, folder).unwrap();
            return;
        }
        println!("attempt {attempt}: {}", String::from_utf8_lossy(&output.stdout));
    }
    panic!("Kafka's jars could not be fetched; is Maven's repository reachable?");
}
