//! What is answered where: one listener for everything, each request by its path.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;

use super::assembly::{Node, StreamPart};
use super::queries::Queries;
use super::reload::Reloaded;
use super::role::{Asked, Role};
use super::{metrics, status};
use crate::model::{TENANT_HEADER, tenant_of_header};
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

/// Whether a request is answered even when queries hold every connection.
pub(super) fn must_go_on(path: &str) -> bool {
    path.ends_with("/api/v1/write") || path.starts_with("/-/") || path == "/metrics"
}

/// Answers one request.
pub(super) async fn handle(node: Arc<Node>, peer: SocketAddr, control: Control, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    match (path.as_str(), &head.method) {
        (write, method) if write.ends_with("/api/v1/write") => match (&node.ingest, method) {
            (None, _) => (StatusCode::NOT_FOUND, format!("{}\n", node.role.refusal(Asked::Writes))).into_response(),
            (Some(ingest), &Method::POST) => ingest.receiver.write(&head.headers, &peer.ip().to_string(), body).await,
            (Some(_), _) => (StatusCode::METHOD_NOT_ALLOWED, "remote write is a POST\n").into_response(),
        },
        ("/metrics", _) => own_metrics(&node),
        ("/-/healthy", _) => "Prefold is healthy.\n".into_response(),
        ("/-/ready", _) => ready(&node),
        ("/-/reload" | "/-/quit", _) => lifecycle(&node, &control, &path, &head.method).await,
        (own, _) if own.starts_with("/prefold/api/v1/") => own_page(&node, own, &head.headers, head.uri.query()),
        ("/" | "/prefold" | "/prefold/", _) => status_page(&node),
        _ => query(&node, head, body).await,
    }
}

async fn query(node: &Node, head: axum::http::request::Parts, body: Body) -> Response {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let Some(Queries { proxy, .. }) = &node.queries else { return refused(node.role, Asked::Queries) };
    if proxy.upstream.is_none() && !node.caught_up() {
        let message = format!("{}; ask again in a while, or set upstream.url", node.role.catching_up());
        return json::error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &message);
    }
    let body = tokio::time::timeout(Duration::from_secs(30), to_bytes(body, FORM_BYTES_MAX)).await;
    let body: Bytes = match body {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return json::error(StatusCode::PAYLOAD_TOO_LARGE, "bad_data", "the form is larger than 1 MiB");
        }
        Err(_) => return json::error(StatusCode::REQUEST_TIMEOUT, "timeout", "the form did not arrive in time"),
    };
    proxy.handle(Incoming { method: head.method, path, headers: head.headers, body }).await
}

/// What another role answers.
fn refused(role: Role, asked: Asked) -> Response {
    json::error(StatusCode::NOT_FOUND, "not_found", &role.refusal(asked))
}

fn own_metrics(node: &Arc<Node>) -> Response {
    match metrics::render(node) {
        Ok(text) => ([(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE))], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n").into_response(),
    }
}

/// A query replica that can neither answer nor forward is not ready; others have something to do before they have caught up.
fn ready(node: &Node) -> Response {
    let unanswering = |queries: &Queries| node.role == Role::Query && queries.proxy.upstream.is_none() && !node.caught_up();
    let why = if let Some(why) = node.streaming.as_ref().and_then(StreamPart::failed) {
        match node.role {
            Role::Worker | Role::Query => format!("something fails and is begun again every second: {why}\n"),
            Role::Run | Role::Gateway => format!("streaming has stopped: {why}\n"),
        }
    } else if let Some(why) = node.ingest.as_ref().and_then(|ingest| ingest.gateway.failing()) {
        format!("writes are refused: {why}\n")
    } else if node.queries.as_ref().is_some_and(unanswering) {
        format!("{}, and there is no upstream\n", node.role.catching_up())
    } else {
        return "Prefold is ready.\n".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
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
        Ok(Ok(Reloaded { views: Some(views) })) if node.role == Role::Worker => {
            format!("the jobs, of {views} views, are proposed to the cluster\n").into_response()
        }
        Ok(Ok(Reloaded { views: Some(views) })) => format!("{views} views are in force\n").into_response(),
        Ok(Ok(Reloaded { views: None })) if node.ingest.is_some() => "what is scraped was read again\n".into_response(),
        Ok(Ok(Reloaded { views: None })) => "there is nothing to read again: jobs are the cluster's\n".into_response(),
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
    match (path, &node.queries, &node.streaming) {
        ("/prefold/api/v1/jobs", _, Some(StreamPart { jobs, .. })) => {
            pages::jobs(&jobs.loaded().jobs, jobs.sets().map(|sets| sets.json()))
        }
        ("/prefold/api/v1/jobs", _, None) => refused(node.role, Asked::Jobs),
        ("/prefold/api/v1/views", Some(queries), _) => pages::views(&queries.proxy),
        ("/prefold/api/v1/views", None, _) => refused(node.role, Asked::Views),
        ("/prefold/api/v1/senders", Some(queries), _) => senders(queries),
        ("/prefold/api/v1/senders", None, _) => refused(node.role, Asked::Senders),
        ("/prefold/api/v1/explain", Some(queries), _) => {
            match tenant_of_header(headers.get(TENANT_HEADER).map(HeaderValue::as_bytes)) {
                Ok(tenant) => pages::explained(&queries.proxy, &Params::parse(query.unwrap_or_default(), b""), &tenant),
                Err(malformed) => json::bad_data(&malformed.to_string()),
            }
        }
        ("/prefold/api/v1/explain", None, _) => refused(node.role, Asked::Queries),
        _ => json::error(
            StatusCode::NOT_FOUND,
            "not_found",
            &format!("there is no page {path}; there are views, jobs, senders, explain"),
        ),
    }
}

fn senders(queries: &Queries) -> Response {
    let senders = queries.senders();
    let listed = senders
        .iter()
        .map(|seen| serde_json::json!({"tenant": seen.tenant, "sender": seen.sender, "first_ms": seen.first.0}));
    json::success(&serde_json::Value::from(listed.collect::<Vec<_>>()).to_string(), &json::Notes::default())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::model::Clock;
    use crate::node::clock::SystemClock;
    use crate::node::config::{Config, UpstreamConfig};
    use crate::node::in_force::JobsInForce;
    use crate::node::jobs::LoadedJobs;
    use crate::node::queries::open_store;
    use crate::node::stream::{Still, StreamStatus};

    /// A worker or a query replica, and what is known of its stream.
    fn node(role: Role, upstream: Option<&str>) -> (Arc<Node>, Arc<StreamStatus>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let config =
            Config { data_dir: dir.path().to_owned(), upstream: upstream.map(UpstreamConfig::new), ..Config::default() };
        let (status, loaded) = (Arc::new(StreamStatus::default()), LoadedJobs::default());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let queries = (role == Role::Query)
            .then(|| Queries::new(&config, open_store(&config).unwrap(), &loaded, &clock, &status).unwrap());
        let jobs = Arc::new(JobsInForce::new(loaded, None));
        let streaming = StreamPart::new(Arc::clone(&status), jobs, Box::new(Still));
        (Node::assemble((role, config, clock), None, queries, Some(streaming)), status, dir)
    }

    #[tokio::test]
    async fn who_is_not_ready_says_what_is_missing() {
        let check = async |node: &Node, status: u16, words: &str| {
            let said = ready(node);
            let found = said.status().as_u16();
            let text = to_bytes(said.into_body(), 1 << 10).await.unwrap();
            assert_eq!((found, std::str::from_utf8(&text).unwrap()), (status, words));
        };
        let fine = "Prefold is ready.\n";
        let (alone, status, _dir) = node(Role::Query, None);
        check(&alone, 503, "the results are being read, and there is no upstream\n").await;
        status.caught_up.store(true, Ordering::Relaxed);
        check(&alone, 200, fine).await;
        // It forwards what it cannot answer yet.
        let (forwarding, status, _dir) = node(Role::Query, Some("http://127.0.0.1:1"));
        check(&forwarding, 200, fine).await;
        status.fails("results", "no broker");
        check(&forwarding, 503, "something fails and is begun again every second: results: no broker\n").await;
        status.recovered("results");
        check(&forwarding, 200, fine).await;
        // A worker has work from the start.
        let (worker, status, _dir) = node(Role::Worker, None);
        check(&worker, 200, fine).await;
        status.fails("combine", "the topic is gone");
        check(&worker, 503, "something fails and is begun again every second: combine: the topic is gone\n").await;
    }
}
