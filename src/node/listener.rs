//! Connections: how many there may be, and what each may take.
//!
//! Clients that are slow to ask are bounded by the time of their headers, those that are slow to read by the time in which
//! some of an answer must have gone out. When queries hold every connection, a few more are kept for what must go on all
//! the same: remote write, metrics and the health pages, one request each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming as HyperBody;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

use super::assembly::Node;
use super::http::{Control, handle, must_go_on};
use super::request_body;

/// Connections beyond the limit, for what must go on when all others are taken.
const SPARE_CONNECTIONS: usize = 16;

/// How long a client may take to read some of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long requests that run may go on when the process is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// How many connections there may be.
struct Places {
    usual: Arc<Semaphore>,
    usual_max: usize,
    spare: Arc<Semaphore>,
}

/// Held while a connection lasts.
struct Place {
    _permit: OwnedSemaphorePermit,
    is_spare: bool,
}

impl Places {
    fn new(max: usize) -> Places {
        Places { usual: Arc::new(Semaphore::new(max)), usual_max: max, spare: Arc::new(Semaphore::new(SPARE_CONNECTIONS)) }
    }

    /// A usual place if there is one, else a spare one.
    fn try_take(&self) -> Option<Place> {
        let take = |places: &Arc<Semaphore>, is_spare| {
            Arc::clone(places).try_acquire_owned().ok().map(|permit| Place { _permit: permit, is_spare })
        };
        take(&self.usual, false).or_else(|| take(&self.spare, true))
    }

    /// Waits until there is one.
    async fn available(&self) {
        tokio::select! {
            _ = self.usual.acquire() => {}
            _ = self.spare.acquire() => {}
        }
    }

    /// Waits until every connection has ended.
    async fn all_given_back(&self) {
        let count = |max: usize| u32::try_from(max).unwrap_or(u32::MAX);
        let _ = self.usual.acquire_many(count(self.usual_max)).await;
        let _ = self.spare.acquire_many(count(SPARE_CONNECTIONS)).await;
    }
}

/// Serves until told to stop; then requests that run may end within [`DRAIN`].
pub async fn serve(node: Arc<Node>, listener: TcpListener, control: Control, mut stop: watch::Receiver<bool>) {
    let limits = &node.config.limits;
    let places = Places::new(limits.http_connections_max);
    let header_timeout = Duration::from_millis(limits.header_read_timeout.0.unsigned_abs());
    loop {
        let accepted = tokio::select! {
            accepted = async { places.available().await; listener.accept().await } => accepted,
            _ = stop.changed() => break,
        };
        match accepted {
            Ok((socket, peer)) => {
                // Only this loop takes places: the one that was free is free still.
                let Some(place) = places.try_take() else { continue };
                // Answers are small and waited for.
                let _ = socket.set_nodelay(true);
                let connection =
                    Connection { node: Arc::clone(&node), peer, control: control.clone(), is_spare: place.is_spare };
                let stopped = stop.clone();
                tokio::spawn(async move {
                    connection.serve(socket, header_timeout, stopped).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    if tokio::time::timeout(DRAIN, places.all_given_back()).await.is_err() {
        tracing::warn!("requests still ran when the process stopped; their clients see a broken connection");
    }
}

struct Connection {
    node: Arc<Node>,
    peer: SocketAddr,
    control: Control,
    is_spare: bool,
}

impl Connection {
    async fn serve(self, socket: TcpStream, header_timeout: Duration, mut stop: watch::Receiver<bool>) {
        let is_spare = self.is_spare;
        let connection = Arc::new(self);
        let service = service_fn(move |request: Request<HyperBody>| {
            let connection = Arc::clone(&connection);
            async move { Ok::<Response, std::convert::Infallible>(connection.answer(request).await) }
        });
        let mut socket = TimeoutStream::new(socket);
        socket.set_write_timeout(Some(WRITE_TIMEOUT));
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .keep_alive(!is_spare)
            .serve_connection(TokioIo::new(Box::pin(socket)), service);
        let mut served = std::pin::pin!(served);
        tokio::select! {
            // A client that breaks off or is too slow has nobody to be told.
            _ = served.as_mut() => {}
            _ = stop.changed() => {
                served.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(DRAIN, served).await;
            }
        }
    }

    async fn answer(&self, request: Request<HyperBody>) -> Response {
        let (head, body) = request.into_parts();
        if self.is_spare && !must_go_on(head.uri.path()) {
            return no_place(self.node.config.limits.http_connections_max);
        }
        let (body, rest) = request_body::shared(&head.headers, body);
        let request = Request::from_parts(head, Body::new(body));
        rest.dropped(handle(Arc::clone(&self.node), self.peer, self.control.clone(), request).await).await
    }
}

fn no_place(max: usize) -> Response {
    let message = format!("all {max} connections are in use (limits.http_connections_max); ask again in a while\n");
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn spare_places_come_after_the_usual_ones() {
        let places = Places::new(2);
        let mut taken: Vec<Place> = (0..2).map(|_| places.try_take().unwrap()).collect();
        assert!(taken.iter().all(|place| !place.is_spare));
        taken.extend((0..SPARE_CONNECTIONS).map(|_| places.try_take().unwrap()));
        assert!(taken[2..].iter().all(|place| place.is_spare) && places.try_take().is_none());
        taken.remove(0);
        places.available().await;
        assert!(!places.try_take().unwrap().is_spare);
        drop(taken);
        places.all_given_back().await;
    }
}
