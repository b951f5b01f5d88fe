//! The load of the cluster stages: the demo's series at a pace of the clock, and what every grid point must come to.
//!
//! Log time in Kafka is the broker's clock, so samples are of now. That a run of a minute does what a quarter of an hour of
//! samples every 15 s would, everything of the job is shorter by the same factor: windows, steps and the time between
//! samples. A window holds as many samples, and a sample is in as many windows.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::Duration;

use prefold::cli::workload::{BUCKETS, METHODS, Workload};
use prefold::model::{Clock, Labels, Sample, Timestamp};
use prefold::node::clock::SystemClock;

use crate::baseline::{Loop, Point};
use crate::process::{post, request};

const SERIES_PER_REQUEST: usize = 5_000;

/// Of a gateway, at once.
const CONNECTIONS: usize = 4;

/// How long a job's times are.
#[derive(Clone, Copy)]
pub struct Pace {
    pub scrape_ms: i64,
    pub window_ms: i64,
    pub step_ms: i64,
    pub max_delay_ms: i64,
}

/// A window of two minutes over samples every 15 s.
pub const REAL: Pace = Pace { scrape_ms: 15_000, window_ms: 120_000, step_ms: 30_000, max_delay_ms: 60_000 };

/// The same fifteen times as fast, but that the machine may be late.
pub const FAST: Pace = Pace { scrape_ms: 1_000, window_ms: 8_000, step_ms: 2_000, max_delay_ms: 15_000 };

impl Pace {
    /// The shipped job's query.
    pub fn job(&self) -> String {
        format!(
            r#"{{"name":"bench","rules":[{{"expr":"sum by (le, method, code) (rate({METRIC}{{app='A'}}[{}ms]))",
            "keep_labels":["env"],"step":"{}ms","max_delay":"{}ms"}}]}}"#,
            self.window_ms, self.step_ms, self.max_delay_ms
        )
    }

    /// A query that the job's view answers, by the groups of [`Load::sums`].
    pub fn query(&self) -> String {
        format!("sum by (le, method) (rate({METRIC}{{app='A'}}[{}ms]))", self.window_ms)
    }
}

const METRIC: &str = "grpc_server_requests_duration_ms_bucket";

/// Groups of the job: by bucket, method and environment; the method tells the code.
pub const GROUPS: usize = METHODS * BUCKETS.len() * 2;

pub struct Load {
    pace: Pace,
    labels: Vec<Labels>,
    /// By series, one a scrape.
    samples: Vec<Vec<Sample>>,
    gateways: Vec<String>,
    plain: Loop,
    sent: usize,
    began: Timestamp,
    next_due: Timestamp,
    /// The next grid point to be told.
    next_point: i64,
    /// The sums of every grid point whose window is whole, by group: bucket and method.
    pub sums: BTreeMap<i64, Vec<f64>>,
}

impl Load {
    /// Of so many scrapes at most, spread over the gateways request by request.
    pub fn new(pace: Pace, series: usize, scrapes: usize, gateways: &[&str]) -> Load {
        let workload = Workload { series, start: Timestamp(0) };
        let group = |n: usize| (n % (METHODS * BUCKETS.len())) as u32;
        let now = SystemClock.now();
        Load {
            pace,
            labels: (0..series).map(|n| workload.labels(n)).collect(),
            samples: (0..series).map(|n| workload.samples(n, scrapes)).collect(),
            gateways: gateways.iter().map(|address| (*address).to_owned()).collect(),
            plain: Loop::new((0..series).map(group).collect(), pace.window_ms),
            sent: 0,
            began: now,
            next_due: now + pace.scrape_ms,
            next_point: ((now.0 + pace.window_ms) / pace.step_ms + 1) * pace.step_ms,
            sums: BTreeMap::new(),
        }
    }

    /// Scrapes sent.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// How far it has come, as log time.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// The next scrape, when it is due: its samples are spread over the interval that ends then.
    pub fn scrape(&mut self) {
        let early = self.next_due - SystemClock.now();
        if early > 0 {
            std::thread::park_timeout(Duration::from_millis(early as u64));
        }
        // A machine that is late sends less often: samples that are too old would not be counted.
        let base = SystemClock.now().max(self.next_due) - self.pace.scrape_ms;
        self.next_due = base + 2 * self.pace.scrape_ms;
        let scrape = self.sent;
        self.sent += 1;
        let (labels, samples, pace, gateways) = (&self.labels, &self.samples, self.pace, &self.gateways);
        let sample = |n: usize| Sample { t: base + offset(n, pace), v: samples[n][scrape].v };
        let requests: Vec<_> = (0..labels.len()).step_by(SERIES_PER_REQUEST).collect();
        std::thread::scope(|scope| {
            for connection in 0..CONNECTIONS {
                let mine = requests.iter().enumerate().skip(connection).step_by(CONNECTIONS);
                scope.spawn(move || {
                    // Gateways close connections that were silent for as long as a scrape may be.
                    let connect = |address: &String| TcpStream::connect(address).expect("it listens");
                    let mut streams: Vec<TcpStream> = gateways.iter().map(connect).collect();
                    for (turn, first) in mine {
                        let numbers = *first..(first + SERIES_PER_REQUEST).min(labels.len());
                        let gateway = (turn + scrape) % streams.len();
                        post(&mut streams[gateway], &request(numbers.map(|n| (labels[n].clone(), sample(n)))));
                    }
                });
            }
        });
        (0..labels.len()).for_each(|n| {
            let Sample { t, v } = sample(n);
            self.plain.push(Point { series: n as u32, t, v });
        });
        while self.next_point <= base.0 + self.pace.scrape_ms {
            self.plain.evaluate(self.next_point);
            self.sums.insert(self.next_point, self.plain.sums.clone());
            self.next_point += self.pace.step_ms;
        }
    }
}

/// Scrapes of an instance come at its own moment within the interval.
fn offset(number: usize, pace: Pace) -> i64 {
    let instance = (number / (METHODS * BUCKETS.len())) as i64;
    1 + instance * 7919 % (pace.scrape_ms - 2)
}
