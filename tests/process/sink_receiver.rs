//! A receiver of remote write 1.0 and 2.0 inside the test, which keeps every sample and may refuse, fail or wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use prefold::wire::proto::{remote_write_v1 as v1, remote_write_v2 as v2};
use prefold::wire::snappy;
use prost::Message;

use super::remote_write::V2;

/// Labels as JSON, time in milliseconds, bits of the value.
pub type Sample = (String, i64, u64);

/// What it does beside taking.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Everything is taken.
    Takes,
    /// The next requests are answered like this, with these headers; then everything is taken.
    Fails(VecDeque<(u16, Vec<(&'static str, &'static str)>)>),
    /// A request with a label of this value is refused as a whole, with these words.
    Refuses(&'static str, &'static str),
    /// 2.0 is answered 415.
    KnowsNoV2,
    /// 2.0 is read as an empty request of 1.0.
    TakesV2ForV1,
    /// It takes so long to answer.
    Slow(Duration),
}

/// The running server; it ends with the runtime of its test.
pub struct SinkReceiver {
    pub url: String,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    manner: Manner,
    /// In the order in which they came.
    samples: Vec<Sample>,
    headers: Vec<HeaderMap>,
}

impl SinkReceiver {
    pub async fn start(manner: Manner) -> SinkReceiver {
        SinkReceiver::listen(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(), manner)
    }

    pub fn listen(listener: tokio::net::TcpListener, manner: Manner) -> SinkReceiver {
        let url = format!("http://{}/api/v1/write", listener.local_addr().unwrap());
        let kept = Arc::new(Mutex::new(Kept { manner, samples: Vec::new(), headers: Vec::new() }));
        let router = axum::Router::new().fallback(receive).with_state(Arc::clone(&kept));
        tokio::spawn(async move { axum::serve(listener, router).await });
        SinkReceiver { url, kept }
    }

    /// In the order in which they came, doubles included.
    pub fn samples(&self) -> Vec<Sample> {
        self.kept.lock().unwrap().samples.clone()
    }

    pub fn distinct(&self) -> BTreeSet<Sample> {
        self.samples().into_iter().collect()
    }

    /// The headers of every request.
    pub fn headers(&self) -> Vec<HeaderMap> {
        self.kept.lock().unwrap().headers.clone()
    }

    pub fn forget(&self) {
        let mut kept = self.kept.lock().unwrap();
        (kept.samples, kept.headers) = (Vec::new(), Vec::new());
    }

    /// One value per series and time, and times that only go on, but for what was sent again.
    #[track_caller]
    pub fn check_order(&self) {
        let (mut values, mut newest) = (BTreeMap::new(), BTreeMap::new());
        for (labels, t, bits) in self.samples() {
            match values.insert((labels.clone(), t), bits) {
                Some(before) => assert_eq!(before, bits, "{labels} has two values at {t}"),
                None => {
                    let before = newest.insert(labels.clone(), t);
                    assert!(before.is_none_or(|before| before < t), "{labels} at {t} comes after {before:?}");
                }
            }
        }
    }
}

async fn receive(State(kept): State<Arc<Mutex<Kept>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 26).await.unwrap();
    kept.lock().unwrap().headers.push(head.headers.clone());
    let manner = kept.lock().unwrap().manner.clone();
    let is_v2 = head.headers.get("content-type").is_some_and(|value| value == V2);
    let unpacked = snappy::decompress(&body, 1 << 26).expect("snappy");
    let samples = if is_v2 { of_v2(&unpacked) } else { of_v1(&unpacked) };
    match manner {
        Manner::Fails(mut answers) => {
            if let Some((status, headers)) = answers.pop_front() {
                kept.lock().unwrap().manner = Manner::Fails(answers);
                let mut response = (StatusCode::from_u16(status).unwrap(), "\n  come again\nlater").into_response();
                for (name, value) in headers {
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
                return response;
            }
        }
        Manner::Refuses(label, words) if samples.iter().any(|(labels, ..)| labels.contains(label)) => {
            return (StatusCode::BAD_REQUEST, words).into_response();
        }
        Manner::KnowsNoV2 if is_v2 => return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response(),
        Manner::TakesV2ForV1 if is_v2 => return StatusCode::NO_CONTENT.into_response(),
        Manner::Slow(how_long) => tokio::time::sleep(how_long).await,
        _ => {}
    }
    let written = samples.len().to_string();
    kept.lock().unwrap().samples.extend(samples);
    let mut response = StatusCode::NO_CONTENT.into_response();
    if is_v2 {
        response.headers_mut().insert("x-prometheus-remote-write-samples-written", written.parse().unwrap());
    }
    response
}

fn of_v1(body: &[u8]) -> Vec<Sample> {
    let request = v1::WriteRequest::decode(body).expect("remote write 1.0");
    assert!(!request.timeseries.is_empty() && request.metadata.is_empty());
    let series = request.timeseries.into_iter().flat_map(|series| {
        let labels = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
        let samples: Vec<(i64, f64)> = series.samples.iter().map(|sample| (sample.timestamp, sample.value)).collect();
        checked(labels, &samples)
    });
    series.collect()
}

fn of_v2(body: &[u8]) -> Vec<Sample> {
    let request = v2::Request::decode(body).expect("remote write 2.0");
    assert_eq!(request.symbols[0], "");
    let distinct: BTreeSet<_> = request.symbols.iter().collect();
    assert_eq!(distinct.len(), request.symbols.len(), "each string stands once");
    let text = |number: &u32| request.symbols[*number as usize].clone();
    let series = request.timeseries.iter().flat_map(|series| {
        assert_eq!(series.metadata, Some(v2::Metadata { r#type: 2, help_ref: 0, unit_ref: 0 }), "results are gauges");
        let labels = series.labels_refs.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
        let samples: Vec<(i64, f64)> = series.samples.iter().map(|sample| (sample.timestamp, sample.value)).collect();
        checked(labels, &samples)
    });
    series.collect()
}

/// What a sender must hold to: labels sorted by name, each once, none empty; samples in time order.
fn checked(labels: Vec<(String, String)>, samples: &[(i64, f64)]) -> Vec<Sample> {
    assert!(labels.windows(2).all(|two| two[0].0 < two[1].0), "{labels:?}");
    assert!(labels.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()), "{labels:?}");
    assert!(!samples.is_empty() && samples.windows(2).all(|two| two[0].0 < two[1].0), "{labels:?} {samples:?}");
    let labels = serde_json::json!(labels.into_iter().collect::<BTreeMap<_, _>>()).to_string();
    samples.iter().map(|(t, v)| (labels.clone(), *t, v.to_bits())).collect()
}
