//! Nothing crosses tenants (semantics.md S1): one metric, one sender's name and one set of labels in several tenants, from a
//! request's header to each tenant's own results.
//!
//! Sees: a sample, a refused series or an unreadable body of one tenant that touches another's view. Cannot see: queries;
//! whose question a request is has tests of the proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue};
use prefold::ingest::gateway::{Gateway, GatewayOptions};
use prefold::ingest::remote_write::{Receiver, ReceiverOptions};
use prefold::log::{EmbeddedLog, EmbeddedOptions, Log};
use prefold::model::{Clock, Labels, Sample, SpanReason, Tenant, Timestamp, ViewId};
use prefold::node::stream::{Stream, StreamOptions};
use prefold::plan::Catalog;
use prefold::plan::spec::{ReadOptions, read_job};
use prefold::store::{ReadLimits, Store, StoreOptions};
use prefold::wire::{remote_write_v1, snappy};

const BEGIN: i64 = 1_700_000_000_000;

const TENANTS: [&str; 3] = ["", "a", "b"];

const JOB: &str = r#"{"name":"count","rules":[{"expr":"sum(sum_over_time(x[10s]))","step":"1s","max_delay":"2s"}]}"#;

struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// One view for each tenant, of one expression.
fn catalog() -> (Catalog, Vec<ViewId>) {
    let jobs = TENANTS.map(|tenant| {
        let options = ReadOptions { tenant: Tenant::from(tenant), ..ReadOptions::default() };
        read_job("count.json".as_ref(), JOB, &options).unwrap()
    });
    let ids = jobs.iter().map(|job| job.rules[0].view.id).collect();
    (Catalog::new(&jobs), ids)
}

async fn write(receiver: &Receiver, tenant: &str, body: Vec<u8>) -> u16 {
    let mut headers = HeaderMap::new();
    headers.insert("X-Scope-OrgID", HeaderValue::from_str(tenant).unwrap());
    receiver.write(&headers, "192.0.2.1", Body::from(body)).await.status().as_u16()
}

/// Value `v` of `x` at a second, and a label that may be too long.
fn body(second: i64, v: f64, label: &str) -> Vec<u8> {
    let labels = Labels::from_pairs([("__name__", "x"), ("n", label)]);
    let samples = vec![Sample { t: Timestamp(BEGIN + second * 1000), v }];
    snappy::compress(&remote_write_v1::encode(&[(labels, samples)]))
}

#[tokio::test]
async fn s1_what_one_tenant_sends_is_in_its_own_results_and_in_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let manual = Arc::new(ManualClock(AtomicI64::new(BEGIN)));
    let clock: Arc<dyn Clock> = Arc::clone(&manual) as Arc<dyn Clock>;
    let options = EmbeddedOptions { tick_interval: Duration::from_millis(5), ..EmbeddedOptions::new(Arc::clone(&clock)) };
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(&dir.path().join("log"), options).unwrap());
    let store = Arc::new(Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap());
    let (catalog, ids) = catalog();
    let options = StreamOptions { threads: 2, new_senders_uncover: true };
    let _stream = Stream::start(Arc::clone(&log), Arc::clone(&store), Arc::new(catalog), options).unwrap();
    let receiver = Receiver {
        gateway: Arc::new(Gateway::new(log, clock, GatewayOptions::default())),
        options: ReceiverOptions {
            body_bytes_max: 1 << 20,
            sender_header: "X-Prefold-Sender".to_owned(),
            body_timeout: Duration::from_secs(60),
        },
    };
    for second in 1..=40 {
        manual.0.store(BEGIN + second * 1000 + 100, Ordering::SeqCst);
        assert_eq!(write(&receiver, "", body(second, 1.0, "1")).await, 204);
        assert_eq!(write(&receiver, "a", body(second, 100.0, "1")).await, 204);
    }
    assert_eq!(write(&receiver, "a", body(40, 1.0, &"x".repeat(20_000))).await, 400);
    assert_eq!(write(&receiver, "", b"rubbish".to_vec()).await, 400);
    // A stranger in this tenant, though the sender's name is known in others.
    assert_eq!(write(&receiver, "b", b"rubbish".to_vec()).await, 400);
    manual.0.store(BEGIN + 44_000, Ordering::SeqCst);

    let (began, at) = (Instant::now(), Timestamp(BEGIN + 40_000));
    let final_to = |id: &ViewId| store.view(*id).and_then(|state| state.final_to).unwrap_or(Timestamp::MIN);
    while !ids.iter().all(|id| final_to(id) >= at) {
        assert!(began.elapsed() < Duration::from_secs(90), "waited for the last second to be final");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let limits = ReadLimits { series_max: usize::MAX, points_max: usize::MAX };
    let value = |id: &ViewId| -> Vec<f64> {
        let groups = store.read(*id, &[], at, at, limits).unwrap();
        groups.iter().flat_map(|group| group.fields[0].first().copied()).collect()
    };
    assert_eq!(ids.iter().map(value).collect::<Vec<_>>(), [vec![10.0], vec![1000.0], vec![]]);
    let spans = |id: &ViewId, reason| -> Vec<(i64, i64)> {
        let state = store.view(*id).unwrap();
        let spans = state.spans.iter().filter(|span| span.reason == reason);
        spans.map(|span| (span.from.0 - BEGIN, span.to.0 - BEGIN)).collect()
    };
    let refused: Vec<_> = ids.iter().map(|id| spans(id, SpanReason::Refused)).collect();
    assert_eq!(refused, [vec![(38_100, 50_100)], vec![(40_000, 50_000)], vec![]]);
    let new: Vec<usize> = ids.iter().map(|id| spans(id, SpanReason::SenderNew).len()).collect();
    assert_eq!(new, [1, 1, 0]);
}
