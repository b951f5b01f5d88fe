//! Gateways apart from what folds: several over one topic, killed under load, and asked for what they do not do.
//!
//! Sees: an acknowledged sample that a killed gateway loses or doubles, results that depend on which gateway took what, a
//! part that a gateway opens without having a use for it. Cannot see: what workers and query replicas do.

use std::time::Duration;

use prefold::model::{Labels, Sample};

use super::cluster::{Cluster, shared};
use super::process::{JOB, QUERIES, SHORT_JOB, body, config, deliver};
use super::topics::prefix;
use crate::process::processes::{Home, Running, answered, body_v1, counted, now_ms, prefold, until};

/// A gateway whose configuration says nothing of scraping, in the folder of `home`.
async fn gateway(home: &Home, config: &str) -> Running {
    std::fs::write(home.path().join("gateway.yaml"), config).unwrap();
    let mut command = prefold(&["gateway", "--listen", "127.0.0.1:0", "--config", "gateway.yaml"]);
    command.current_dir(home.path());
    let mut running = home.spawn_as(command);
    running.listening().await.unwrap();
    running
}

/// As a sender behind a load balancer: to one gateway, and to another when there is no good answer, until it is taken.
async fn deliver_to_any(client: &reqwest::Client, gateways: [String; 2], first: usize, body: &[(Labels, Vec<Sample>)]) {
    let (body, mut turn) = (body_v1(body), first);
    until("a body to be taken by a gateway", async || {
        let url = format!("{}/api/v1/write", gateways[turn % 2]);
        turn += 1;
        answered(client.post(url).body(body.clone())).await.ok().filter(|answer| answer.status == 204)
    })
    .await;
}

/// Which gateway takes what is all the same, also when one of them is killed while it has requests.
#[tokio::test]
async fn what_either_gateway_takes_is_in_the_answers_once_also_when_one_is_killed() {
    let Some(cluster) = shared() else { return };
    let config = config(cluster, &prefix());
    let folds = Home::new(&[("same.json", JOB)], &config);
    let embedded = Home::new(&[("same.json", JOB)], "ingest: { new_senders: whole }");
    let (homes, client) = ([Home::new(&[], ""), Home::new(&[], "")], reqwest::Client::new());
    let mut killed = gateway(&homes[0], &config).await;
    let other = gateway(&homes[1], &config).await;
    let (folding, unbroken) = (folds.start().await, embedded.start().await);
    let (mut first, mut last) = (0, 0);
    for turn in 0..90 {
        let t = now_ms();
        (first, last) = (if first == 0 { t } else { first }, t);
        let bodies = body(t, turn);
        deliver(&unbroken, &bodies).await;
        let parts = bodies.chunks(10).enumerate().map(|(part, chunk)| {
            let gateways = [killed.base().to_owned(), other.base().to_owned()];
            deliver_to_any(&client, gateways, turn + part, chunk)
        });
        let kills = async {
            if turn == 25 {
                killed.signal("KILL");
            }
        };
        tokio::join!(futures_util::future::join_all(parts), kills);
        if turn == 40 {
            assert!(!killed.is_alive());
            killed = gateway(&homes[0], &config).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (from, to) = (first / 2_000 * 2_000 + 14_000, last / 2_000 * 2_000);
    folding.final_to(QUERIES.len(), to).await;
    unbroken.final_to(QUERIES.len(), to).await;
    for query in QUERIES {
        let (ours, theirs) = (folding.results(query, from, to, 2_000).await, unbroken.results(query, from, to, 2_000).await);
        assert_eq!(ours, theirs, "{query}");
        assert!(ours.len() == 3 && ours.values().all(|points| points.len() > 1), "{query}: {ours:?}");
    }
    for gateway in [&mut killed, &mut { other }] {
        assert!(gateway.metric("prefold_ingest_samples_total").await > 0.0, "both took some");
        gateway.signal("TERM");
        assert!(gateway.ended().await.success());
    }
}

#[tokio::test]
async fn a_gateway_opens_and_answers_nothing_but_its_part() {
    let Some(cluster) = shared() else { return };
    let config = format!("web: {{ enable_lifecycle: true }}\n{}", config(cluster, &prefix()));
    let home = Home::new(&[], "");
    let mut running = gateway(&home, &config).await;
    for (path, words) in [
        ("/api/v1/query?query=1", "this is a gateway: queries are answered by `prefold query`"),
        ("/select/0/prometheus/api/v1/series?match[]=a", "queries are answered by `prefold query`"),
        ("/nothing", "queries are answered by `prefold query`"),
        ("/prefold/api/v1/explain?query=1", "queries are answered by `prefold query`"),
        ("/prefold/api/v1/views", "this is a gateway: views are listed by `prefold query`"),
        ("/prefold/api/v1/senders", "senders are listed by `prefold query`"),
        ("/prefold/api/v1/jobs", "jobs are listed by `prefold worker` and `prefold query`"),
    ] {
        let answer = running.get(path).await;
        assert_eq!((answer.status, answer.json()["errorType"].as_str()), (404, Some("not_found")), "{path}: {answer:?}");
        assert!(answer.json()["error"].as_str().unwrap().contains(words), "{path}: {answer:?}");
    }
    assert_eq!(running.get("/api/v1/write").await.status, 405);
    assert_eq!(running.get("/-/ready").await.status, 200);
    assert_eq!(running.get("/-/healthy").await.status, 200);
    let page = running.get("/prefold/").await.text;
    assert!(page.contains(" gateway</h1>") && page.contains("partitions") && !page.contains("<h2>Views"), "{page}");
    deliver(&running, &counted("a")).await;
    let metrics = running.get("/metrics").await.text;
    for there in ["prefold_ingest_samples_total 1", "prefold_log_partitions 4", "prefold_reload_success 1"] {
        assert!(metrics.contains(there), "{there}: {metrics}");
    }
    for absent in ["prefold_view_", "prefold_query_", "prefold_fold_", "prefold_senders", "prefold_upstream_"] {
        assert!(!metrics.contains(absent), "{absent}: {metrics}");
    }
    let reloaded = running.request("POST", "/-/reload", &[], Vec::new()).await;
    assert_eq!((reloaded.status, reloaded.text.as_str()), (200, "what is scraped was read again\n"));
    running.signal("TERM");
    assert!(running.ended().await.success());
    let mut left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["config.yaml", "gateway.yaml", "jobs", "stderr-0"], "nothing is kept on the disk");
}

/// What a gateway scrapes is what it is told to scrape, which a reload changes; without any it scrapes nothing, not itself.
#[tokio::test]
async fn a_gateway_scrapes_what_it_is_told_and_nothing_else() {
    let Some(cluster) = shared() else { return };
    let config = config(cluster, &prefix());
    let (home, folds) = (Home::new(&[], ""), Home::new(&[("short.json", SHORT_JOB)], &config));
    let (folding, running) = (folds.start().await, gateway(&home, &config).await);
    let target = folding.base().trim_start_matches("http://");
    let scrapes = format!(
        "scrape_configs: [{{ job_name: told, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{{ targets: [\"{target}\"] \
         }}] }}]\n{config}"
    );
    tokio::time::sleep(Duration::from_secs(6)).await;
    deliver(&running, &counted("a")).await;
    assert_eq!(running.metric("prefold_scrapes_total").await, 0.0, "not even itself");
    std::fs::write(home.path().join("gateway.yaml"), scrapes).unwrap();
    running.signal("HUP");
    until("what was scraped to be folded", async || {
        let folded = folding.metric("prefold_fold_samples_total").await;
        (running.metric("prefold_scrapes_total").await >= 2.0 && folded > 100.0).then_some(())
    })
    .await;
}

/// A gateway that was just started does not know who has written through others: what it cannot read may have been theirs.
#[tokio::test]
async fn a_body_that_a_new_gateway_cannot_read_uncovers() {
    let Some(cluster) = shared() else { return };
    let config = config(cluster, &prefix());
    let (home, folds) = (Home::new(&[], ""), Home::new(&[("short.json", SHORT_JOB)], &config));
    let (folding, running) = (folds.start().await, gateway(&home, &config).await);
    deliver(&folding, &counted("a")).await;
    let refused = running.request("POST", "/api/v1/write", &[], b"no body of ours".to_vec()).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    until("the view to be uncovered", async || {
        let views = folding.views().await;
        views[0]["spans"].as_array().unwrap().iter().any(|span| span["reason"] == "refused").then_some(())
    })
    .await;
}

/// The broker stands still: senders are told to come again, load balancers to go elsewhere, and all is well when it goes on.
#[tokio::test]
async fn a_gateway_before_a_paused_broker_says_come_again_and_is_not_ready() {
    let Some(cluster) = Cluster::start(1) else { return };
    let config = config(&cluster, "paused").replace("partitions: 4", "partitions: 4, delivery_timeout: 2s");
    let home = Home::new(&[], "");
    let running = gateway(&home, &config).await;
    deliver(&running, &counted("before")).await;
    assert_eq!(running.get("/-/ready").await.status, 200);
    cluster.signal_node(0, "STOP");
    let refused = running.write(&counted("during")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "5"), "{refused:?}");
    let ready = running.get("/-/ready").await;
    assert!(ready.status == 503 && ready.text.starts_with("writes are refused: "), "{ready:?}");
    assert_eq!(running.get("/-/healthy").await.status, 200, "restarting it would change nothing");
    cluster.signal_node(0, "CONT");
    deliver(&running, &counted("after")).await;
    assert_eq!(running.get("/-/ready").await.status, 200);
}
