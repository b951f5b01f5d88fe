//! An exporter whose values the test chooses: each scrape shows the next page of a script.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Serves until dropped.
pub struct Exporter {
    pub port: u16,
    stopped: Arc<AtomicBool>,
}

impl Exporter {
    /// Serves `page(n)` to the n-th scrape.
    pub fn start(page: impl Fn(u64) -> String + Send + 'static) -> Exporter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stopped = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopped);
        std::thread::spawn(move || {
            for (n, socket) in (0..).zip(listener.incoming()) {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                // A scraper that breaks off comes again.
                let _ = socket.and_then(|socket| serve(socket, &page(n)));
            }
        });
        Exporter { port, stopped }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(mut socket: TcpStream, page: &str) -> std::io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"\r\n\r\n") {
        match socket.read(&mut chunk)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&chunk[..n]),
        }
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
    write!(socket, "{head}Content-Length: {}\r\n\r\n{page}", page.len())
}

/// Work, its latency and a level of four shards in two zones: irregular, so that a sample too few or too many shows. Shard
/// c's counter is reset now and then, shard d comes and goes. Counters stay high, so that no window's start is limited to zero.
pub fn shards(n: u64) -> String {
    let mut page = String::from("# TYPE e2e_work_total counter\n# TYPE e2e_level gauge\n# TYPE e2e_latency histogram\n");
    let shards = [("a", "east", 3), ("b", "west", 5), ("c", "east", 7), ("d", "west", 11)];
    for (shard, zone, weight) in shards {
        if shard == "d" && n % 31 >= 23 {
            continue;
        }
        let since = if shard == "c" { n % 37 } else { n };
        let work = 50_000 * weight + weight * since + since * since % 7;
        let level = 1_000 * weight + n * n % 97;
        let labels = format!("shard=\"{shard}\",zone=\"{zone}\"");
        writeln!(page, "e2e_work_total{{{labels}}} {work}\ne2e_level{{{labels}}} {level}").unwrap();
        for (le, share) in [("0.1", 2), ("0.5", 5), ("2", 8), ("+Inf", 10)] {
            // Each bucket holds the one before, whatever was rounded.
            let count = 90_000 * share + n * share * weight + n * n % 5 * (share / 5);
            writeln!(page, "e2e_latency_bucket{{{labels},le=\"{le}\"}} {count}").unwrap();
        }
    }
    page
}
