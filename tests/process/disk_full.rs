//! A disk without room: writes are refused for a while, nothing else ends, and nothing that was refused is counted.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::processes::{COUNT_JOB, COUNT_QUERY, Home, labels, now_ms, sample, until};

/// A small file system, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// None, with a message, where mounting is not possible.
    fn tmpfs(at: &Path, size: &str) -> Option<Mounted> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Mounted(at.to_owned())),
            other => {
                println!("skipped: a tmpfs cannot be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Takes what room there is.
fn fill(file: &Path) {
    let mut filler = std::fs::File::create(file).unwrap();
    for size in [1 << 20, 64 << 10, 4 << 10, 1] {
        let block = vec![0; size];
        while filler.write_all(&block).is_ok() {}
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_room_again() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let Some(_mounted) = Mounted::tmpfs(&home.data(), "24m") else { return };
    let mut running = home.start().await;
    let mut number = 0;
    let mut series = || {
        number += 1;
        let text = number.to_string();
        let pairs = [("__name__", "c_total"), ("g", if number % 2 == 0 { "even" } else { "odd" }), ("i", text.as_str())];
        vec![(labels(&pairs), vec![sample(now_ms(), 1.0)])]
    };
    assert_eq!(running.write(&series()).await.status, 204);
    let filler = home.data().join("filler");
    fill(&filler);
    let refused = until("a write to be refused", async || {
        let answer = running.write(&series()).await;
        (answer.status != 204).then_some(answer)
    })
    .await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "5"), "{refused:?}");
    assert!(refused.text.contains("No space left"), "{refused:?}");
    for path in ["/-/healthy", "/metrics", "/prefold/api/v1/views"] {
        assert_eq!(running.get(path).await.status, 200, "{path}");
    }
    until("it to be told as not ready", async || {
        assert_eq!(running.write(&series()).await.status, 503);
        let ready = running.get("/-/ready").await;
        (ready.status == 503 && ready.text.contains("writes are refused")).then_some(())
    })
    .await;
    assert!(running.metric("prefold_ingest_refused_total{reason=\"log-unavailable\"}").await >= 1.0);
    assert!(running.metric("prefold_log_append_failures_total").await >= 1.0);
    assert_eq!(running.write(&series()).await.status, 503);
    // Told to stop it does, and what was taken is there when it comes back.
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.logs());
    drop(running);
    std::fs::remove_file(&filler).unwrap();
    let mut running = home.start().await;
    fill(&filler);
    until("a write to be refused again", async || (running.write(&series()).await.status == 503).then_some(())).await;

    std::fs::remove_file(&filler).unwrap();
    until("a write to be taken", async || (running.write(&series()).await.status == 204).then_some(())).await;
    assert_eq!(running.get("/-/ready").await.status, 200);
    let (t, mut expected) = (now_ms(), 0);
    let counted =
        |i: i64| vec![(labels(&[("__name__", "c_total"), ("g", "after"), ("i", &i.to_string())]), vec![sample(t, 1.0)])];
    for i in 0..5 {
        assert_eq!(running.write(&counted(i)).await.status, 204);
        expected += 1;
    }
    let at = (t / 1000 + 1) * 1000;
    running.final_to(1, at).await;
    let results = running.results(COUNT_QUERY, at, at, 1000).await;
    assert_eq!(results[r#"{"g":"after"}"#][&at], expected.to_string());
    assert!(running.is_alive());
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.logs());
}
