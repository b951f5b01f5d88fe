//! A remote-write receiver inside the test: keeps every sample that a sender writes, by the path it writes to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use prefold::model::{Labels, Sample, Timestamp};
use prefold::query::MemorySource;
use prefold::wire::proto::remote_write_v1::WriteRequest;
use prefold::wire::snappy;
use prost::Message;

const BODY_BYTES_MAX: usize = 1 << 26;

/// Samples by the path they were written to.
type Written = BTreeMap<String, BTreeMap<Labels, Vec<Sample>>>;

/// Receives until the test's process ends.
pub struct Receiver {
    pub port: u16,
    written: Arc<Mutex<Written>>,
}

impl Receiver {
    pub fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let written = Arc::new(Mutex::new(Written::new()));
        let kept = Arc::clone(&written);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                // A sender that breaks off connects again.
                std::thread::spawn(move || while serve(&socket, &kept).is_ok_and(|open| open) {});
            }
        });
        Receiver { port, written }
    }

    /// What was written to paths that end like this, up to an instant.
    pub fn source(&self, path_end: &str, to: i64) -> MemorySource {
        let written = self.written.lock().unwrap();
        let series = written.iter().filter(|(path, _)| path.ends_with(path_end)).flat_map(|(_, series)| series);
        let until = |samples: &Vec<Sample>| samples.iter().filter(|s| s.t.0 <= to).copied().collect::<Vec<_>>();
        series.map(|(labels, samples)| (labels.clone(), until(samples))).collect()
    }
}

/// Takes one request; false when the connection has ended.
fn serve(mut socket: &TcpStream, written: &Mutex<Written>) -> std::io::Result<bool> {
    let mut reader = BufReader::new(socket);
    let (mut line, mut path, mut length) = (String::new(), String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        line.clear();
    }
    if path.is_empty() {
        return Ok(false);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = snappy::decompress(&body, BODY_BYTES_MAX).expect("Prometheus writes snappy");
    let request = WriteRequest::decode(body.as_slice()).expect("Prometheus writes remote write 1.0");
    let mut all = written.lock().unwrap();
    let kept = all.entry(path).or_default();
    for series in request.timeseries {
        let labels = Labels::from_pairs(series.labels.into_iter().map(|label| (label.name, label.value)));
        let samples = series.samples.into_iter().map(|s| Sample { t: Timestamp(s.timestamp), v: s.value });
        kept.entry(labels).or_default().extend(samples);
    }
    drop(all);
    socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    Ok(true)
}
