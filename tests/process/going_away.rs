//! Clients that go away, and bodies that are far too large: what is left of them ends, and the answer arrives.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::processes::{COUNT_JOB, Home, PATIENCE, form, until};
use crate::proxy::limits::slow_query;

/// The work ends with the connection, long before it would by itself.
#[tokio::test]
async fn a_dropped_connection_stops_its_evaluation() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let running = home.start().await;
    let slow = slow_query();
    let body = form(&[("query", slow.as_str()), ("start", "0"), ("end", "10000"), ("step", "1")]);
    let mut connection = TcpStream::connect(running.base().trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /api/v1/query_range HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let is = async |name: &str, value: f64| (running.metric(name).await == value).then_some(());
    until("the evaluation to run", async || is("prefold_query_evaluations_running", 1.0).await).await;
    drop(connection);
    until("the evaluation to end", async || is("prefold_query_evaluations_running", 0.0).await).await;
    assert_eq!(running.metric("prefold_query_canceled_total").await, 1.0);
}

/// Asks with a body of so many bytes, all of them written before the answer is read, or none of them.
async fn answer_to(address: &str, path: &str, bytes: usize, waits_to_be_told: bool) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let expect = if waits_to_be_told { "Expect: 100-continue\r\n" } else { "" };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{expect}Content-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {bytes}\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let pieces = if waits_to_be_told { 0 } else { bytes >> 20 };
    for at in 0..pieces {
        let written = connection.write_all(&[b'a'; 1 << 20]).await;
        written.unwrap_or_else(|error| panic!("{path}: {error} after {at} MiB"));
    }
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut answer)).await.expect("an answer");
    read.unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8_lossy(&answer).into_owned()
}

/// A server that closed early would break the connection while the client still writes.
#[tokio::test]
async fn bodies_far_over_the_limit_are_answered_and_not_reset() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "ingest: { body_bytes_max: 256KiB }");
    let mut running = home.start().await;
    let address = running.base().trim_start_matches("http://").to_owned();
    let before = running.resident_bytes();
    for (path, status) in [("/api/v1/query", 413), ("/api/v1/write", 415), ("/-/quit", 403), ("/nope", 413)] {
        let answer = answer_to(&address, path, 40 << 20, false).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer:.200}");
    }
    // A client that waits to be told to send is told no, without having sent anything.
    let answer = answer_to(&address, "/api/v1/write", 40 << 20, true).await;
    assert!(answer.starts_with("HTTP/1.1 415"), "{answer:.200}");
    assert!(running.resident_bytes().saturating_sub(before) < 100 << 20);
    assert!(running.is_alive());
}
