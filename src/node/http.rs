//! The listener: one for everything, bounded in connections, header time and body size.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming as HyperBody;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};

use super::assembly::Node;
use super::{metrics, request_body, status};
use crate::proxy::pages;
use crate::proxy::params::{FORM_BYTES_MAX, Params};
use crate::proxy::{json, upstream::Incoming};

/// What a handler can ask of the process.
#[derive(Clone)]
pub struct Control {
    /// Tells that the jobs are to be read again.
    pub reload: mpsc::Sender<()>,
    /// Tells that the process is to stop.
    pub quit: mpsc::Sender<()>,
}

/// Serves until told to stop, then lets what runs finish for a while.
pub async fn serve(node: Arc<Node>, listener: TcpListener, control: Control, mut stop: watch::Receiver<bool>) {
    let limits = &node.config.limits;
    let connections = Arc::new(Semaphore::new(limits.http_connections_max));
    let header_timeout = Duration::from_millis(limits.header_read_timeout.0.unsigned_abs());
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        match accepted {
            Ok((socket, peer)) => {
                // Answers are small and waited for.
                let _ = socket.set_nodelay(true);
                let (node, control, stopped) = (Arc::clone(&node), control.clone(), stop.clone());
                tokio::spawn(async move {
                    connection(node, socket, peer, control, header_timeout, stopped).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    node: Arc<Node>,
    socket: tokio::net::TcpStream,
    peer: SocketAddr,
    control: Control,
    header_timeout: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request<HyperBody>| {
        let (node, control) = (Arc::clone(&node), control.clone());
        async move {
            let (head, body) = request.into_parts();
            let (body, rest) = request_body::shared(&head.headers, body);
            let response = handle(node, peer, control, Request::from_parts(head, body)).await;
            Ok::<Response, std::convert::Infallible>(rest.dropped(response).await)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(socket), service);
    let mut served = std::pin::pin!(served);
    tokio::select! {
        // A client that breaks off or is too slow has nobody to be told.
        _ = served.as_mut() => {}
        _ = stop.changed() => {
            served.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(Duration::from_secs(5), served).await;
        }
    }
}

async fn handle(node: Arc<Node>, peer: SocketAddr, control: Control, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    match (path.as_str(), &head.method) {
        (write, &Method::POST) if write.ends_with("/api/v1/write") => {
            node.receiver.write(&head.headers, &peer.ip().to_string(), body).await
        }
        (write, _) if write.ends_with("/api/v1/write") => {
            (StatusCode::METHOD_NOT_ALLOWED, "remote write is a POST\n").into_response()
        }
        ("/metrics", _) => own_metrics(&node),
        ("/-/healthy", _) => "Prefold is healthy.\n".into_response(),
        ("/-/ready", _) => ready(&node),
        ("/-/reload" | "/-/quit", _) => lifecycle(&node, &control, &path, &head.method).await,
        (own, _) if own.starts_with("/prefold/api/v1/") => own_page(&node, own, &head.headers, head.uri.query()),
        ("/" | "/prefold" | "/prefold/", _) => status_page(&node),
        _ => query(node, head, body).await,
    }
}

async fn query(node: Arc<Node>, head: axum::http::request::Parts, body: Body) -> Response {
    if node.proxy.upstream.is_none() && !node.caught_up() {
        let message = "the log is being replayed; ask again in a while, or set upstream.url";
        return json::error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let body = tokio::time::timeout(Duration::from_secs(30), to_bytes(body, FORM_BYTES_MAX)).await;
    let body: Bytes = match body {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return json::error(StatusCode::PAYLOAD_TOO_LARGE, "bad_data", "the form is larger than 1 MiB");
        }
        Err(_) => return json::error(StatusCode::REQUEST_TIMEOUT, "timeout", "the form did not arrive in time"),
    };
    node.proxy.handle(Incoming { method: head.method, path, headers: head.headers, body }).await
}

fn own_metrics(node: &Arc<Node>) -> Response {
    match metrics::render(node) {
        Ok(text) => ([(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE))], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n").into_response(),
    }
}

fn ready(node: &Node) -> Response {
    if let Some(why) = &*node.stream_status().failed.lock() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("streaming has stopped: {why}\n")).into_response();
    }
    "Prefold is ready.\n".into_response()
}

async fn lifecycle(node: &Arc<Node>, control: &Control, path: &str, method: &Method) -> Response {
    if !node.config.web.enable_lifecycle {
        return (StatusCode::FORBIDDEN, "lifecycle requests are off; set web.enable_lifecycle: true\n").into_response();
    }
    if !matches!(*method, Method::POST | Method::PUT) {
        return (StatusCode::METHOD_NOT_ALLOWED, "use POST\n").into_response();
    }
    if path == "/-/quit" {
        let _ = control.quit.try_send(());
        return "stopping\n".into_response();
    }
    let reloading = Arc::clone(node);
    match tokio::task::spawn_blocking(move || reloading.reload()).await {
        Ok(Ok(views)) => format!("{views} views are in force\n").into_response(),
        Ok(Err(problems)) => {
            (StatusCode::BAD_REQUEST, format!("nothing was changed, because of:\n{problems}\n")).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Nothing on it may be loaded, run or framed.
fn status_page(node: &Node) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, status::render(node)).into_response()
}

fn own_page(node: &Node, path: &str, headers: &HeaderMap, query: Option<&str>) -> Response {
    match path {
        "/prefold/api/v1/views" => pages::views(&node.proxy),
        "/prefold/api/v1/jobs" => pages::jobs(&node.proxy),
        "/prefold/api/v1/senders" => senders(node),
        "/prefold/api/v1/explain" => {
            let tenant = headers.get("X-Scope-OrgID").and_then(|value| value.to_str().ok()).unwrap_or_default();
            pages::explained(&node.proxy, &Params::parse(query.unwrap_or_default(), b""), tenant)
        }
        _ => json::error(
            StatusCode::NOT_FOUND,
            "not_found",
            &format!("there is no page {path}; there are views, jobs, senders, explain"),
        ),
    }
}

fn senders(node: &Node) -> Response {
    let senders = node.senders();
    let listed = senders
        .iter()
        .map(|seen| serde_json::json!({"tenant": seen.tenant, "sender": seen.sender, "first_ms": seen.first.0}));
    json::success(&serde_json::Value::from(listed.collect::<Vec<_>>()).to_string(), &json::Notes::default())
}
