//! One Prefold, its senders, and the upstream that all such worlds share: their metrics have names of their own.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use prefold::model::Labels;
use serde_json::{Value, json};

use super::super::compare::{Edge, compare, points};
use super::super::http::{Api, Method, Reply, Steps};
use super::super::prefold::Prefold;
use super::super::processes::{free_port, now_ms};
use super::super::prometheus::Prometheus;
use super::sender::{Plan, Sender};

/// The grid of these worlds' jobs, in ms.
pub const STEP: i64 = 2_000;

/// Their max_delay, in ms, unless a job says otherwise.
pub const MAX_DELAY: i64 = 4_000;

/// A view is compared with upstream at most once a minute: what depends on that waits for longer.
pub const A_MINUTE_OF_TRUST: Duration = Duration::from_secs(63);

/// How long views may take to answer again. Unequal comparisons make pauses grow.
const PATIENCE: Duration = Duration::from_secs(300);

/// README: a step that is not final is left out for max_delay, a step and half a minute at most.
const LEFT_OUT_MAX: i64 = STEP + 30_000;

/// See the file's header.
pub struct World {
    pub prefold: Prefold,
    pub senders: Vec<Sender>,
    upstream: Api,
    _shared: Arc<Prometheus>,
    setting: Setting,
    /// The first grid point asked for.
    from: i64,
    compared: usize,
    rounds: usize,
}

/// What a world asks and keeps.
#[derive(Clone)]
pub struct Setting {
    pub rules: Vec<Value>,
    pub queries: Vec<String>,
    /// Lines of the configuration beside `upstream`.
    pub config: &'static str,
    pub max_delay_ms_most: i64,
}

impl Setting {
    /// Counts, sums, extremes and means over both metrics of [`page`].
    pub fn usual(world: &str) -> Setting {
        let (work, level) = (format!("{world}_work_total"), format!("{world}_level"));
        let rules = [
            format!("sum by (shard, zone) (rate({work}[10s]))"),
            format!("count by (zone) (last_over_time({level}[10s]))"),
            format!("max by (zone) (last_over_time({level}[10s]))"),
            format!("sum by (zone) (count_over_time({level}[10s]))"),
            format!("avg without (zone) (avg_over_time({level}[10s]))"),
        ];
        let queries = vec![
            format!("sum by (shard) (rate({work}[10s]))"),
            format!("count(last_over_time({level}[10s]))"),
            format!("max by (zone) (last_over_time({level}[10s]))"),
            format!("sum by (zone) (rate({work}[10s])) / sum by (zone) (count_over_time({level}[10s]))"),
            format!("avg without (zone) (avg_over_time({level}[10s]))"),
        ];
        let rules = rules.iter().map(|expr| json!({ "expr": expr })).collect();
        Setting { rules, queries, config: "", max_delay_ms_most: MAX_DELAY }
    }
}

/// Work and a level of some shards, in two zones: irregular, so that a sample too few or too many shows. Counters stay high,
/// so that no window's start is limited to zero.
pub fn page(world: &str, shards: &'static [&'static str]) -> impl Fn(i64) -> Vec<(Labels, f64)> + Send + Sync + 'static {
    let world = world.to_owned();
    move |n| {
        let series = |metric: &str, at: usize| {
            let (name, zone) = (format!("{world}_{metric}"), ["east", "west"][at % 2]);
            Labels::from_pairs([("__name__", name.as_str()), ("shard", shards[at]), ("zone", zone)])
        };
        let weight = |at: usize| 3 + 2 * at as i64 + shards[at].len() as i64;
        let work = |at: usize| (1_000_000 * weight(at) + weight(at) * n + n * n % 7) as f64;
        let level = |at: usize| (1_000 * weight(at) + n * n % 97) as f64;
        let all = 0..shards.len();
        let work = all.clone().map(|at| (series("work_total", at), work(at)));
        work.chain(all.map(|at| (series("level", at), level(at)))).collect()
    }
}

impl World {
    /// Everything runs, and views answer every query. `None` where there is no Prometheus.
    pub async fn start(setting: Setting, plans: Vec<Plan>) -> Option<World> {
        let mut world = World::start_unserved(setting, plans).await?;
        world.until_rewritten().await;
        Some(world)
    }

    /// Everything runs.
    pub async fn start_unserved(setting: Setting, plans: Vec<Plan>) -> Option<World> {
        let shared = shared_upstream().await?;
        let upstream = shared.api.again();
        let rules = &setting.rules;
        let defaults = json!({"step": format!("{STEP}ms"), "max_delay": format!("{MAX_DELAY}ms")});
        let job = json!({"name": "e2e", "defaults": defaults, "rules": rules});
        let prefold = Prefold::start_job(free_port(), &job, &config(&upstream, &setting)).await;
        let from = (now_ms() / STEP + 1) * STEP;
        let mut world =
            World { prefold, senders: Vec::new(), upstream, _shared: shared, setting, from, compared: 0, rounds: 0 };
        plans.into_iter().for_each(|plan| world.join(plan));
        Some(world)
    }

    /// Another sender begins.
    pub fn join(&mut self, plan: Plan) {
        self.senders.push(Sender::start(plan, &self.upstream.url, &self.prefold.api.url));
    }

    /// SIGKILL and a new start, with other lines of configuration if some are given.
    pub async fn kill_and_restart(&mut self, lines: Option<&'static str>) {
        self.setting.config = lines.unwrap_or(self.setting.config);
        self.prefold.kill_and_restart(Some(&config(&self.upstream, &self.setting))).await;
    }

    /// Compares all queries over all time so far, again and again.
    pub async fn watch(&mut self, duration: Duration) {
        let began = Instant::now();
        while began.elapsed() < duration {
            self.compare_all().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Compares until views answer all queries' newest steps, and for a while after that.
    pub async fn until_rewritten(&mut self) {
        self.until_rewritten_are(self.setting.queries.clone()).await;
        self.watch(Duration::from_secs(6)).await;
    }

    /// Compares until views answer the newest steps of these queries.
    pub async fn until_rewritten_are(&mut self, queries: Vec<String>) {
        let began = Instant::now();
        while !self.are_rewritten(&queries).await {
            self.watch(Duration::from_millis(500)).await;
            assert!(began.elapsed() < PATIENCE, "not answered from views: {}", self.status().await);
        }
    }

    /// Whether the newest steps that must be final are answered from views, for all queries.
    pub async fn newest_are_rewritten(&self) -> bool {
        self.are_rewritten(&self.setting.queries).await
    }

    async fn are_rewritten(&self, queries: &[String]) -> bool {
        for query in queries {
            if !self.is_rewritten(query).await {
                return false;
            }
        }
        true
    }

    pub async fn is_rewritten(&self, query: &str) -> bool {
        let to = (now_ms() - self.setting.max_delay_ms_most - STEP - 2_000) / STEP * STEP;
        let steps = Steps { from: to - STEP, to, step: STEP };
        self.prefold.api.range(Method::Get, query, steps, &[]).await.unwrap().answer == "rewritten"
    }

    /// That upstream was asked for the newest steps: some view it needs is uncovered, whatever the others are.
    pub async fn assert_answered_to_now(&self, query: &str) {
        let to = now_ms().min(self.settled_to()) / STEP * STEP;
        // From the beginning, so that views answer some of it.
        let steps = Steps { from: self.from, to, step: STEP };
        let reply = self.prefold.api.range(Method::Form, query, steps, &[]).await.unwrap();
        let newest = points(&reply.data().unwrap()).keys().map(|(_, t)| *t).max();
        assert_eq!(
            (reply.answer.as_str(), newest),
            ("stitched", Some(to)),
            "{query} is answered as {:?}: {}",
            reply.answer,
            self.status().await
        );
    }

    /// The reasons of all spans of all views.
    pub async fn reasons(&self) -> Vec<String> {
        let views = self.prefold.views().await.unwrap();
        let spans = views.iter().flat_map(|view| view.status["spans"].as_array().unwrap());
        spans.map(|span| span["reason"].as_str().unwrap().to_owned()).collect()
    }

    /// Every query over all steps, and one of them, in turn, at an instant.
    async fn compare_all(&mut self) {
        self.prefold.program.check_alive();
        for query in self.setting.queries.clone() {
            self.compare(&query).await;
        }
        self.rounds += 1;
        let query = self.setting.queries[self.rounds % self.setting.queries.len()].clone();
        self.compare_instant(&query).await;
    }

    /// Every grid point has an answer, from views or from upstream.
    async fn compare_instant(&mut self, query: &str) {
        let at = self.settled_to().min(now_ms()) / STEP * STEP - self.rounds as i64 % 4 * STEP;
        let ours = self.prefold.api.instant(Method::Form, query, at, &[]).await.unwrap();
        let theirs = self.upstream.instant(Method::Form, query, at, &[]).await.unwrap();
        self.judge(query, &ours, &theirs, Edge::NONE).await;
    }

    /// Upstream has every sample up to here.
    fn settled_to(&self) -> i64 {
        self.senders.iter().map(Sender::written_to).min().unwrap_or(i64::MAX)
    }

    async fn compare(&mut self, query: &str) {
        let settled_to = self.settled_to();
        let now = now_ms();
        let steps = Steps { from: self.from, to: now / STEP * STEP, step: STEP };
        if steps.to < steps.from {
            return;
        }
        let ours = self.prefold.api.range(Method::Form, query, steps, &[]).await.unwrap();
        let theirs = self.upstream.range(Method::Form, query, steps, &[]).await.unwrap();
        let edge = Edge { complete_to: now - self.setting.max_delay_ms_most - LEFT_OUT_MAX, settled_to };
        self.judge(query, &ours, &theirs, edge).await;
    }

    async fn judge(&mut self, query: &str, ours: &Reply, theirs: &Reply, edge: Edge) {
        match compare(&points(&ours.data().unwrap()), &points(&theirs.data().unwrap()), edge) {
            Ok(points) => self.compared += points,
            Err(difference) => {
                let (now, status) = (now_ms(), self.status().await);
                panic!("{query} at {now}, answered as {:?} {:?}: {difference}\n{status}", ours.answer, ours.reason);
            }
        }
    }

    async fn status(&self) -> String {
        let asked = self.prefold.api.ask(Method::Get, "/prefold/api/v1/views", &[]).await;
        asked.map_or_else(|error| error, |reply| reply.body)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        println!("{} points equal upstream's", self.compared);
    }
}

fn config(upstream: &Api, setting: &Setting) -> String {
    format!("upstream: {{url: '{}'}}\n{}", upstream.url, setting.config)
}

/// One Prometheus for all worlds that are there at the same time.
async fn shared_upstream() -> Option<Arc<Prometheus>> {
    static SHARED: tokio::sync::Mutex<Weak<Prometheus>> = tokio::sync::Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(upstream) = shared.upgrade() {
        return Some(upstream);
    }
    let upstream = Arc::new(Prometheus::start_receiving().await?);
    *shared = Arc::downgrade(&upstream);
    Some(upstream)
}
