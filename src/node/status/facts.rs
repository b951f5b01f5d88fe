//! What the page shows, gathered at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smol_str::SmolStr;

use crate::model::{PartitionId, SenderSeen, SpanReason, Tenant, Timestamp};
use crate::node::assembly::{Node, StreamPart};
use crate::node::in_force::JobSets;
use crate::node::ingest::Ingest;
use crate::node::queries::Queries;
use crate::node::role::Role;
use crate::plan::CatalogEntry;
use crate::proxy::counters::RefusedLast;
use crate::proxy::coverage::Coverage;
use crate::proxy::upstream::Purpose;
use crate::proxy::{Answered, Proxy, ViewActivity};
use crate::sink::{SinkStatus, Trouble};

/// The most targets that are down of which it is said.
const TARGETS_MAX: usize = 200;

/// The most views, senders and spans of a view that the page lists.
pub const VIEWS_MAX: usize = 500;
pub const SENDERS_MAX: usize = 200;
pub const SPANS_MAX: usize = 5;

/// Everything on the page; nothing of parts that the role has not.
pub struct Facts {
    pub role: Role,
    pub now: Timestamp,
    pub stream: Option<StreamFacts>,
    pub log: Option<LogFacts>,
    pub queries: Option<QueryFacts>,
    /// What is wrong with the files that were read last.
    pub reload_problems: Option<String>,
    /// Targets whose last scrape failed, with why; at most [`TARGETS_MAX`].
    pub targets_down: Vec<(String, String)>,
}

#[derive(Default)]
pub struct StreamFacts {
    /// Whether it folds samples, and does not only follow results.
    pub folds: bool,
    /// Views of the jobs in force.
    pub views: usize,
    pub failed: Option<String>,
    pub caught_up: bool,
    pub records_ahead: u64,
    pub log_time: Timestamp,
    pub samples: u64,
    pub cluster: Option<ClusterFacts>,
}

/// What a worker or a query replica is in its cluster.
pub struct ClusterFacts {
    /// Of samples and of partials, in a worker.
    pub partitions: Option<(u64, u64)>,
    pub combine_remaining: u64,
    pub restarts: u64,
    pub skipped: u64,
    /// The set in force, and one that waits.
    pub sets: Option<Arc<JobSets>>,
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
    /// By job and rule, at most [`VIEWS_MAX`].
    pub views: Vec<ViewFacts>,
    pub views_all: usize,
    /// Those that have said least lately first, at most [`SENDERS_MAX`].
    pub senders: Vec<SenderFacts>,
    pub senders_all: usize,
    pub upstream: Option<UpstreamFacts>,
    pub store_error: Option<String>,
    pub sinks: Vec<SinkFacts>,
    pub answers: Vec<(&'static str, u64)>,
    pub running: usize,
    pub running_max: usize,
    pub refusals: Vec<(&'static str, RefusedLast)>,
}

pub fn gather(node: &Node) -> Facts {
    Facts {
        role: node.role,
        now: node.clock.now(),
        stream: node.streaming.as_ref().map(|streaming| stream(streaming, node.role)),
        log: node.ingest.as_ref().map(log),
        queries: node.queries.as_ref().map(|part| queries(part, node.streaming.as_ref())),
        reload_problems: node.last_reload.lock().problems.clone(),
        targets_down: node.ingest.as_ref().map(targets_down).unwrap_or_default(),
    }
}

fn stream(streaming: &StreamPart, role: Role) -> StreamFacts {
    let status = &streaming.status;
    StreamFacts {
        folds: role.folds(),
        views: streaming.jobs.loaded().catalog.len(),
        failed: streaming.failed(),
        caught_up: streaming.caught_up(),
        records_ahead: status.records_ahead.load(Ordering::Relaxed),
        log_time: Timestamp(status.log_time.load(Ordering::Relaxed)),
        samples: status.folded.samples(),
        cluster: matches!(role, Role::Worker | Role::Query).then(|| cluster(streaming, role)),
    }
}

fn cluster(streaming: &StreamPart, role: Role) -> ClusterFacts {
    let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let progress = &streaming.status.cluster;
    let partitions = (of(&progress.fold_partitions), of(&progress.combine_partitions));
    ClusterFacts {
        partitions: (role == Role::Worker).then_some(partitions),
        combine_remaining: of(&progress.combine_remaining),
        restarts: of(&progress.fold_restarts) + of(&progress.combine_restarts) + of(&progress.results_restarts),
        skipped: of(&progress.partials_skipped) + of(&progress.results_skipped),
        sets: streaming.jobs.sets(),
    }
}

fn queries(part: &Queries, streaming: Option<&StreamPart>) -> QueryFacts {
    let Queries { store, proxy, .. } = part;
    let catalog = proxy.catalog.load();
    let mut entries: Vec<_> = catalog.in_force().collect();
    entries.sort_by(|a, b| (&a.job, &a.rule).cmp(&(&b.job, &b.rule)));
    let mut senders = senders(part, streaming);
    let senders_all = senders.len();
    senders.truncate(SENDERS_MAX);
    QueryFacts {
        views: entries.iter().take(VIEWS_MAX).map(|entry| view(part, entry)).collect(),
        views_all: entries.len(),
        senders,
        senders_all,
        upstream: upstream(proxy),
        store_error: store.stats().flush_error,
        sinks: part.sink_statuses().iter().map(|sink| sink_facts(sink)).collect(),
        answers: Answered::ALL.iter().map(|how| (how.name(), proxy.counters.answers(*how))).collect(),
        running: proxy.evaluations_running(),
        running_max: proxy.options.query_concurrency_max,
        refusals: proxy.counters.refusals(),
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
fn targets_down(ingest: &Ingest) -> Vec<(String, String)> {
    let Ok(scraper) = ingest.scraper.try_lock() else { return Vec::new() };
    let targets = scraper.as_ref().map(|scraper| scraper.targets()).unwrap_or_default();
    let down = targets.into_iter().filter(|target| !target.last_error.is_empty());
    down.map(|target| (target.url, target.last_error)).take(TARGETS_MAX).collect()
}

fn view(Queries { store, proxy, .. }: &Queries, entry: &CatalogEntry) -> ViewFacts {
    let view = &entry.view;
    let state = store.view(view.id);
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

fn log(Ingest { log, .. }: &Ingest) -> LogFacts {
    let stats = log.stats();
    let extents: Vec<_> = (0..log.partitions()).map(|partition| log.extent(PartitionId(partition))).collect();
    let known = |t: &Timestamp| *t != Timestamp::MIN;
    LogFacts {
        partitions: log.partitions(),
        bytes: stats.disk.map(|disk| disk.bytes),
        oldest: extents.iter().map(|extent| extent.first_log_time).filter(known).min(),
        newest: extents.iter().map(|extent| extent.newest_log_time).filter(known).max(),
        append_failures: stats.append_failures,
    }
}

fn senders(part: &Queries, streaming: Option<&StreamPart>) -> Vec<SenderFacts> {
    let newest = |seen: &SenderSeen| streaming?.status.folded.newest(&seen.tenant, &seen.sender);
    let mut senders: Vec<SenderFacts> = part
        .senders()
        .into_iter()
        .map(|seen| SenderFacts { newest: newest(&seen), tenant: seen.tenant, sender: seen.sender, first: seen.first })
        .collect();
    // The silent ones first; those of earlier runs, which are nobody's worry, last.
    senders.sort_by(|a, b| (a.newest.is_none(), a.newest, &a.sender).cmp(&(b.newest.is_none(), b.newest, &b.sender)));
    senders
}

fn upstream(proxy: &Proxy) -> Option<UpstreamFacts> {
    let upstream = proxy.upstream.as_ref()?;
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
