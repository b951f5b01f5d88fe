//! Clients that ask for much and read nothing: they hold their connections for a while, and keep nobody from what must go on.

use std::net::SocketAddr;

use super::processes::{COUNT_JOB, Home, counted, until};
use super::receiver::Raw;

/// About 350 KB.
const LARGE: &str = "/api/v1/query_range?query=time()&start=0&end=10999&step=1";

/// A client that asks for more than the system takes in between and reads no more than that it is answered. None when it is
/// refused, as it is while whoever asked before still has its place.
async fn reader(address: SocketAddr) -> Option<Raw> {
    let raw = Raw::open(address).await;
    raw.send(format!("GET {LARGE} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(100).as_bytes()).await;
    let begins = until("a reader to be answered", async || match raw.come() {
        Some(come) if come.is_empty() => None,
        come => Some(come),
    })
    .await;
    begins.is_some_and(|come| come.starts_with(b"HTTP/1.1 200")).then_some(raw)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_read_no_answers_keep_nobody_out_for_long() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "limits: { http_connections_max: 4 }");
    let mut running = home.start().await;
    let ask = async |path: &str| running.request("GET", path, &[("Connection", "close")], Vec::new()).await;
    until("queries to be answered", async || (ask(LARGE).await.status == 200).then_some(())).await;
    let address: SocketAddr = running.base().trim_start_matches("http://").parse().unwrap();
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(until("a reader to find a place", async || reader(address).await).await);
    }
    let refused = ask("/api/v1/query?query=1").await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.text.contains("limits.http_connections_max"), "{refused:?}");
    for path in ["/-/healthy", "/-/ready", "/metrics"] {
        assert_eq!(ask(path).await.status, 200, "{path}");
    }
    assert_eq!(running.write(&counted("meanwhile")).await.status, 204);
    // Nobody waits for them for ever.
    until("queries to be answered again", async || (ask("/api/v1/query?query=1").await.status == 200).then_some(())).await;
    drop(readers);
    assert!(running.is_alive());
}

/// A request that has begun is answered, although the process is told to stop meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_at_the_end_is_answered() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let mut running = home.start().await;
    let address: SocketAddr = running.base().trim_start_matches("http://").parse().unwrap();
    let body = super::processes::body_v1(&counted("last"));
    let raw = Raw::open(address).await;
    let head = format!("POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    raw.send(head.as_bytes()).await;
    raw.send(&body[..1]).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    running.signal("TERM");
    until("it to be stopping", async || running.logs().contains("stopping").then_some(())).await;
    raw.send(&body[1..]).await;
    let (_, answer) = raw.wait().await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer:?}");
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.logs());
}
