//! A way to a broker that can be blocked: what is on it stays on it, and arrives when it is opened again.
//!
//! To the broker, a client behind a way that is blocked is one that was paused or cut off.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::topics::wait;

/// Listens on a port of its own until the process ends.
pub struct Proxy {
    pub port: u16,
    way: Arc<Way>,
}

#[derive(Default)]
struct Way {
    blocked: AtomicBool,
    /// Bytes that wait on the way to the broker.
    held: AtomicUsize,
}

impl Proxy {
    /// A way to a port that somebody will listen on, once `to` says which.
    pub fn start(to: impl Fn() -> u16 + Send + 'static) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, way) = (listener.local_addr().unwrap().port(), Arc::new(Way::default()));
        let opened = Arc::clone(&way);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let Ok(broker) = TcpStream::connect(("127.0.0.1", to())) else { continue };
                for (from, into, is_request) in
                    [(client.try_clone().unwrap(), broker.try_clone().unwrap(), true), (broker, client, false)]
                {
                    let way = Arc::clone(&opened);
                    std::thread::spawn(move || carry(&way, from, into, is_request));
                }
            }
        });
        Proxy { port, way }
    }

    pub fn block(&self, blocked: bool) {
        self.way.blocked.store(blocked, Ordering::Release);
    }

    /// Waits until a request stands before the blocked way.
    pub fn wait_held(&self) {
        wait("a request on the blocked way", || self.way.held.load(Ordering::Acquire) > 0);
    }
}

fn carry(way: &Way, mut from: TcpStream, mut into: TcpStream, is_request: bool) {
    let mut buffer = [0; 1 << 14];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        while way.blocked.load(Ordering::Acquire) {
            if is_request {
                way.held.fetch_max(count, Ordering::AcqRel);
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        if into.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(std::net::Shutdown::Both), into.shutdown(std::net::Shutdown::Both));
}
