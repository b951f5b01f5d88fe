//! A load balancer between a sender and those that take its writes: each request goes to the next one in turn.
//!
//! A sender keeps its connections, so a relay of bytes would leave each of its shards with one gateway for ever.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

const BODY_BYTES_MAX: usize = 1 << 26;

/// How many requests each of the servers has answered with 2xx, by connection of the sender.
pub type Taken = BTreeMap<SocketAddr, Vec<u64>>;

/// Balances until the runtime of its test ends.
pub struct Balancer {
    balanced: Arc<Balanced>,
}

struct Balanced {
    client: reqwest::Client,
    /// Their addresses, as `http://HOST:PORT`.
    servers: Vec<String>,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    turn: usize,
    taken: Taken,
}

impl Balancer {
    /// Listens on a port of 127.0.0.1.
    pub async fn start(port: u16, servers: Vec<String>) -> Balancer {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let balanced = Arc::new(Balanced { client, servers, counted: Mutex::default() });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let router = axum::Router::new().fallback(pass_on).with_state(Arc::clone(&balanced));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Balancer { balanced }
    }

    pub fn taken(&self) -> Taken {
        self.balanced.counted.lock().unwrap().taken.clone()
    }
}

async fn pass_on(
    State(balanced): State<Arc<Balanced>>,
    ConnectInfo(sender): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (mut head, body) = request.into_parts();
    // A sender that breaks off comes again.
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let turn = {
        let mut counted = balanced.counted.lock().unwrap();
        counted.turn += 1;
        counted.turn % balanced.servers.len()
    };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let url = format!("{}{path}", balanced.servers[turn]);
    for own in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION] {
        head.headers.remove(own);
    }
    let request = balanced.client.request(head.method, url).headers(head.headers);
    match request.header("x-forwarded-for", sender.ip().to_string()).body(body).send().await {
        Ok(answer) => {
            if answer.status().is_success() {
                let mut counted = balanced.counted.lock().unwrap();
                let taken = counted.taken.entry(sender).or_insert_with(|| vec![0; balanced.servers.len()]);
                taken[turn] += 1;
            }
            (answer.status(), Body::from(answer.bytes().await.unwrap_or_default())).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
