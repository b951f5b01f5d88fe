//! What a view does not hold is said with its reason: a view beyond its limits, a log that has forgotten too much.

use super::processes::{COUNT_QUERY, Home, Running, labels, now_ms, sample, until};

/// Of a view: from, to and whether it is open, of the spans of a reason.
async fn spans(running: &Running, expr: &str, reason: &str) -> Vec<(i64, Option<i64>)> {
    let views = running.views().await;
    let view = views.iter().find(|view| view["expr"] == expr).unwrap_or_else(|| panic!("no view of {expr}"));
    let spans = view["spans"].as_array().unwrap().iter().filter(|span| span["reason"] == reason);
    spans.map(|span| (span["from_ms"].as_i64().unwrap(), span["to_ms"].as_i64())).collect()
}

fn series(g: &str, count: i64) -> Vec<(prefold::model::Labels, Vec<prefold::model::Sample>)> {
    let t = now_ms();
    let one = |i: i64| (labels(&[("__name__", "c_total"), ("g", g), ("i", &i.to_string())]), vec![sample(t, 1.0)]);
    (0..count).map(one).collect()
}

#[tokio::test]
async fn a_view_beyond_its_limits_is_suspended_until_a_reload() {
    const SUM_QUERY: &str = "sum by (g) (sum_over_time(c_total[10s]))";
    let job = |input_series: i64| {
        let limits = format!(r#""limits":{{"input_series":{input_series}}}"#);
        format!(r#"{{"name":"count","rules":[{{"expr":"{COUNT_QUERY}","step":"1s","max_delay":"2s",{limits}}}]}}"#)
    };
    let other = format!(r#"{{"name":"sum","rules":[{{"expr":"{SUM_QUERY}","step":"1s","max_delay":"2s"}}]}}"#);
    let home = Home::new(&[("count.json", &job(5)), ("sum.json", &other)], "");
    let mut running = home.start().await;
    assert_eq!(running.write(&series("few", 3)).await.status, 204);
    let fine = (now_ms() / 1000 + 1) * 1000;
    running.final_to(2, fine).await;
    assert_eq!(spans(&running, COUNT_QUERY, "over-limit").await, []);
    assert_eq!(running.write(&series("many", 8)).await.status, 204);
    let (from, to) =
        until("the view to be suspended", async || spans(&running, COUNT_QUERY, "over-limit").await.first().copied()).await;
    assert!(from > fine && to.is_none(), "{from} to {to:?}");
    assert!(running.logs().contains("beyond its limits"), "{}", running.logs());
    // The other goes on, with its values.
    let at = now_ms() / 1000 * 1000;
    until("the other view to go on", async || {
        let views = running.views().await;
        let other = views.iter().find(|view| view["expr"] == SUM_QUERY).unwrap();
        (other["final_to_ms"].as_i64() >= Some(at)).then_some(())
    })
    .await;
    assert_eq!(running.results(SUM_QUERY, at, at, 1000).await[r#"{"g":"many"}"#][&at], "8");
    let refused = running.range(COUNT_QUERY, at, at, 1000).await;
    assert_eq!((refused.status, refused.header("x-prefold-reason")), (422, "not-emitted-yet"), "{refused:?}");
    home.put_job("count.json", &job(50));
    // From the log it is given what it missed.
    until("the view to be in force again", async || {
        spans(&running, COUNT_QUERY, "over-limit").await.is_empty().then_some(())
    })
    .await;
    running.final_to(2, at).await;
    assert_eq!(running.results(COUNT_QUERY, at, at, 1000).await[r#"{"g":"many"}"#][&at], "8");
    assert_eq!(running.write(&series("again", 8)).await.status, 204);
    let at = (now_ms() / 1000 + 1) * 1000;
    running.final_to(2, at).await;
    assert_eq!(running.results(COUNT_QUERY, at, at, 1000).await[r#"{"g":"again"}"#][&at], "8");
    assert_eq!(running.results(COUNT_QUERY, fine, fine, 1000).await[r#"{"g":"few"}"#][&fine], "3");
    assert!(running.is_alive());
}

/// The byte limit wins over what a restart needs: what cannot be computed again is a gap, never a half-filled window.
#[tokio::test]
async fn a_restart_from_a_log_that_forgot_leaves_a_gap() {
    let job = format!(r#"{{"name":"count","rules":[{{"expr":"{COUNT_QUERY}","step":"1s","max_delay":"2s"}}]}}"#);
    const OLDEST: &str = "prefold_log_oldest_timestamp_seconds";
    let config = "log: { embedded: { retention_bytes: 64MiB } }";
    let home = Home::new(&[("count.json", &job)], config);
    let mut running = home.start().await;
    let mut noise = super::Random(7);
    // Long values, each another, that do not compress: pieces of one text further apart than a compressor looks.
    let text: String = (0..1 << 17).map(|_| format!("{:08x}", noise.next() as u32)).collect();
    let mut filler = || -> Vec<_> {
        let t = now_ms();
        let mut one = || {
            let at = noise.below((text.len() - 16_000) as u64) as usize;
            (labels(&[("__name__", "filler"), ("n", &text[at..at + 16_000])]), vec![sample(t, 1.0)])
        };
        (0..1_000).map(|_| one()).collect()
    };
    assert_eq!(running.write(&series("before", 3)).await.status, 204);
    let at = (now_ms() / 1000 + 1) * 1000;
    running.final_to(1, at).await;
    let oldest = running.metric(OLDEST).await;
    until("the log to forget", async || {
        assert_eq!(running.write(&filler()).await.status, 204);
        (running.metric(OLDEST).await > oldest).then_some(())
    })
    .await;
    running.final_to(1, at + 1000).await;
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.logs());
    let held = super::processes::now_ms();
    drop(running);
    let running = home.start().await;
    let (from, to) = until("the gap to be told", async || spans(&running, COUNT_QUERY, "gap").await.first().copied()).await;
    assert!(from > at && from <= held && to.is_some_and(|to| to > held), "{from} to {to:?}, stopped at {held}");
    // What was there is there, and nothing is given of the gap.
    let before = running.range(COUNT_QUERY, at, at, 1000).await;
    assert!(before.json()["data"]["result"][0]["values"][0][1].is_string(), "{before:?}");
    let refused = running.range(COUNT_QUERY, from, from + 1000, 1000).await;
    assert_eq!(refused.status, 422, "{refused:?}");
}
