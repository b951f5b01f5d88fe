//! What the page shows, gathered at one moment.

use std::sync::atomic::Ordering;

use smol_str::SmolStr;

use crate::model::{PartitionId, SpanReason, Tenant, Timestamp};
use crate::node::assembly::Node;
use crate::plan::CatalogEntry;
use crate::proxy::counters::RefusedLast;
use crate::proxy::coverage::Coverage;
use crate::proxy::upstream::Purpose;
use crate::proxy::{Answered, ViewActivity};
use crate::sink::{SinkStatus, Trouble};

/// The most targets that are down of which it is said.
const TARGETS_MAX: usize = 200;

/// The most views, senders and spans of a view that the page lists.
pub const VIEWS_MAX: usize = 500;
pub const SENDERS_MAX: usize = 200;
pub const SPANS_MAX: usize = 5;

/// Everything on the page.
#[derive(Default)]
pub struct Facts {
    pub now: Timestamp,
    pub stream: StreamFacts,
    pub log: LogFacts,
    /// By job and rule, at most [`VIEWS_MAX`].
    pub views: Vec<ViewFacts>,
    pub views_all: usize,
    /// Those that have said least lately first, at most [`SENDERS_MAX`].
    pub senders: Vec<SenderFacts>,
    pub senders_all: usize,
    pub upstream: Option<UpstreamFacts>,
    pub queries: QueryFacts,
    /// What is wrong with the files that were read last.
    pub reload_problems: Option<String>,
    pub sinks: Vec<SinkFacts>,
    /// Targets whose last scrape failed, with why; at most [`TARGETS_MAX`].
    pub targets_down: Vec<(String, String)>,
}

#[derive(Default)]
pub struct StreamFacts {
    pub failed: Option<String>,
    pub caught_up: bool,
    pub records_ahead: u64,
    pub log_time: Timestamp,
    pub samples: u64,
}

#[derive(Default)]
pub struct LogFacts {
    pub partitions: u16,
    /// On the local disk; `None` when it is elsewhere.
    pub bytes: Option<u64>,
    /// The oldest record kept, and the newest appended, over all partitions.
    pub oldest: Option<Timestamp>,
    pub newest: Option<Timestamp>,
    pub append_failures: u64,
    pub store_error: Option<String>,
}

#[derive(Default)]
pub struct ViewFacts {
    pub id: String,
    pub job: String,
    pub rule: String,
    pub expr: String,
    pub tenant: Tenant,
    pub step_ms: i64,
    pub max_delay_ms: i64,
    pub final_to: Option<Timestamp>,
    /// The last stretch served.
    pub served: Option<(Timestamp, Timestamp)>,
    /// Newest first, at most [`SPANS_MAX`].
    pub spans: Vec<(SpanReason, Timestamp, Timestamp)>,
    pub spans_all: usize,
    pub trust: TrustFacts,
    pub activity: ViewActivity,
}

#[derive(Default)]
pub struct TrustFacts {
    /// Whether comparisons are asked for at all.
    pub asked: bool,
    pub equal: u64,
    pub unequal: u64,
    pub failed: u64,
    pub last_equal: Option<Timestamp>,
    pub last_difference: Option<String>,
}

pub struct SenderFacts {
    pub tenant: Tenant,
    pub sender: SmolStr,
    pub first: Timestamp,
    /// Since the start; `None` when it has not written, or is one of too many.
    pub newest: Option<Timestamp>,
}

#[derive(Default)]
pub struct UpstreamFacts {
    pub identity: Option<String>,
    pub difference: Option<&'static str>,
    pub reachable: Option<bool>,
    pub answered_before_ms: Option<i64>,
    /// How long ago, and why.
    pub failed_before_ms: Option<(i64, String)>,
    pub requests: Vec<(&'static str, u64)>,
}

#[derive(Default)]
pub struct SinkFacts {
    pub name: String,
    pub url: String,
    pub position: Option<Timestamp>,
    pub behind_ms: i64,
    pub samples: u64,
    pub dropped: u64,
    pub trouble: Option<Trouble>,
}

#[derive(Default)]
pub struct QueryFacts {
    pub answers: Vec<(&'static str, u64)>,
    pub running: usize,
    pub running_max: usize,
    pub refusals: Vec<(&'static str, RefusedLast)>,
}

pub fn gather(node: &Node) -> Facts {
    let catalog = node.proxy.catalog.load();
    let mut entries: Vec<_> = catalog.in_force().collect();
    entries.sort_by(|a, b| (&a.job, &a.rule).cmp(&(&b.job, &b.rule)));
    let views = entries.iter().take(VIEWS_MAX).map(|entry| view(node, entry)).collect();
    let mut senders = senders(node);
    let senders_all = senders.len();
    senders.truncate(SENDERS_MAX);
    let status = node.stream_status();
    let log_time = status.log_time.load(Ordering::Relaxed);
    Facts {
        now: node.clock.now(),
        stream: StreamFacts {
            failed: status.failed.lock().clone(),
            caught_up: node.caught_up(),
            records_ahead: status.records_ahead.load(Ordering::Relaxed),
            log_time: Timestamp(log_time),
            samples: status.folded.samples(),
        },
        log: log(node),
        views,
        views_all: entries.len(),
        senders,
        senders_all,
        upstream: upstream(node),
        queries: QueryFacts {
            answers: Answered::ALL.iter().map(|how| (how.name(), node.proxy.counters.answers(*how))).collect(),
            running: node.proxy.evaluations_running(),
            running_max: node.proxy.options.query_concurrency_max,
            refusals: node.proxy.counters.refusals(),
        },
        reload_problems: node.last_reload.lock().problems.clone(),
        sinks: node.sink_statuses().iter().map(|sink| sink_facts(sink)).collect(),
        targets_down: targets_down(node),
    }
}

fn sink_facts(sink: &SinkStatus) -> SinkFacts {
    SinkFacts {
        name: sink.name.clone(),
        url: sink.url.clone(),
        position: sink.position(),
        behind_ms: sink.behind_ms(),
        samples: sink.samples(),
        dropped: sink.dropped_samples().values().sum(),
        trouble: sink.trouble(),
    }
}

/// None are told of while targets are being changed.
fn targets_down(node: &Node) -> Vec<(String, String)> {
    let Ok(scraper) = node.scraper.try_lock() else { return Vec::new() };
    let targets = scraper.as_ref().map(|scraper| scraper.targets()).unwrap_or_default();
    let down = targets.into_iter().filter(|target| !target.last_error.is_empty());
    down.map(|target| (target.url, target.last_error)).take(TARGETS_MAX).collect()
}

fn view(node: &Node, entry: &CatalogEntry) -> ViewFacts {
    let (view, proxy) = (&entry.view, &node.proxy);
    let state = node.store.view(view.id);
    let coverage = proxy.coverage(view.id);
    let mut spans: Vec<_> =
        state.iter().flat_map(|state| &state.spans).map(|span| (span.reason, span.from, span.to)).collect();
    spans.sort_by_key(|(reason, from, to)| (std::cmp::Reverse(*to), std::cmp::Reverse(*from), *reason));
    let spans_all = spans.len();
    spans.truncate(SPANS_MAX);
    let record = proxy.trust.record(view.id);
    ViewFacts {
        id: view.id.to_string(),
        job: entry.job.to_string(),
        rule: entry.rule.to_string(),
        expr: entry.expr.clone(),
        tenant: view.tenant.clone(),
        step_ms: view.step_ms,
        max_delay_ms: view.max_delay_ms,
        final_to: state.and_then(|state| state.final_to),
        served: coverage.as_ref().map(Coverage::served).and_then(|served| served.last().copied()),
        spans,
        spans_all,
        trust: TrustFacts {
            asked: proxy.upstream.is_some() && proxy.options.compare,
            equal: record.equal,
            unequal: record.unequal,
            failed: record.failed,
            last_equal: record.last_equal(),
            last_difference: record.last_difference,
        },
        activity: (proxy.activity)(view.id),
    }
}

fn log(node: &Node) -> LogFacts {
    let stats = node.log.stats();
    let extents: Vec<_> = (0..node.log.partitions()).map(|partition| node.log.extent(PartitionId(partition))).collect();
    let known = |t: &Timestamp| *t != Timestamp::MIN;
    LogFacts {
        partitions: node.log.partitions(),
        bytes: stats.disk.map(|disk| disk.bytes),
        oldest: extents.iter().map(|extent| extent.first_log_time).filter(known).min(),
        newest: extents.iter().map(|extent| extent.newest_log_time).filter(known).max(),
        append_failures: stats.append_failures,
        store_error: node.store.stats().flush_error,
    }
}

fn senders(node: &Node) -> Vec<SenderFacts> {
    let progress = &node.stream_status().folded;
    let mut senders: Vec<SenderFacts> = node
        .store
        .senders()
        .into_iter()
        .map(|seen| SenderFacts {
            newest: progress.newest(&seen.tenant, &seen.sender),
            tenant: seen.tenant,
            sender: seen.sender,
            first: seen.first,
        })
        .collect();
    // The silent ones first; those of earlier runs, which are nobody's worry, last.
    senders.sort_by(|a, b| (a.newest.is_none(), a.newest, &a.sender).cmp(&(b.newest.is_none(), b.newest, &b.sender)));
    senders
}

fn upstream(node: &Node) -> Option<UpstreamFacts> {
    let upstream = node.proxy.upstream.as_ref()?;
    let (contact, identity) = (upstream.contact(), upstream.identity());
    let ms = |before: std::time::Duration| before.as_millis() as i64;
    Some(UpstreamFacts {
        identity: identity.as_ref().map(|identity| identity.to_string()),
        difference: identity.and_then(|identity| identity.difference()),
        reachable: contact.is_reachable(),
        answered_before_ms: contact.answered_before().map(ms),
        failed_before_ms: contact.failed_before().map(|(before, why)| (ms(before), why)),
        requests: Purpose::ALL.iter().map(|purpose| (purpose.name(), contact.requests(*purpose))).collect(),
    })
}
