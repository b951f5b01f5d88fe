//! An upstream that is made up: the engine over samples in memory, behind a real socket.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use prefold::model::Timestamp;
use prefold::promql::parse;
use prefold::proxy::json::{self, Notes};
use prefold::proxy::params::Params;
use prefold::query::{self, EvalOptions, MemorySource, QueryError, Value};

/// What it was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub path: String,
    pub query: String,
    /// `time`, or `start..end`, in milliseconds.
    pub times: (i64, i64),
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// What it does beside answering.
pub struct Behaviour {
    pub samples: MemorySource,
    /// Answers to paths of lists, by path without parameters.
    pub lists: Vec<(&'static str, StatusCode, String)>,
    /// Every answer is 503.
    pub fails: AtomicBool,
    /// Every value of an instant query is one more than it is.
    pub lies: AtomicBool,
    /// The latter half of every series of a range query is native histograms.
    pub histograms: AtomicBool,
    /// Range queries over other times than these are 503.
    pub only: Mutex<Option<(i64, i64)>>,
    /// Instant queries wait for this many permits.
    pub gate: tokio::sync::Semaphore,
    pub waiting: AtomicUsize,
    pub asked: Mutex<Vec<Question>>,
}

/// The running server; it ends with the runtime of its test.
pub struct FakeUpstream {
    pub url: String,
    pub behaviour: Arc<Behaviour>,
}

impl FakeUpstream {
    pub async fn start(samples: MemorySource, lists: Vec<(&'static str, StatusCode, String)>) -> FakeUpstream {
        let behaviour = Arc::new(Behaviour {
            samples,
            lists,
            fails: AtomicBool::new(false),
            lies: AtomicBool::new(false),
            histograms: AtomicBool::new(false),
            only: Mutex::default(),
            gate: tokio::sync::Semaphore::new(tokio::sync::Semaphore::MAX_PERMITS),
            waiting: AtomicUsize::new(0),
            asked: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&behaviour));
        tokio::spawn(async move { axum::serve(listener, router).await });
        FakeUpstream { url, behaviour }
    }

    /// What it was asked since the last call, in order of query and time.
    pub fn take_asked(&self) -> Vec<(String, i64, i64)> {
        let asked = std::mem::take(&mut *self.behaviour.asked.lock().unwrap());
        let mut asked: Vec<_> = asked.into_iter().map(|one| (one.query, one.times.0, one.times.1)).collect();
        asked.sort();
        asked
    }

    /// What it was asked since the last call, whole and as it came.
    pub fn take_questions(&self) -> Vec<Question> {
        std::mem::take(&mut *self.behaviour.asked.lock().unwrap())
    }

    pub fn set_fails(&self, fails: bool) {
        self.behaviour.fails.store(fails, Ordering::Relaxed);
    }

    pub fn set_lies(&self, lies: bool) {
        self.behaviour.lies.store(lies, Ordering::Relaxed);
    }

    /// Instant queries are not answered before [`FakeUpstream::open`].
    pub fn close(&self) {
        self.behaviour.gate.forget_permits(usize::MAX);
    }

    pub fn open(&self) {
        self.behaviour.gate.add_permits(tokio::sync::Semaphore::MAX_PERMITS / 2);
    }

    pub fn waiting(&self) -> usize {
        self.behaviour.waiting.load(Ordering::Relaxed)
    }
}

async fn answer(State(behaviour): State<Arc<Behaviour>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let params = Params::parse(head.uri.query().unwrap_or_default(), &body);
    let path = head.uri.path().to_owned();
    let instant = |name: &str| params.instant(name, Timestamp(0)).unwrap_or(Timestamp(0));
    let times = match path.ends_with("query_range") {
        true => (instant("start"), instant("end")),
        false => (instant("time"), instant("time")),
    };
    let query = params.get("query").unwrap_or_default().to_owned();
    behaviour.asked.lock().unwrap().push(Question {
        path: head.uri.to_string(),
        query: query.clone(),
        times: (times.0.0, times.1.0),
        headers: headers(&head.headers),
        body: body.clone(),
    });
    if behaviour.fails.load(Ordering::Relaxed) {
        return json::error(StatusCode::SERVICE_UNAVAILABLE, "timeout", "the made-up upstream fails");
    }
    let only = *behaviour.only.lock().unwrap();
    if path.ends_with("query_range") && only.is_some_and(|only| only != (times.0.0, times.1.0)) {
        return json::error(StatusCode::SERVICE_UNAVAILABLE, "timeout", "the made-up upstream wants it whole");
    }
    if let Some((_, status, body)) = behaviour.lists.iter().find(|(list, ..)| *list == path) {
        return json::json(*status, body.clone());
    }
    let evaluated = match path.as_str() {
        "/api/v1/query" => {
            behaviour.waiting.fetch_add(1, Ordering::Relaxed);
            let _permit = behaviour.gate.acquire().await.unwrap();
            behaviour.waiting.fetch_sub(1, Ordering::Relaxed);
            evaluate(&query, |expr| query::instant(expr, times.0, &behaviour.samples, &EvalOptions::default()))
        }
        "/api/v1/query_range" => {
            let step_ms = params.step_ms("step").unwrap();
            evaluate(&query, |expr| {
                query::range(expr, times.0, times.1, step_ms, &behaviour.samples, &EvalOptions::default())
            })
        }
        _ => return (StatusCode::NOT_FOUND, "no such page\n").into_response(),
    };
    match evaluated {
        Ok(Value::Vector(mut points)) if behaviour.lies.load(Ordering::Relaxed) => {
            points.iter_mut().for_each(|point| point.sample.v += 1.0);
            json::success(&json::result(&Value::Vector(points)), &Notes::default())
        }
        Ok(Value::Matrix(series)) if behaviour.histograms.load(Ordering::Relaxed) => with_histograms(series),
        Ok(value) => json::success(&json::result(&value), &Notes::default()),
        Err(error) => json::query_error(&error),
    }
}

fn with_histograms(mut series: Vec<query::MatrixSeries>) -> Response {
    let halves: Vec<_> = series.iter_mut().map(|one| one.points.split_off(one.points.len().div_ceil(2))).collect();
    let mut data: serde_json::Value = serde_json::from_str(&json::result(&Value::Matrix(series))).unwrap();
    for (one, half) in data["result"].as_array_mut().unwrap().iter_mut().zip(halves) {
        let histogram = |point: prefold::model::Sample| serde_json::json!([point.t.seconds(), {"count": "1", "sum": "2"}]);
        one["histograms"] = half.into_iter().map(histogram).collect();
    }
    json::success(&data.to_string(), &Notes::default())
}

fn evaluate(
    query: &str,
    run: impl FnOnce(&prefold::promql::Expr) -> Result<query::Evaluated, QueryError>,
) -> Result<Value, QueryError> {
    let expr = parse(query).map_err(|error| QueryError::bad_data(error.to_string()))?;
    run(&expr).map(|evaluated| evaluated.value)
}

fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect()
}
