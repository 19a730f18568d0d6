//! The Query and GetOffset calls.

use std::{sync::Arc, time::Duration};

use futures::future::try_join_all;
use itertools::Itertools as _;

use super::{
    Scan, Shared,
    entry::{self, EntryKey},
    enum_value,
    filter::Filter,
    paging::{self, PageSize, Tokens},
    proto::{self, Freshness},
};
use crate::{
    error::Error,
    facts::{Fact, first_seen, sorted_facts, sorted_groups},
    freshness::{self, Scope},
    lag::{self, StatusContext},
    store::{
        Store,
        cluster::Cluster,
        cut::{Cut, GroupCut},
        membership::Membership,
        shard::{OffsetLookup, Shard},
        source::Source,
    },
    work::WorkKind,
};

/// Maximum time to wait for fresh data (LATEST) if the caller sets no deadline.
const LATEST_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn query(
    store: &Arc<Store>,
    request: proto::QueryRequest,
    deadline: Option<Duration>,
) -> Result<proto::QueryResponse, Error> {
    let (clusters, not_loaded) = candidates(store, &request)?;
    if enum_value::<Freshness>("freshness", request.freshness)? == Freshness::Latest {
        let scope = Scope::Key((&*request.group_id).into(), (&*request.topic).into(), request.partition);
        let wait = async |cluster: &Arc<Cluster>| match cluster.source(&request.source) {
            Some(source) => freshness::wait_for_source(&source, &scope, latest_timeout(deadline)).await,
            None => freshness::wait_for(cluster, scope.clone(), latest_timeout(deadline)).await,
        };
        try_join_all(clusters.iter().map(wait)).await?;
    }
    // Look up after the wait, because the shard may have been replaced meanwhile.
    let found: Vec<Found> = clusters.iter().filter_map(|cluster| find(cluster, &request).transpose()).try_collect()?;
    let found = only("cluster", found, |found| &found.cluster.name)?;
    let Some(Found { cluster, source, shard, lookup }) = found else {
        let names = clusters.iter().map(|cluster| format!("{:?}", cluster.name)).join(", ");
        let clusters = if clusters.len() == 1 { "cluster" } else { "clusters" };
        let none = || Error::NotFound(format!("no group {:?} in {clusters} {names}", request.group_id));
        return Err(not_loaded.unwrap_or_else(none));
    };
    let entry = offset_entry(store, (&cluster, &source), &shard, &lookup, &request)?;
    Ok(proto::QueryResponse { entry: Some(entry), snapshot: Some(entry_snapshot(store, &cluster)) })
}

/// Returns the clusters that may have the requested key: the named one, or all that are loaded. If one is not loaded,
/// the error that says so is returned, too, in case that no other cluster has the group.
fn candidates(store: &Store, request: &proto::QueryRequest) -> Result<(Vec<Arc<Cluster>>, Option<Error>), Error> {
    let check = |cluster: Arc<Cluster>| -> Result<Arc<Cluster>, Error> {
        let none = || Error::NotFound(format!("no source {:?} in cluster {:?}", request.source, cluster.name));
        let named = (!request.source.is_empty()).then(|| cluster.source(&request.source).ok_or_else(none));
        match named.transpose()? {
            _ if request.allow_partial => {}
            Some(source) if !Arc::ptr_eq(&source, &cluster.own) => {
                store.check_source((&cluster, &source), format!("{}/{}", cluster.name, source.id.name).into())?;
            }
            _ => store.check_loaded(&cluster)?,
        }
        Ok(cluster)
    };
    if !request.cluster.is_empty() {
        return Ok((vec![check(store.cluster(&request.cluster)?)?], None));
    }
    let (loaded, mut errors): (Vec<_>, Vec<_>) = store.clusters().iter().map(Arc::clone).map(check).partition_result();
    // Clusters without the named source are not reported unless there are no others.
    errors.sort_by_key(|error| matches!(error, Error::NotFound(_)));
    match errors.into_iter().next() {
        Some(error) if loaded.is_empty() => Err(error),
        error => Ok((loaded, error.filter(|error| !matches!(error, Error::NotFound(_))))),
    }
}

/// A group, and the requested offset if the group has it.
struct Found {
    cluster: Arc<Cluster>,
    source: Arc<Source>,
    shard: Arc<Shard>,
    lookup: OffsetLookup,
}

/// Returns the key in the requested source. If no source is requested, the cluster's own source is preferred, then the
/// only other source that has the key. If no source has the key, returns a source that has the group.
fn find(cluster: &Arc<Cluster>, request: &proto::QueryRequest) -> Result<Option<Found>, Error> {
    let get = |source: &Arc<Source>| {
        let shard = source.shard_of_group(&request.group_id)?;
        let lookup = shard.get(&request.group_id, &request.topic, request.partition)?;
        Some(Found { cluster: Arc::clone(cluster), source: Arc::clone(source), shard, lookup })
    };
    if !request.source.is_empty() {
        return Ok(cluster.source(&request.source).and_then(|source| get(&source)));
    }
    let own = get(&cluster.own);
    if own.as_ref().is_some_and(|found| found.lookup.entry.is_some()) {
        return Ok(own);
    }
    let others = cluster.sources();
    let found = own.into_iter().chain(others.iter().skip(1).filter_map(get)).collect();
    only("source", found, |found| &found.source.id.name)
}

/// Returns the only place that has the key, or the first that has at least the group. `field` is the field of the
/// request that names a place.
fn only(field: &str, found: Vec<Found>, name: impl Fn(&Found) -> &str) -> Result<Option<Found>, Error> {
    let (mut with_key, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| found.lookup.entry.is_some());
    if with_key.len() > 1 {
        let names = with_key.iter().map(name).join(", ");
        return Err(Error::Invalid(format!("{field}: several {field}s have this offset, name one of them: {names}")));
    }
    Ok(with_key.pop().or_else(|| others.into_iter().next()))
}

/// Returns how long to wait for fresh data: 95 % of the caller's deadline, so that the caller still receives the
/// reason.
fn latest_timeout(deadline: Option<Duration>) -> Duration {
    deadline.map_or(LATEST_TIMEOUT, |deadline| deadline - deadline / 20)
}

fn offset_entry(
    store: &Store,
    (cluster, source): (&Cluster, &Source),
    shard: &Shard,
    found: &OffsetLookup,
    request: &proto::QueryRequest,
) -> Result<proto::OffsetEntry, Error> {
    let Some(at) = &found.entry else {
        let group = &request.group_id;
        return Err(Error::NotFound(if found.has_topic {
            format!("group {group:?} has no offset for partition {} of topic {:?}", request.partition, request.topic)
        } else {
            format!("group {group:?} has no offsets for topic {:?}", request.topic)
        }));
    };
    let ends = cluster.ends.current();
    let windows = source.windows.load();
    let (now, now_at) = (store.clock.ticks(), store.clock.now());
    let topic = ends.topic(&at.topic).map(|topic| &**topic);
    let lag = lag::lag(&at.row, at.extras.as_ref(), &shard.key, topic, &ends, now);
    let window = windows.group(&found.group).and_then(|windows| windows.at(at.position, at.topic_index, &at.row));
    let context = StatusContext {
        ends: &ends,
        window: store.settings().window,
        now,
        now_at,
        load_began: shard.progress.load_began(),
    };
    let status = lag::status(&at.row, &lag, window, context);
    let id = topic.and_then(|topic| topic.id);
    let owner = owner(cluster, source, found, |of| of.owner(&at.topic, id, at.row.partition).map(entry::owner));
    let key = EntryKey { shard: &shard.key, group: &found.group, topic: &at.topic };
    let mut entry = entry::committed(key, &at.row, at.extras.as_ref());
    entry::derived(&mut entry, &lag, lag.seconds(&ends, now), status, owner);
    let seen = first_seen(&at.row, (&shard.key, context.load_began), (now, now_at));
    entry.observed_at = seen.and_then(entry::timestamp);
    Ok(entry)
}

/// Returns the owner among the members of the group. If the source does not know members, they are those of the group
/// with the same id in the cluster's own source.
fn owner(
    cluster: &Cluster,
    source: &Source,
    found: &OffsetLookup,
    find: impl Fn(&Membership) -> Option<proto::Owner>,
) -> Option<proto::Owner> {
    if let Some(members) = found.members.current() {
        return find(members);
    }
    if source.id == cluster.own.id {
        return None;
    }
    let same = cluster.own.shard_of_group(&found.group)?.group(&found.group)?;
    let source = Some(cluster.own.id.name.to_string());
    find(same.membership()?).map(|owner| proto::Owner { source, ..owner })
}

/// Returns the snapshot of a single offset. The offset is read under the lock of its shard, so the snapshot is the
/// present.
fn entry_snapshot(store: &Store, cluster: &Cluster) -> proto::Snapshot {
    let health = cluster.health();
    let now = store.clock.now();
    proto::Snapshot {
        id: store.snapshot_id(now),
        taken_at: entry::timestamp(now),
        clusters: vec![proto::ClusterSnapshot {
            cluster: cluster.name.to_string(),
            complete: health.ready,
            newest_record_at: cluster.own.newest_record_at().and_then(entry::timestamp),
            stale_since: health.stale_since.and_then(entry::timestamp),
        }],
    }
}

/// The last key of the previous page: cluster, group, topic, partition and source.
type LastKey = (String, String, String, i32, String);

pub(super) async fn get_offset(
    shared: &Arc<Shared>,
    request: proto::GetOffsetRequest,
    deadline: Option<Duration>,
) -> Result<proto::GetOffsetResponse, Error> {
    let size = paging::size(request.page_size)?;
    let tokens = Tokens::new(&proto::GetOffsetRequest { page_size: 0, page_token: String::new(), ..request.clone() });
    let after: Option<LastKey> = tokens.read(&request.page_token)?;
    let is_latest = enum_value::<Freshness>("freshness", request.freshness)? == Freshness::Latest;
    let filter = Filter::new(request.filter)?;
    let cluster = filter.named_cluster().to_owned();
    // Later pages are as fresh as the first one, so they do not wait again.
    if is_latest && after.is_none() {
        let store = shared.store();
        match &*cluster {
            "" => freshness::wait_for_all(store, latest_timeout(deadline)).await?,
            name => freshness::wait_for(&store.cluster(name)?, Scope::All, latest_timeout(deadline)).await?,
        }
    }
    let from = (&*cluster, request.allow_partial);
    let page = move |scan: &Scan| page(scan, &filter, size, &tokens, after.as_ref());
    shared.scan((WorkKind::Page, "GetOffset"), deadline, from, page).await
}

fn is_of(group: &GroupCut<'_>, cluster: &str) -> bool {
    *group.source.cluster.name == *cluster
}

/// Returns the facts of a group id in several sources, ordered by topic, partition and source.
fn facts_of_sources<'a>(cut: &'a Cut, groups: &[GroupCut<'a>]) -> Vec<Fact<'a>> {
    let mut facts: Vec<Fact<'a>> = groups.iter().flat_map(|group| sorted_facts(cut, *group)).collect();
    if groups.len() > 1 {
        // The sort is stable, so the sources keep their order.
        facts.sort_by(|left, right| {
            (left.entry.topic, left.entry.row.partition).cmp(&(right.entry.topic, right.entry.row.partition))
        });
    }
    facts
}

fn page(
    scan: &Scan,
    filter: &Filter,
    size: usize,
    tokens: &Tokens,
    after: Option<&LastKey>,
) -> Result<proto::GetOffsetResponse, Error> {
    let cut: &Cut = scan;
    let from = after.map_or(("", ""), |after| (after.0.as_str(), after.1.as_str()));
    let (mut entries, mut room, mut more) = (vec![], PageSize::new(size), false);
    let mut groups = sorted_groups(cut, from).peekable();
    'groups: while let Some(group) = groups.next() {
        scan.cancel().check()?;
        let same = |other: &GroupCut<'_>| other.group.id == group.group.id && is_of(other, &group.source.cluster.name);
        let mut of_sources = vec![group];
        of_sources.extend(std::iter::from_fn(|| groups.next_if(same)));
        let (cluster, id) = (&*group.source.cluster.name, &*group.group.id);
        of_sources.retain(|group| filter.accepts_source(&group.shard.key.source.name));
        if !filter.cluster.accepts(cluster) || !filter.group.accepts(id) {
            continue;
        }
        for fact in facts_of_sources(cut, &of_sources) {
            let source = &*fact.group().shard.key.source.name;
            let key = (cluster, id, &**fact.entry.topic, fact.entry.row.partition, source);
            let seen = after.is_some_and(|last| key <= (last.0.as_str(), &last.1, &last.2, last.3, &last.4));
            let lagging = !filter.with_lag_only || fact.lag().lag.is_ok_and(|lag| lag > 0);
            if seen || !lagging || !filter.accepts_key(key.2, key.3) {
                continue;
            }
            if room.is_full() {
                more = true;
                break 'groups;
            }
            let entry = entry::from_fact(&fact);
            room.add(&entry);
            entries.push(entry);
        }
    }
    let next = entries.last().filter(|_| more).map(|last: &proto::OffsetEntry| {
        let (cluster, group, topic) = (last.cluster.clone(), last.group_id.clone(), last.topic.clone());
        let position: LastKey = (cluster, group, topic, last.partition, last.source.clone());
        tokens.write(position)
    });
    let snapshot = cut.snapshot();
    Ok(proto::GetOffsetResponse {
        entries,
        next_page_token: next.unwrap_or_default(),
        snapshot: Some(entry::snapshot(&snapshot)),
        incomplete_clusters: entry::incomplete(&snapshot),
    })
}
