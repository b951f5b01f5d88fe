//! A sender that the test holds: it samples once a second, writes to upstream at once, and to Prefold as it is told.
//!
//! Like a remote-write queue it has shards: each has a part of the series, sends bodies in order, one at a time, and sends a
//! body again until it is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use prefold::model::{Labels, Sample, Timestamp};
use prefold::wire::{remote_write_v1, snappy};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::super::processes::now_ms;

/// Samples lie here within their second: off the edges of windows, which 2.42 closes on the left.
const WITHIN_SECOND_MS: i64 = 370;

/// Between two attempts to send a body.
const RETRY: Duration = Duration::from_millis(100);

/// Bodies that wait in a shard, one a second: an hour of them.
const QUEUE_BODIES_MAX: usize = 3_600;

/// The series of one moment; the number counts seconds from the sender's start.
pub type Page = Box<dyn Fn(i64) -> Vec<(Labels, f64)> + Send + Sync>;

type Body = Vec<(Labels, Vec<Sample>)>;

/// What becomes of a shard's bodies on their way to Prefold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Open,
    /// They wait.
    Stuck,
    /// They are lost.
    Cut,
}

/// How a sender is made.
pub struct Plan {
    /// `X-Prefold-Sender`; the address says who it is when there is none.
    pub name: Option<&'static str>,
    /// Added to what Prefold gets.
    pub external_labels: Vec<(&'static str, &'static str)>,
    pub shards: usize,
    pub way: Way,
    pub page: Page,
}

impl Plan {
    pub fn new(page: impl Fn(i64) -> Vec<(Labels, f64)> + Send + Sync + 'static) -> Plan {
        Plan { name: None, external_labels: Vec::new(), shards: 1, way: Way::Open, page: Box::new(page) }
    }
}

/// Samples until dropped.
pub struct Sender {
    shards: Vec<watch::Sender<Way>>,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    client: reqwest::Client,
    plan: Plan,
    upstream: String,
    prefold: String,
    /// Every sample up to this time is in upstream.
    written_to: AtomicI64,
    ended: AtomicBool,
    /// How long the next body waits for its second half, in ms; 0 for a body that is sent whole.
    half_for_ms: AtomicI64,
}

impl Sender {
    /// Starts one that writes to these base URLs.
    pub fn start(plan: Plan, upstream: &str, prefold: &str) -> Sender {
        let shared = Arc::new(Shared {
            client: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap(),
            upstream: format!("{upstream}/api/v1/write"),
            prefold: format!("{prefold}/api/v1/write"),
            written_to: AtomicI64::new(now_ms() - 1),
            ended: AtomicBool::new(false),
            half_for_ms: AtomicI64::new(0),
            plan,
        });
        let (mut shards, mut queues, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..shared.plan.shards {
            let (way, ways) = watch::channel(shared.plan.way);
            let (queue, bodies) = mpsc::channel(QUEUE_BODIES_MAX);
            tasks.push(tokio::spawn(Arc::clone(&shared).deliver(bodies, ways)));
            shards.push(way);
            queues.push(queue);
        }
        tasks.push(tokio::spawn(Arc::clone(&shared).sample(queues)));
        Sender { shards, shared, tasks }
    }

    /// Changes the way of all shards.
    pub fn set(&self, way: Way) {
        (0..self.shards.len()).for_each(|shard| self.set_shard(shard, way));
    }

    pub fn set_shard(&self, shard: usize, way: Way) {
        self.shards[shard].send_replace(way);
    }

    /// Of the next body one half is taken; all of it is sent again so much later.
    pub fn halve_next(&self, for_ms: i64) {
        self.shared.half_for_ms.store(for_ms, Ordering::Relaxed);
    }

    /// Whether the last halved body has been sent again.
    pub fn is_whole(&self) -> bool {
        self.shared.half_for_ms.load(Ordering::Relaxed) == 0
    }

    /// No more samples, and no markers.
    pub fn end(&self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }

    /// Every sample that will ever be up to this time is in upstream.
    pub fn written_to(&self) -> i64 {
        self.shared.written_to.load(Ordering::Acquire)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    async fn sample(self: Arc<Self>, queues: Vec<mpsc::Sender<Body>>) {
        let first = now_ms() / 1000 + 1;
        for second in first.. {
            let t = second * 1000 + WITHIN_SECOND_MS;
            while now_ms() <= t {
                tokio::time::sleep(Duration::from_millis((t - now_ms()).max(1) as u64)).await;
            }
            if self.ended.load(Ordering::Relaxed) {
                self.written_to.store(i64::MAX, Ordering::Release);
                return;
            }
            let sampled = (self.plan.page)(second - first);
            let body: Body = sampled.into_iter().map(|(labels, v)| (labels, vec![Sample { t: Timestamp(t), v }])).collect();
            while !matches!(self.post(&self.upstream, &body).await, Ok(200..=299)) {
                tokio::time::sleep(RETRY).await;
            }
            // The next one comes in a second.
            self.written_to.store(t + 999, Ordering::Release);
            for (shard, queue) in queues.iter().enumerate() {
                let part = body
                    .iter()
                    .skip(shard)
                    .step_by(queues.len())
                    .map(|(labels, samples)| (self.sent(labels), samples.clone()));
                assert!(queue.try_send(part.collect()).is_ok(), "a shard has ended, or was stuck for an hour");
            }
        }
    }

    /// As Prefold gets them.
    fn sent(&self, labels: &Labels) -> Labels {
        let own = labels.iter().map(|label| (label.name.clone(), label.value.clone()));
        let external = self.plan.external_labels.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Labels::from_pairs(own.chain(external))
    }

    async fn deliver(self: Arc<Self>, mut bodies: mpsc::Receiver<Body>, mut ways: watch::Receiver<Way>) {
        while let Some(body) = bodies.recv().await {
            let half_for_ms = self.half_for_ms.load(Ordering::Relaxed);
            if half_for_ms > 0 {
                let half: Body = body.iter().step_by(2).cloned().collect();
                self.insist(&half, &mut ways).await;
                tokio::time::sleep(Duration::from_millis(half_for_ms as u64)).await;
                self.half_for_ms.store(0, Ordering::Relaxed);
            }
            self.insist(&body, &mut ways).await;
        }
    }

    /// Until it is taken or lost.
    async fn insist(&self, body: &Body, ways: &mut watch::Receiver<Way>) {
        loop {
            let way = *ways.wait_for(|way| *way != Way::Stuck).await.unwrap();
            if way == Way::Cut {
                return;
            }
            match self.post(&self.prefold, body).await {
                Ok(200..=299) => return,
                Ok(status) => assert!(status >= 500, "a good body was refused with {status}"),
                Err(_) => {}
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn post(&self, url: &str, body: &Body) -> Result<u16, reqwest::Error> {
        let request = self.client.post(url).header("Content-Encoding", "snappy");
        let request = request.header("Content-Type", "application/x-protobuf");
        let request = match self.plan.name {
            Some(name) => request.header("X-Prefold-Sender", name),
            None => request,
        };
        let answer = request.body(snappy::compress(&remote_write_v1::encode(body))).send().await?;
        Ok(answer.status().as_u16())
    }
}
