//! Killed again and again while senders write and retry: nothing acknowledged is lost, nothing is counted twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prefold::model::{Labels, Sample};
use tokio::sync::watch;

use super::Random;
use super::processes::{Home, Results, Running, answered, body_v1, body_v2, labels, now_ms, results, sample};

const KILLS: usize = 18;

const SENDERS: u64 = 6;

/// Series of one sender.
const SERIES: u64 = 6;

/// Retries after a restart must count, or little would be left to compare.
const JOB: &str = r#"{"name":"crash","defaults":{"max_delay":"10s"},"rules":[
  {"expr":"sum by (g) (count_over_time(c_total[10s]))","step":"2s"},
  {"expr":"sum by (g) (count_over_time(c_total[4s]))","step":"1s"},
  {"expr":"sum by (g) (increase(c_total[10s]))","step":"2s"},
  {"expr":"sum by (g) (sum_over_time(c_total[10s]))","step":"2s"},
  {"expr":"max by (g) (max_over_time(c_total[10s]))","step":"2s"},
  {"expr":"sum by (g) (c_total)","step":"2s"},
  {"expr":"count by (g) (c_total)","step":"2s"}]}"#;

/// A rule: its query, step and window in milliseconds, what one series gives, and whether groups add up or take the greatest.
struct Rule {
    query: &'static str,
    step: i64,
    window: i64,
    of_series: fn(&[Sample], i64, i64) -> f64,
    greatest: bool,
}

/// What `prometheus.md` 9.1 says an instant selector looks back.
const LOOKBACK: i64 = 300_000;

const RULES: [Rule; 7] = [
    rule("sum by (g) (count_over_time(c_total[10s]))", 2_000, 10_000, |samples, _, _| samples.len() as f64),
    rule("sum by (g) (count_over_time(c_total[4s]))", 1_000, 4_000, |samples, _, _| samples.len() as f64),
    rule("sum by (g) (increase(c_total[10s]))", 2_000, 10_000, increase),
    rule("sum by (g) (sum_over_time(c_total[10s]))", 2_000, 10_000, |samples, _, _| samples.iter().map(|s| s.v).sum()),
    Rule {
        greatest: true,
        ..rule("max by (g) (max_over_time(c_total[10s]))", 2_000, 10_000, |samples, _, _| {
            samples.iter().map(|s| s.v).fold(f64::NEG_INFINITY, f64::max)
        })
    },
    rule("sum by (g) (c_total)", 2_000, LOOKBACK, |samples, _, _| samples[samples.len() - 1].v),
    rule("count by (g) (c_total)", 2_000, LOOKBACK, |_, _, _| 1.0),
];

const fn rule(query: &'static str, step: i64, window: i64, of_series: fn(&[Sample], i64, i64) -> f64) -> Rule {
    Rule { query, step, window, of_series, greatest: false }
}

/// Prometheus' increase, written from `prometheus.md` 9.2; NaN stands for no value.
fn increase(samples: &[Sample], t: i64, window: i64) -> f64 {
    if samples.len() < 2 {
        return f64::NAN;
    }
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    let resets: f64 = samples.windows(2).filter(|two| two[1].v < two[0].v).map(|two| two[0].v).sum();
    let delta = last.v - first.v + resets;
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let sampled = seconds(last.t - first.t);
    let average = sampled / (samples.len() - 1) as f64;
    let border = |distance: f64| if distance >= 1.1 * average { average / 2.0 } else { distance };
    let mut to_start = border(seconds(first.t.0 - (t - window)));
    if delta > 0.0 && first.v >= 0.0 {
        to_start = to_start.min(sampled * (first.v / delta));
    }
    delta * (sampled + to_start + border(seconds(t - last.t.0))) / sampled
}

/// Everything acknowledged, by series.
type Acknowledged = BTreeMap<Labels, Vec<Sample>>;

/// What all senders share.
struct Sending {
    base: watch::Receiver<String>,
    stop: AtomicBool,
    retries: AtomicU64,
    repeats: AtomicU64,
}

/// One sender: counters with resets, each body sent until it is acknowledged, some once more after that.
async fn send(number: u64, seed: u64, sending: Arc<Sending>) -> Acknowledged {
    let mut random = Random(seed);
    let mut series: Vec<(Labels, f64)> = (0..SERIES)
        .map(|i| {
            let (group, instance) = (format!("g{}", i % 3), format!("{number}-{i}"));
            (labels(&[("__name__", "c_total"), ("g", &group), ("i", &instance)]), 0.0)
        })
        .collect();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    // What is sampled before the log begins belongs to grid points that nobody emits.
    sending.base.clone().wait_for(|base| !base.is_empty()).await.unwrap();
    let (mut acknowledged, mut newest) = (Acknowledged::new(), 0);
    while !sending.stop.load(Ordering::Relaxed) {
        newest = now_ms().max(newest + 3);
        let mut body = Vec::new();
        for (labels, value) in &mut series {
            if random.below(5) > 0 {
                *value = if random.below(40) == 0 { 1.0 } else { *value + random.below(1000) as f64 };
                body.push((labels.clone(), vec![sample(newest - 2, *value), sample(newest, *value + 1.0)]));
            }
        }
        let (bytes, version) = if number.is_multiple_of(2) { (body_v1(&body), 1) } else { (body_v2(&body), 2) };
        deliver(&client, number, version, &bytes, &sending).await;
        for (labels, samples) in body {
            acknowledged.entry(labels).or_default().extend(samples);
        }
        if random.below(20) == 0 {
            // A sender that lost the answer sends again what it need not.
            sending.repeats.fetch_add(1, Ordering::Relaxed);
            deliver(&client, number, version, &bytes, &sending).await;
        }
        tokio::time::sleep(Duration::from_millis(random.below(60))).await;
    }
    acknowledged
}

/// Until it is acknowledged. A refusal is a failure: every body is good.
async fn deliver(client: &reqwest::Client, number: u64, version: u64, body: &[u8], sending: &Sending) {
    loop {
        let url = format!("{}/api/v1/write", sending.base.borrow().clone());
        let proto = ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"][version as usize - 1];
        let request = client
            .post(url)
            .header("Content-Type", format!("application/x-protobuf;proto={proto}"))
            .header("Content-Encoding", "snappy")
            .header("X-Prefold-Sender", format!("sender-{number}"))
            .body(body.to_vec());
        match answered(request).await {
            Ok(answer) if (200..300).contains(&answer.status) => return,
            Ok(answer) => assert!(answer.status >= 500, "a good body was refused: {answer:?}"),
            Err(_) => {}
        }
        sending.retries.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Kills and restarts the process at random moments, some of them while it is still starting.
async fn torment(home: &Home, base: &watch::Sender<String>, random: &mut Random) -> Running {
    for kill in 0..KILLS {
        let mut running = home.spawn();
        if random.below(3) == 0 && kill > 0 {
            tokio::time::sleep(Duration::from_millis(random.below(60))).await;
        } else {
            running.listening().await.unwrap();
            base.send_replace(running.base().to_owned());
            tokio::time::sleep(Duration::from_millis(200 + random.below(6_000))).await;
        }
        assert!(running.is_alive(), "it ended on its own after {kill} kills");
        running.kill();
    }
    let running = home.start().await;
    base.send_replace(running.base().to_owned());
    running
}

/// What a process answers and says of its views.
struct Held {
    /// By query.
    results: BTreeMap<&'static str, Results>,
    /// By query: the reasons for which each grid point is uncovered.
    uncovered: BTreeMap<&'static str, BTreeMap<i64, Vec<String>>>,
    /// By query: the last grid point emitted.
    final_to: BTreeMap<&'static str, i64>,
}

async fn held(running: &Running, from: i64, to: i64) -> Held {
    let mut held = Held { results: BTreeMap::new(), uncovered: BTreeMap::new(), final_to: BTreeMap::new() };
    let views = running.views().await;
    for rule in &RULES {
        let answer = running.range(rule.query, from, to, rule.step).await;
        assert_eq!((answer.status, answer.header("x-prefold-answer")), (200, "rewritten"), "{answer:?}");
        held.results.insert(rule.query, results(&answer.json()));
        let view = views.iter().find(|view| view["expr"] == rule.query).expect("a view of each rule");
        let spans = view["spans"].as_array().unwrap();
        let reasons = |t: i64| -> Vec<String> {
            let holds = |span: &&serde_json::Value| {
                span["from_ms"].as_i64().unwrap() <= t && span["to_ms"].as_i64().is_none_or(|to| t < to)
            };
            let mut reasons: Vec<String> =
                spans.iter().filter(holds).map(|span| span["reason"].as_str().unwrap().to_owned()).collect();
            reasons.sort();
            reasons.dedup();
            reasons
        };
        held.uncovered.insert(rule.query, grid(from, to, rule.step).map(|t| (t, reasons(t))).collect());
        held.final_to.insert(rule.query, view["final_to_ms"].as_i64().unwrap());
    }
    held
}

fn grid(from: i64, to: i64, step: i64) -> impl Iterator<Item = i64> {
    (from.div_euclid(step)..=to.div_euclid(step)).map(move |k| k * step).filter(move |t| *t >= from)
}

/// What a rule's groups are at a grid point, from the samples alone.
fn expected(rule: &Rule, acknowledged: &Acknowledged, t: i64) -> BTreeMap<String, f64> {
    let mut groups = BTreeMap::new();
    for (labels, samples) in acknowledged {
        let from = samples.partition_point(|sample| sample.t.0 <= t - rule.window);
        let to = samples.partition_point(|sample| sample.t.0 <= t);
        if from == to {
            continue;
        }
        let value = (rule.of_series)(&samples[from..to], t, rule.window);
        if !value.is_nan() {
            let group = serde_json::json!({"g": labels.get("g")}).to_string();
            let had = groups.entry(group).or_insert(if rule.greatest { f64::NEG_INFINITY } else { 0.0 });
            *had = if rule.greatest { had.max(value) } else { *had + value };
        }
    }
    groups
}

/// Compares every emitted grid point that no late sample touches; how many those are, and how many were passed over.
fn compare_with_acknowledged(held: &Held, acknowledged: &Acknowledged, from: i64, to: i64) -> (usize, usize) {
    let (mut compared, mut passed_over) = (0, 0);
    for rule in &RULES {
        for t in grid(from, to, rule.step) {
            let reasons = &held.uncovered[rule.query][&t];
            let known = ["late", "overdue", "draining", "gone", "sender-new", "new-view"];
            assert!(reasons.iter().all(|reason| known.contains(&reason.as_str())), "{} at {t}: {reasons:?}", rule.query);
            if reasons.iter().any(|reason| reason == "late") {
                passed_over += 1;
                continue;
            }
            let groups = expected(rule, acknowledged, t);
            let found: BTreeMap<&String, f64> = held.results[rule.query]
                .iter()
                .filter_map(|(group, points)| Some((group, points.get(&t)?.parse().unwrap())))
                .collect();
            let same = groups.len() == found.len()
                && groups
                    .iter()
                    .all(|(group, value)| found.get(group).is_some_and(|found| crate::oracle::equal(*found, *value)));
            assert!(same, "{} at {t}: acknowledged {groups:?}, answered {found:?}, uncovered {reasons:?}", rule.query);
            compared += 1;
        }
    }
    (compared, passed_over)
}

/// Two processes over one log: what both emitted is equal to the last bit, and so is what both call uncovered.
fn compare_with_replay(killed: &Held, replayed: &Held, from: i64, to: i64) {
    for rule in &RULES {
        let both = killed.final_to[rule.query].min(replayed.final_to[rule.query]).min(to);
        assert!(both >= to, "{}: not all was emitted", rule.query);
        for t in grid(from, both, rule.step) {
            let at = |held: &Held| -> BTreeMap<String, String> {
                let points = held.results[rule.query].iter();
                points.filter_map(|(group, points)| Some((group.clone(), points.get(&t)?.clone()))).collect()
            };
            assert_eq!(at(killed), at(replayed), "{} at {t}: killed and replayed differ", rule.query);
            let uncovered = |held: &Held| held.uncovered[rule.query][&t].clone();
            assert_eq!(uncovered(killed), uncovered(replayed), "{} at {t}: uncovered differs", rule.query);
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.as_ref().unwrap().file_name()));
        if path.is_dir() { copy_dir(&path, &target) } else { std::fs::copy(&path, &target).map(|_| ()).unwrap() }
    }
}

/// semantics.md S7. PREFOLD_SEED repeats a run's kills, as far as the machine does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_any_moment_loses_and_doubles_nothing() {
    let seed = std::env::var("PREFOLD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(now_ms() as u64);
    println!("PREFOLD_SEED={seed}");
    let (mut random, began) = (Random(seed), Instant::now());
    let home = Home::new(&[("crash.json", JOB)], "");
    let (base, bases) = watch::channel(String::new());
    let sending = Arc::new(Sending { base: bases, stop: AtomicBool::new(false), retries: 0.into(), repeats: 0.into() });
    let senders: Vec<_> = (0..SENDERS).map(|n| tokio::spawn(send(n, random.next(), Arc::clone(&sending)))).collect();
    let mut running = torment(&home, &base, &mut random).await;
    tokio::time::sleep(Duration::from_millis(random.below(2_000))).await;
    sending.stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Acknowledged::new();
    for sender in senders {
        acknowledged.extend(sender.await.unwrap());
    }
    let times = || acknowledged.values().flatten().map(|sample| sample.t.0);
    // The first emitted grid point is the first after the log's first record.
    let (from, to) = ((times().min().unwrap() / 2_000 + 2) * 2_000, (times().max().unwrap() / 2_000 + 1) * 2_000);
    println!(
        "{KILLS} kills in {:?}: {} samples of {} series acknowledged, {} requests tried again, {} repeated",
        began.elapsed(),
        times().count(),
        acknowledged.len(),
        sending.retries.load(Ordering::Relaxed),
        sending.repeats.load(Ordering::Relaxed)
    );

    running.final_to(RULES.len(), to).await;
    let killed = held(&running, from, to).await;
    running.kill();
    let (compared, passed_over) = compare_with_acknowledged(&killed, &acknowledged, from, to);
    println!("{compared} grid points equal what was acknowledged, {passed_over} passed over for late copies");
    assert!(compared > 3 * passed_over, "too little was left to compare: {compared} of {}", compared + passed_over);

    let fresh = Home::new(&[("crash.json", JOB)], "");
    copy_dir(&home.data().join("log"), &fresh.data().join("log"));
    let replaying = fresh.start().await;
    replaying.final_to(RULES.len(), to).await;
    compare_with_replay(&killed, &held(&replaying, from, to).await, from, to);
}
