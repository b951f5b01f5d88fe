//! Bodies and clients that mean harm, or are broken: sizes that lie, bytes that are none, headers and bodies that never
//! come, more connections than are let in. Others are served meanwhile, and the process stays as it was.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use prefold::wire::{remote_write_v1, remote_write_v2, snappy};
use tokio::net::TcpStream;

use super::Random;
use super::processes::{
    COUNT_JOB, COUNT_QUERY, Home, PATIENCE, Running, body_v1, corpus, counted, labels, now_ms, sample, until,
};

const V2: (&str, &str) = ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request");

/// A normal write is taken.
async fn still_takes(running: &mut Running) {
    assert_eq!(running.write(&counted("after")).await.status, 204);
    assert!(running.is_alive());
}

#[tokio::test]
async fn sizes_that_lie_or_are_too_large_are_refused_unbelieved() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "ingest: { body_bytes_max: 256KiB }");
    let mut running = home.start().await;
    still_takes(&mut running).await;
    let before = running.resident_bytes();
    let limit = 256 << 10;
    let noise = |len: usize| -> Vec<u8> {
        let mut random = Random(1);
        (0..len).map(|_| random.next() as u8).collect()
    };
    let claiming = |length: &[u8]| [length, b"\x00a"].concat();
    for (name, body, status) in [
        ("4 GiB claimed", claiming(&[0xff, 0xff, 0xff, 0xff, 0x0f]), 400),
        ("more than 4 GiB claimed", claiming(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), 400),
        ("a length without end", vec![0xff; 64], 400),
        ("one byte over, unpacked", snappy::compress(&vec![0; limit + 1]), 400),
        ("4 MiB of zeros in a small body", snappy::compress(&vec![0; 4 << 20]), 400),
        ("one byte over, packed", noise(limit + 1), 413),
        ("as large as allowed, and no snappy", noise(limit), 400),
        ("nested as deep as a message can be", snappy::compress(&[0x0a; 200_000]), 400),
    ] {
        for headers in [&[][..], &[V2]] {
            let answer = running.request("POST", "/api/v1/write", headers, body.clone()).await;
            assert_eq!(answer.status, status, "{name}: {answer:?}");
            if status == 413 {
                assert!(answer.text.contains("ingest.body_bytes_max (262144 bytes)"), "{name}: {answer:?}");
            }
        }
    }
    // Many times the limit: the rest is read and dropped, so that the answer arrives.
    let client = reqwest::Client::new();
    let answer = client.post(format!("{}/api/v1/write", running.base())).body(noise(64 << 20)).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    still_takes(&mut running).await;
    let grew = running.resident_bytes().saturating_sub(before);
    assert!(grew < 200 << 20, "{grew} bytes were taken for bodies of 256 KiB");
    let refused = |reason| format!("prefold_ingest_refused_total{{reason=\"{reason}\"}}");
    assert_eq!(running.metric(&refused("body-too-large")).await, 3.0);
    assert_eq!(running.metric(&refused("body-malformed")).await, 14.0);
}

/// Senders are remembered, and their names are theirs to choose: one that takes a new one for each request fills nothing.
#[tokio::test]
async fn senders_beyond_the_limit_are_told_and_those_known_go_on() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "limits: { senders_max: 3 }");
    let running = home.start().await;
    let body = body_v1(&counted("senders"));
    let write =
        async |name: &str, value: &str| running.request("POST", "/api/v1/write", &[(name, value)], body.clone()).await;
    for _ in 0..2 {
        for sender in ["a", "b"] {
            assert_eq!(write("X-Prefold-Sender", sender).await.status, 204);
        }
        assert_eq!(write("X-Scope-OrgID", "another").await.status, 204);
    }
    for header in ["X-Prefold-Sender", "X-Forwarded-For"] {
        let answer = write(header, "c").await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "5"), "{answer:?}");
        assert!(answer.text.contains("limits.senders_max"), "{answer:?}");
    }
    for header in ["X-Prefold-Sender", "X-Scope-OrgID"] {
        let answer = write(header, &"x".repeat(300)).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.text.contains("has 300 bytes, the limit is 256"), "{answer:?}");
    }
    let refused = |reason| format!("prefold_ingest_refused_total{{reason=\"{reason}\"}}");
    assert_eq!(running.metric(&refused("too-many-senders")).await, 2.0);
    assert_eq!(running.metric(&refused("origin-too-long")).await, 2.0);
    assert_eq!(running.metric("prefold_ingest_samples_total").await, 6.0);
}

fn files(folder: &str) -> Vec<Vec<u8>> {
    let entries = corpus(folder).into_iter().flat_map(|path| std::fs::read_dir(path).unwrap());
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

#[tokio::test]
async fn no_bytes_end_the_process_or_reach_the_results() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let mut running = home.start().await;
    let t = now_ms();
    let series = |n: i64| {
        let pairs = [("__name__", "c_total"), ("g", "flipped"), ("i", &n.to_string())];
        (labels(&pairs), (0..5).map(|k| sample(t + k, k as f64)).collect())
    };
    let good: Vec<_> = (0..4).map(series).collect();
    let (one, two) = (remote_write_v1::encode(&good), remote_write_v2::encode(&good));
    let mut bodies = Vec::new();
    for file in files("vectors/snappy").into_iter().chain(files("expositions/expfmt_protobuf")) {
        bodies.push((snappy::compress(&file), false));
        bodies.push((snappy::compress(&file), true));
        bodies.push((file, false));
    }
    let mut random = Random(11);
    for n in 0..600 {
        let v2 = n % 2 == 1;
        let (mut bytes, packed_first) = (if v2 { two.clone() } else { one.clone() }, n % 3 == 0);
        if packed_first {
            bytes = snappy::compress(&bytes);
        }
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
        if random.below(3) == 0 {
            bytes.truncate(random.below(bytes.len() as u64) as usize);
        }
        bodies.push((if packed_first { bytes } else { snappy::compress(&bytes) }, v2));
    }
    let mut taken = 0;
    for (body, v2) in &bodies {
        let headers: &[(&str, &str)] = if *v2 { &[V2] } else { &[] };
        let answer = running.request("POST", "/api/v1/write", headers, body.clone()).await;
        assert!([204, 400].contains(&answer.status), "{body:02x?}: {answer:?}");
        taken += usize::from(answer.status == 204);
    }
    println!("{taken} of {} broken bodies could still be read", bodies.len());
    assert!(taken < bodies.len());
    still_takes(&mut running).await;
    let at = (now_ms() / 1000 + 1) * 1000;
    running.final_to(1, at).await;
    let results = running.results(COUNT_QUERY, at, at, 1000).await;
    assert_eq!(results[r#"{"g":"after"}"#][&at], "1", "{results:?}");
}

/// A connection by hand.
pub(super) struct Raw(TcpStream);

impl Raw {
    pub async fn open(address: SocketAddr) -> Raw {
        Raw(TcpStream::connect(address).await.unwrap())
    }

    /// False when the other side has closed.
    pub async fn send(&self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            self.0.writable().await.unwrap();
            match self.0.try_write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// What has come; None when the other side has closed.
    pub fn come(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 4096];
        match self.0.try_read(&mut buffer) {
            Ok(0) => None,
            Ok(read) => Some(buffer[..read].to_vec()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Some(Vec::new()),
            Err(_) => None,
        }
    }

    /// Sends bytes one by one with pauses, again and again, until the other side closes: after how long, with what words.
    async fn drip(&self, bytes: &[u8], pause: Duration) -> (Duration, String) {
        let (began, mut answer) = (Instant::now(), Vec::new());
        for byte in bytes.iter().cycle() {
            assert!(began.elapsed() < Duration::from_secs(100), "a slow client is served for ever");
            let open = self.send(&[*byte]).await;
            tokio::time::sleep(pause).await;
            match self.come() {
                Some(more) if open => answer.extend(more),
                last => {
                    answer.extend(last.unwrap_or_default());
                    break;
                }
            }
        }
        (began.elapsed(), String::from_utf8_lossy(&answer).into_owned())
    }

    /// Sends no more and waits until the other side closes.
    pub async fn wait(&self) -> (Duration, String) {
        let (began, mut answer) = (Instant::now(), Vec::new());
        while let Some(more) = self.come() {
            answer.extend(more);
            assert!(began.elapsed() < Duration::from_secs(100), "a silent client is kept for ever");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (began.elapsed(), String::from_utf8_lossy(&answer).into_owned())
    }
}

const HEAD: &str = "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n";

/// Headers have limits.header_read_timeout, bodies a minute, forms half of one; who is quick is served all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_come_to_an_end_are_closed_while_others_are_served() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "limits: { header_read_timeout: 2s }");
    let mut running = home.start().await;
    let address: SocketAddr = running.base().trim_start_matches("http://").parse().unwrap();
    let slow_headers = tokio::spawn(async move {
        let raw = Raw::open(address).await;
        raw.send(b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\n").await;
        raw.drip(b"X-Slow: yes\r\n", Duration::from_millis(100)).await
    });
    let silent = tokio::spawn(async move { Raw::open(address).await.wait().await });
    let no_body = tokio::spawn(async move {
        let raw = Raw::open(address).await;
        raw.send(HEAD.as_bytes()).await;
        raw.wait().await
    });
    let slow_body = tokio::spawn(async move {
        let raw = Raw::open(address).await;
        raw.send(HEAD.replace("1000", "1000000").as_bytes()).await;
        raw.drip(b"a", Duration::from_millis(500)).await
    });
    let slow_form = tokio::spawn(async move {
        let raw = Raw::open(address).await;
        raw.send(HEAD.replace("write", "query").as_bytes()).await;
        raw.wait().await
    });
    let mut written = 0;
    while !(slow_headers.is_finished() && silent.is_finished() && no_body.is_finished() && slow_form.is_finished()) {
        let began = Instant::now();
        assert_eq!(running.write(&counted("quick")).await.status, 204);
        assert!(began.elapsed() < Duration::from_secs(10), "a quick client waited {:?}", began.elapsed());
        written += 1;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(written > 20);
    let within = |(took, answer): (Duration, String), least: u64, most: u64, statuses: &[&str]| {
        let inside = took >= Duration::from_secs(least) && took <= Duration::from_secs(most);
        let told = statuses.iter().any(|status| answer.starts_with(&format!("HTTP/1.1 {status}")));
        assert!(inside && (told || statuses.is_empty()), "closed after {took:?} with {answer:?}, expected {statuses:?}");
    };
    within(slow_headers.await.unwrap(), 1, 15, &[]);
    within(silent.await.unwrap(), 1, 15, &[]);
    within(slow_form.await.unwrap(), 25, 50, &["408", "503"]);
    within(no_body.await.unwrap(), 50, 90, &["408", "503"]);
    within(slow_body.await.unwrap(), 50, 95, &["408", "503"]);
    let refused = running.metric("prefold_ingest_refused_total{reason=\"body-malformed\"}").await;
    assert!(refused >= 2.0, "two bodies never came and {refused} are counted as refused");
    still_takes(&mut running).await;
}

/// What is more than a request's line or headers may be is not read to its end.
#[tokio::test]
async fn lines_and_headers_have_bounds() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let mut running = home.start().await;
    let address: SocketAddr = running.base().trim_start_matches("http://").parse().unwrap();
    for (request, statuses) in [
        (format!("GET /api/v1/query?query={} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000)), &["414"][..]),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20)), &["431", ""]),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: 1\r\n".repeat(1000)), &["431"]),
        ("\0\x01\x02 nonsense\r\n\r\n".to_owned(), &["400"]),
        ("POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned(), &["400"]),
        ("POST /api/v1/write HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(), &["400"]),
    ] {
        let raw = Raw::open(address).await;
        raw.send(request.as_bytes()).await;
        let (_, answer) = raw.wait().await;
        let found = answer.strip_prefix("HTTP/1.1 ").map_or("", |rest| &rest[..3]);
        assert!(statuses.contains(&found), "{:.60}: {answer:?}, expected {statuses:?}", request);
    }
    still_takes(&mut running).await;
}

/// More connections than are let in wait; idle ones make room, and every write is taken in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_beyond_the_limit_keep_nobody_out() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "limits: { http_connections_max: 16, header_read_timeout: 1s }");
    let mut running = home.start().await;
    let address: SocketAddr = running.base().trim_start_matches("http://").parse().unwrap();
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(Raw::open(address).await);
    }
    let url = format!("{}/api/v1/write", running.base());
    let t = now_ms();
    // Each has a connection of its own, which it gives up when it is done. Made before: that takes longer than a header may.
    let clients = (0..60).map(|_| reqwest::Client::builder().timeout(PATIENCE).build().unwrap()).collect::<Vec<_>>();
    let writes: Vec<_> = (0..)
        .zip(clients)
        .map(|(n, client): (usize, _)| {
            let (url, instance) = (url.clone(), n.to_string());
            let series = vec![(labels(&[("__name__", "c_total"), ("g", "many"), ("i", &instance)]), vec![sample(t, 1.0)])];
            tokio::spawn(async move {
                let request = client.post(&url).header("Connection", "close").body(body_v1(&series));
                request.send().await.map(|response| response.status().as_u16())
            })
        })
        .collect();
    for write in writes {
        assert_eq!(write.await.unwrap().unwrap(), 204);
    }
    assert_eq!(running.metric("prefold_ingest_samples_total").await, 60.0);
    assert!(running.is_alive());
}

/// Bodies that stall share what all may take: others are told to come again, and find room when those are gone.
#[tokio::test]
async fn bodies_in_flight_have_one_bound() {
    let home =
        Home::new(&[("count.json", COUNT_JOB)], "ingest: { body_bytes_max: 1MiB }\nlimits: { bodies_bytes_max: 2MiB }");
    let mut running = home.start().await;
    let address: SocketAddr = running.base().trim_start_matches("http://").parse().unwrap();
    let mut stalled = Vec::new();
    let told = until("a write to be told to come again", async || {
        // Two of these take all there is. One that finds a write in its way is refused itself, so there are more.
        let raw = Raw::open(address).await;
        raw.send(HEAD.replace("1000", "1048576").as_bytes()).await;
        raw.send(&vec![0; (1 << 20) - 1]).await;
        stalled.push(raw);
        let answer = running.write(&counted("others")).await;
        (answer.status != 204).then_some(answer)
    })
    .await;
    assert_eq!((told.status, told.header("retry-after")), (503, "5"), "{told:?}");
    assert!(told.text.contains("limits.bodies_bytes_max (2097152 bytes)"), "{told:?}");
    assert!(running.metric("prefold_ingest_refused_total{reason=\"bodies-full\"}").await >= 1.0);
    drop(stalled);
    until("room", async || (running.write(&counted("others")).await.status == 204).then_some(())).await;
    still_takes(&mut running).await;
}
