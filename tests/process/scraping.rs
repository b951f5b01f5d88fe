//! What is scraped, by a whole process: targets that come and go with the configuration.

use super::processes::{Home, until};

const JOB: &str = r#"{"name":"up","rules":[{"expr":"sum by (job) (up)","step":"1s","max_delay":"2s"}]}"#;

/// Nobody listens there: `up` is 0 as long as it is scraped.
fn config(jobs: &[&str]) -> String {
    let one = |job: &&str| {
        format!(
            "- {{ job_name: {job}, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{{ targets: ['127.0.0.1:1'] }}] }}\n"
        )
    };
    format!("scrape_configs:\n{}", jobs.iter().map(one).collect::<String>())
}

#[tokio::test]
async fn targets_that_are_gone_end_and_others_go_on() {
    let home = Home::new(&[("up.json", JOB)], &config(&["stays", "goes"]));
    let mut running = home.start().await;
    let jobs_at = async |at: i64| {
        let answer = running.range("sum by (job) (up)", at, at, 1000).await;
        answer.json()["data"]["result"]
            .as_array()
            .map(|series| series.iter().map(|one| one["metric"]["job"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    let newest = async || running.views().await[0]["final_to_ms"].as_i64();
    until("both to be scraped", async || (jobs_at(newest().await?).await? == ["goes", "stays"]).then_some(())).await;
    assert!(running.get("/prefold/").await.text.contains("http://127.0.0.1:1/metrics is down"), "the page tells of it");
    let failed = async |job: &str, reason: &str| {
        running.metric(&format!("prefold_scrapes_failed_total{{job=\"{job}\",reason=\"{reason}\"}}")).await
    };
    assert!(failed("stays", "connect").await > 0.0 && failed("goes", "connect").await > 0.0, "and so do the metrics");
    assert_eq!(failed("stays", "timeout").await, 0.0);
    // A bad file changes nothing.
    std::fs::write(home.path().join("config.yaml"), "scrape_configs: [{ job_name: stays, relabel_configs: [] }]\n").unwrap();
    running.signal("HUP");
    until("the bad file to be told", async || (running.metric("prefold_reload_success").await == 0.0).then_some(())).await;
    assert!(running.get("/prefold/").await.text.contains("Changed files are not in force"));
    std::fs::write(home.path().join("config.yaml"), config(&["stays"])).unwrap();
    running.signal("HUP");
    // Long before the lookback would let go of it: this does not wait that long.
    until("one to be gone", async || (jobs_at(newest().await?).await? == ["stays"]).then_some(())).await;
    assert_eq!(running.metric("prefold_reload_success").await, 1.0);
    assert!(failed("stays", "connect").await > 0.0);
    assert_eq!(failed("goes", "connect").await, 0.0, "what is not scraped any more is not listed");
    assert!(running.is_alive());
}
