//! Ports for programs that must be told one, which stay free for them.
//!
//! A port that was free a moment ago may have been given to a connection, or to another test, before the program listens.

use std::sync::Mutex;

use tokio::net::TcpSocket;

/// A port of 127.0.0.1 that is the caller's until this process ends, whether a program listens on it or not.
pub fn free_port() -> u16 {
    static HELD: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let socket = held_port();
    let port = socket.local_addr().unwrap().port();
    HELD.lock().unwrap().push(socket);
    port
}

/// A socket that has a port of 127.0.0.1 and does not listen. While it is there, the kernel gives the port to no connection
/// and to nobody who asks for any; but a program that is told the port, and allows the reuse of addresses as servers do, can
/// listen on it, again and again.
pub fn held_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket
}

#[test]
fn a_free_port_stays_free_for_whoever_is_told_it() {
    use std::net::{TcpListener, TcpStream};

    let port = free_port();
    // More often than a kernel would need to come back to a port that nobody holds.
    let asked = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert!((0..100_000).all(|_| asked() != port));
    for _ in 0..2 {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "nobody listens");
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        drop((TcpStream::connect(("127.0.0.1", port)).unwrap(), listener.accept().unwrap()));
    }
}
