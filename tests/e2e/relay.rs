//! A TCP relay between a sender and Prefold, which can stall and die: the network's and the sender's faults.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Connections are accepted and bytes are kept.
    Stuck,
    /// Connections are broken off.
    Dead,
}

#[derive(Debug)]
struct State {
    mode: Mutex<Mode>,
    changed: Condvar,
}

/// Relays until dropped.
pub struct Relay {
    pub port: u16,
    state: Arc<State>,
}

impl Relay {
    pub fn start(to: u16) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { mode: Mutex::new(Mode::Pass), changed: Condvar::new() });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            // The thread and its few connections end with the test's process.
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", to));
                let (Mode::Pass | Mode::Stuck, Ok(server)) = (accepting.mode(), server) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let state = Arc::clone(&accepting);
                    std::thread::spawn(move || state.pump(from, to));
                }
            }
        });
        Relay { port, state }
    }

    pub fn set(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
        self.state.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.set(Mode::Dead);
    }
}

impl State {
    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap()
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut chunk = [0; 16 * 1024];
        // So that death is noticed between bytes, too.
        let _ = from.set_read_timeout(Some(Duration::from_millis(200)));
        while self.mode() != Mode::Dead {
            match from.read(&mut chunk) {
                Ok(0) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(n) => {
                    let mode = self.mode.lock().unwrap();
                    let mode = *self.changed.wait_while(mode, |mode| *mode == Mode::Stuck).unwrap();
                    if mode == Mode::Dead || to.write_all(&chunk[..n]).is_err() {
                        break;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
