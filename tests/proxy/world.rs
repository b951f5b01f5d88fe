//! A proxy over a store that is filled by hand: which grid points are final, and what time it is, is for a test to say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use prefold::model::commit::FIELDS_MAX;
use prefold::model::{Clock, Commit, Labels, ResultPoint, SpanReason, Timestamp, Uncover, ViewId};
use prefold::plan::Catalog;
use prefold::promql::parse;
use prefold::proxy::upstream::{Incoming, Upstream, encode_form};
use prefold::proxy::{Activity, Proxy, ProxyOptions, ViewActivity};
use prefold::query::{self, EvalOptions, MemorySource, QueryLimits, Value};
use prefold::store::{Durability, Store, StoreOptions, ViewDescription};

use super::upstream::FakeUpstream;
use crate::oracle::equal;
use crate::rewrite::world::{TestView, catalog, contents};

/// A time of day that stands still until it is set.
#[derive(Default)]
pub struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// What the stream would know of the views: their values are those of the samples.
fn activity(store: &Arc<Store>, catalog: &Arc<Catalog>, samples: &Arc<MemorySource>) -> Activity {
    let (store, catalog, samples) = (Arc::clone(store), Arc::clone(catalog), Arc::clone(samples));
    Arc::new(move |view| {
        let newest = store.view(view).and_then(|state| state.final_to);
        let shape = catalog.get(view).map(|entry| entry.view.shape.values());
        let valued_series = newest.zip(shape).map(|(t, values)| {
            let values = parse(&values).unwrap();
            match query::instant(&values, t, &*samples, &EvalOptions::default()).unwrap().value {
                Value::Vector(points) => (t, points.len() as u64),
                other => panic!("{other:?}"),
            }
        });
        ViewActivity { output_series: 10, window_samples: 1000, valued_series, ..ViewActivity::default() }
    })
}

/// A proxy, what it stands on, and what stands behind it.
pub struct World {
    pub proxy: Arc<Proxy>,
    pub upstream: Option<FakeUpstream>,
    pub clock: Arc<TestClock>,
    pub catalog: Arc<Catalog>,
    samples: Arc<MemorySource>,
    /// The first grid point of every view.
    first: Timestamp,
    _folder: tempfile::TempDir,
}

/// An answer of the proxy.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: serde_json::Value,
}

/// Labels, then time in milliseconds and value.
pub type Points = BTreeMap<(String, i64), f64>;

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The points of a vector or matrix.
    #[track_caller]
    pub fn points(&self) -> Points {
        let mut points = BTreeMap::new();
        for one in self.body["data"]["result"].as_array().unwrap_or_else(|| panic!("{self:?}")) {
            let values = one.get("values").and_then(|values| values.as_array()).cloned();
            for at in values.unwrap_or_else(|| vec![one["value"].clone()]) {
                let t = (at[0].as_f64().unwrap() * 1000.0).round() as i64;
                points.insert((one["metric"].to_string(), t), at[1].as_str().unwrap().parse().unwrap());
            }
        }
        points
    }
}

pub fn options() -> ProxyOptions {
    ProxyOptions {
        limits: QueryLimits::default(),
        query_timeout: Duration::from_secs(120),
        query_concurrency_max: 20,
        edge_values_max: 100_000,
        compare: false,
        clients_trusted: false,
        edge_omit: false,
        evaluation_interval_ms: None,
    }
}

impl World {
    /// Nothing is final yet.
    pub fn new(views: Vec<TestView>, samples: MemorySource, upstream: Option<FakeUpstream>, options: ProxyOptions) -> World {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path(), StoreOptions::default()).unwrap());
        let catalog = Arc::new(catalog(&views));
        for entry in catalog.entries() {
            let description = ViewDescription {
                step_ms: entry.view.step_ms,
                fields: entry.view.shape.aggregation.fields.len() as u8,
                retention_ms: i64::MAX / 4,
                text: String::new(),
            };
            store.describe(entry.view.id, description).unwrap();
        }
        let clock = Arc::new(TestClock::default());
        let client = upstream.as_ref().map(|fake| Upstream::new(&fake.url, Duration::from_secs(60), &[]).unwrap());
        let samples = Arc::new(samples);
        let activity = activity(&store, &catalog, &samples);
        let as_clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&clock);
        let proxy = Proxy::new(store, (Arc::clone(&catalog), Arc::default()), client, as_clock, activity, options);
        World { proxy: Arc::new(proxy), upstream, clock, catalog, samples, first: Timestamp(600_000), _folder: folder }
    }

    /// The same, whose views begin at another time in seconds.
    pub fn first(self, first_s: i64) -> World {
        World { first: Timestamp(first_s * 1000), ..self }
    }

    pub fn now(&self, seconds: i64) {
        self.clock.0.store(seconds * 1000, Ordering::Relaxed);
    }

    pub fn id(&self, name: &str) -> ViewId {
        self.catalog.entries().find(|entry| entry.rule == name).unwrap_or_else(|| panic!("no view {name}")).view.id
    }

    /// Makes a view's grid points final, from the one behind the last to one at a time in seconds.
    pub fn emit(&self, name: &str, to_s: i64) {
        let entry = self.catalog.get(self.id(name)).unwrap();
        let (view, grid) = (entry.view.id, entry.view.grid());
        let final_to = self.proxy.store.view(view).and_then(|state| state.final_to);
        let from = final_to.map_or(self.first, |t| grid.after(t));
        let to = Timestamp(to_s * 1000);
        let mut results: BTreeMap<(Timestamp, Labels), [f64; FIELDS_MAX]> = BTreeMap::new();
        for (place, field) in entry.view.shape.aggregation.fields.iter().enumerate() {
            for (labels, points) in contents(&self.samples, &entry.expr, Some(field), grid, from, to) {
                points.iter().for_each(|p| results.entry((p.t, labels.clone())).or_default()[place] = p.v);
            }
        }
        let point =
            |((t, labels), fields): ((Timestamp, Labels), _)| ResultPoint { view, group: Arc::new(labels), t, fields };
        self.commit(Commit {
            results: results.into_iter().map(point).collect(),
            final_to: vec![(view, to)],
            covered_from: if final_to.is_none() { vec![(view, from)] } else { Vec::new() },
            ..Commit::default()
        });
    }

    /// Uncovers a view; an open span has no end.
    pub fn uncover(&self, name: &str, reason: SpanReason, from_s: i64, to_s: Option<i64>) {
        let to = to_s.map_or(Timestamp::MAX, |to_s| Timestamp(to_s * 1000));
        let span = Uncover { view: self.id(name), reason, from: Timestamp(from_s * 1000), to };
        self.commit(Commit { spans: vec![span], ..Commit::default() });
    }

    pub fn commit(&self, commit: Commit) {
        self.proxy.store.apply(&commit, Durability::Later).unwrap();
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(Method::GET, path, headers, Bytes::new()).await
    }

    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        let pair =
            |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        let headers = headers.iter().map(pair).collect();
        let incoming = Incoming { method, path: path.to_owned(), headers, body };
        let (head, body) = self.proxy.handle(incoming).await.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub async fn range(&self, query: &str, (start_s, end_s, step_s): (i64, i64, i64), headers: &[(&str, &str)]) -> Answer {
        let form = [
            ("query", query.to_owned()),
            ("start", start_s.to_string()),
            ("end", end_s.to_string()),
            ("step", step_s.to_string()),
        ];
        self.get(&format!("/api/v1/query_range?{}", encode_form(&form)), headers).await
    }

    pub async fn instant(&self, query: &str, time: &str, headers: &[(&str, &str)]) -> Answer {
        let form = [("query", query.to_owned()), ("time", time.to_owned())];
        self.get(&format!("/api/v1/query?{}", encode_form(&form)), headers).await
    }

    /// What the samples say: the answer that must be given.
    pub async fn raw(&self, query: &str, range: (i64, i64, i64)) -> Points {
        let fake = self.upstream.as_ref().expect("a world with an upstream");
        let before = fake.take_questions();
        let (failed, lied) =
            (fake.behaviour.fails.swap(false, Ordering::Relaxed), fake.behaviour.lies.swap(false, Ordering::Relaxed));
        let answer = self.range(query, range, &[("X-Prefold-Rewrite", "off")]).await;
        assert_eq!(answer.header("x-prefold-answer"), "forwarded");
        fake.set_fails(failed);
        fake.set_lies(lied);
        *fake.behaviour.asked.lock().unwrap() = before;
        answer.points()
    }
}

/// Equal within what summing in another order changes.
#[track_caller]
pub fn assert_equal(ours: &Points, raw: &Points, context: &str) {
    assert_eq!(ours.keys().collect::<Vec<_>>(), raw.keys().collect::<Vec<_>>(), "{context}");
    for (key, value) in ours {
        let other = raw[key];
        assert!(equal(*value, other), "{context}: {key:?} is {value}, upstream says {other}");
    }
}
