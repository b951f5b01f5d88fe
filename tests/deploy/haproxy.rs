//! HAProxy itself, with the shipped configuration on ports of this machine: Prometheus answers when no replica does.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use super::text;
use crate::ports::free_port;
use crate::process::processes::{COUNT_JOB, Home, answered, until};

/// Stopped when dropped.
struct HaProxy(Child);

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers every request in one way, for as long as the process lives.
fn answering(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// A process with every role stands for a query replica: both say at /-/ready whether they answer.
#[tokio::test]
async fn prometheus_answers_while_no_replica_does() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let mut replica = home.start().await;
    let (prometheus, [front, metrics, gone]) =
        (answering("prometheus"), [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port()))));
    let config = text("deploy/haproxy.cfg")
        .replace("bind :9480", &format!("bind {front}"))
        .replace("bind :8404", &format!("bind {metrics}"))
        .replace("query-1:9480", replica.base().trim_start_matches("http://"))
        .replace("query-2:9480", &gone.to_string())
        .replace("prometheus:9090", &prometheus.to_string());
    let file = home.path().join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    let logged = File::create(home.path().join("haproxy.log")).unwrap();
    let started = Command::new("haproxy").arg("-db").arg("-f").arg(&file).stdout(logged).stderr(Stdio::null()).spawn();
    let _haproxy = match started {
        Ok(child) => HaProxy(child),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "haproxy: {error}; bash tests/run --install-only");
            return println!("skipped: haproxy: {error}");
        }
    };
    let client = reqwest::Client::new();
    let ask = async || answered(client.get(format!("http://{front}/api/v1/query?query=1"))).await.ok();
    until("the replica to answer", async || ask().await.filter(|answer| answer.header("x-prefold-answer") == "local")).await;
    let counted = answered(client.get(format!("http://{metrics}/metrics"))).await.unwrap();
    assert!(counted.status == 200 && counted.text.contains("haproxy_backend_status"), "{counted:?}");
    replica.kill();
    until("Prometheus to answer", async || ask().await.filter(|answer| answer.text == "prometheus")).await;
}
