//! What the status pages of workers and query replicas show of a cluster: whose partitions are whose, how far results have come,
//! and what of them is served. What they say when something fails is seen in `loss.rs`.

use super::cluster::shared;
use super::fleet::Process;
use super::host::Host;
use super::process::{SHORT_JOB, config, deliver};
use super::topics::prefix;
use crate::process::processes::{Running, counted, now_ms, until};
use prefold::model::Timestamp;

const SAMPLES: u64 = 4;
const PARTIALS: u64 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_show_partitions_by_number_and_how_far_results_have_come() {
    let Some(cluster) = shared() else { return };
    let kafka = config(cluster, &prefix())
        .replace("partitions: 4", &format!("partitions: {SAMPLES}, partials_partitions: {PARTIALS}, session_timeout: 6s"));
    let start = async |role| Process::start(role, Host::here(), &[("short.json", SHORT_JOB)], &kafka).await;
    let replica = start("query").await;
    let page = page(replica.up()).await;
    assert!(page.contains("No jobs have been proposed yet: a worker with a directory of jobs proposes them."), "{page}");
    assert!(page.contains(" query</h1>") && page.contains("Views (0)"), "{page}");

    let gateway = start("gateway").await;
    let mut workers = [start("worker").await, start("worker").await];
    partitions_are_shared(&workers).await;
    let began = now_ms();
    while now_ms() < began + 6_000 {
        deliver(gateway.up(), &counted("a")).await;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    replica.up().final_to(1, began + 4_000).await;
    workers[1].kill();
    partitions_are_shared(&workers[..1]).await;

    // Without workers nothing moves.
    workers[0].kill();
    let view = until("results to stand still", async || {
        let before = replica.up().views().await;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let after = replica.up().views().await;
        (before == after).then(|| after[0].clone())
    })
    .await;
    let page = self::page(replica.up()).await;
    let shown = |t: &serde_json::Value| Timestamp(t.as_i64().unwrap()).to_string()[..19].replace('T', " ");
    let (final_to, served) = (shown(&view["final_to_ms"]), view["coverage"].as_array().unwrap().last().unwrap());
    assert!(page.contains(&format!("<td class=\"lines\">{final_to} (")), "{final_to}: {page}");
    for words in [format!("from {} (", shown(&served[0])), format!("<br>to {} (", shown(&served[1]))] {
        assert!(page.contains(&words), "{words}: {page}");
    }
    let spans = view["spans"].as_array().unwrap();
    assert!(spans.iter().all(|span| page.contains(&format!("{} ", span["reason"].as_str().unwrap()))), "{page}");
    assert_eq!(number(&page, "records of results not yet read"), Some(0), "{page}");
    assert_eq!(number(&page, "views of the jobs in force"), Some(1), "{page}");
    let set = row_of_set(replica.up()).await;
    assert!(page.contains(&set), "{set}: {page}");
    assert_eq!(replica.up().get("/-/ready").await.status, 200, "what is final is answered");
}

/// Waits until the pages of workers together show each partition once, and each has some; metrics say the same.
async fn partitions_are_shared(workers: &[Process]) {
    let rows = [
        ("partitions of samples that are ours", "prefold_fold_partitions", SAMPLES),
        ("partitions of partials that are ours", "prefold_combine_partitions", PARTIALS),
    ];
    for (row, metric, all) in rows {
        until(row, async || {
            let (mut shown, mut told) = (Vec::new(), Vec::new());
            for worker in workers {
                shown.push(number(&page(worker.up()).await, row)?);
                told.push(worker.up().metric(metric).await as u64);
            }
            (shown == told && !shown.contains(&0) && shown.iter().sum::<u64>() == all).then_some(())
        })
        .await;
    }
    for worker in workers {
        assert_eq!(worker.up().get("/-/ready").await.text, "Prefold is ready.\n");
        let page = page(worker.up()).await;
        assert!(page.contains(" worker</h1>") && number(&page, "records of partials not yet combined").is_some(), "{page}");
    }
}

async fn page(running: &Running) -> String {
    running.get("/prefold/").await.text
}

/// What stands in a row of the table at the page's end.
fn number(page: &str, row: &str) -> Option<u64> {
    let rest = page.split_once(&format!("<td>{row}</td><td>"))?.1;
    rest.split_once("</td>")?.0.parse().ok()
}

/// The row of the job set in force.
async fn row_of_set(running: &Running) -> String {
    let set = running.get("/prefold/api/v1/jobs").await.json()["set"].clone();
    format!("<td>job set in force</td><td>{}, proposed by ", set["number"])
}
