//! `offsetd groups`: lists consumer groups, and the topics and members of active ones.

use std::{io::Write, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use super::{
    Failure, OutputFormat, ServerArgs,
    connect::{Client, call_failed, connect},
    output, show,
    text::{ColumnKind, ColumnOf, Expanded, Table, TableLayout, count, escape, or_dash, time},
};
use crate::rpc::proto::{Consumer, ConsumerEdge, GetActiveConsumerRequest, GetConsumerRequest, Snapshot};

pub(super) const EXAMPLES: &str = "\
Examples:
  offsetd groups
  offsetd groups --search orders                  groups with \"orders\" in their id or in a topic
  offsetd groups --order-by 'lag desc'
  offsetd groups --active                         active groups, with topics and members";

/// Arguments of `groups`.
#[derive(Debug, Args)]
pub struct GroupsArgs {
    /// Show only groups with this text in their id or in the name of a topic.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub search: String,
    /// Show only groups that have members or have committed recently, with their topics and members.
    #[arg(long)]
    pub active: bool,
    /// With --active: longest time since the last commit, for example 10min. Default: 5min.
    #[arg(long, requires = "active", value_parser = humantime::parse_duration)]
    pub within: Option<Duration>,
    /// Show only groups of this cluster.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub cluster: String,
    /// Sort by this column of the SQL table `groups`, for example 'lag desc'.
    #[arg(long, value_name = "COLUMN", default_value = "", hide_default_value = true, conflicts_with = "active")]
    pub order_by: String,
    /// Show every column, even if the table does not fit the terminal.
    #[arg(long)]
    pub wide: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub format: OutputFormat,
    /// The server to query.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// The contents of all pages of the response.
#[derive(Debug, Default)]
struct GroupList {
    groups: Vec<Consumer>,
    edges: Vec<ConsumerEdge>,
    incomplete_clusters: Vec<String>,
    /// The snapshot of the last page.
    snapshot: Option<Snapshot>,
}

pub(super) async fn run(args: &GroupsArgs) -> Result<(), Failure> {
    let mut client = connect(&args.server).await?;
    let list =
        if args.active { fetch_active(&mut client, args).await? } else { fetch_groups(&mut client, args).await? };
    let layout = TableLayout::of_output(if args.wide { Expanded::Off } else { Expanded::Auto });
    show(output(), args.format, &list.to_json(args.active), |out| write_text(out, &list, args.active, layout))
}

async fn fetch_groups(client: &mut Client, args: &GroupsArgs) -> Result<GroupList, Failure> {
    let mut list = GroupList::default();
    let mut request = GetConsumerRequest {
        cluster: args.cluster.clone(),
        search: args.search.clone(),
        order_by: args.order_by.clone(),
        ..GetConsumerRequest::default()
    };
    loop {
        let page = client.get_consumer(request.clone()).await.map_err(call_failed)?.into_inner();
        list.groups.extend(page.consumers);
        (list.incomplete_clusters, list.snapshot) = (page.incomplete_clusters, page.snapshot);
        if page.next_page_token.is_empty() {
            return Ok(list);
        }
        request.page_token = page.next_page_token;
    }
}

async fn fetch_active(client: &mut Client, args: &GroupsArgs) -> Result<GroupList, Failure> {
    let mut list = GroupList::default();
    let within = args.within.map(prost_types::Duration::try_from).transpose();
    let mut request = GetActiveConsumerRequest {
        cluster: args.cluster.clone(),
        search: args.search.clone(),
        within: within.map_err(|error| Failure::Usage(format!("--within: {error}")))?,
        ..GetActiveConsumerRequest::default()
    };
    loop {
        let page = client.get_active_consumer(request.clone()).await.map_err(call_failed)?.into_inner();
        list.groups.extend(page.consumers);
        list.edges.extend(page.edges);
        (list.incomplete_clusters, list.snapshot) = (page.incomplete_clusters, page.snapshot);
        if page.next_page_token.is_empty() {
            return Ok(list);
        }
        request.page_token = page.next_page_token;
    }
}

impl GroupList {
    fn to_json(&self, active: bool) -> Value {
        let mut value = json!({
            "consumers": self.groups,
            "snapshot": self.snapshot,
            "incomplete_clusters": self.incomplete_clusters,
        });
        if let (true, Some(object)) = (active, value.as_object_mut()) {
            object.insert("edges".to_owned(), json!(self.edges));
        }
        value
    }
}

fn write_text(out: &mut impl Write, list: &GroupList, active: bool, layout: TableLayout) -> std::io::Result<()> {
    let mut clusters: Vec<&str> = list.groups.iter().map(|group| group.cluster.as_str()).collect();
    clusters.dedup();
    // If there is only one cluster, it is named below the table instead of in a column.
    let cluster = if layout.expanded == Expanded::Off { &[][..] } else { &clusters[..] };
    let one = match cluster {
        [one] => Some(*one),
        _ => None,
    };
    let shown = |name: &str| one.is_none() || name != "cluster";
    let groups: Vec<ColumnOf<Consumer>> = GROUPS.into_iter().filter(|(_, name, _)| shown(name)).collect();
    Table::write_fitting(out, &groups, &list.groups, layout, &OPTIONAL_OF_GROUPS)?;
    if active {
        writeln!(out)?;
        let edges: Vec<ColumnOf<ConsumerEdge>> = EDGES.into_iter().filter(|(_, name, _)| shown(name)).collect();
        Table::write_fitting(out, &edges, &list.edges, layout, &OPTIONAL_OF_EDGES)?;
    }
    write!(out, "({}", count(i128::try_from(list.groups.len()).unwrap_or(i128::MAX), "group"))?;
    one.map_or(Ok(()), |cluster| write!(out, " of cluster {}", escape(cluster)))?;
    write!(out, ")")?;
    for cluster in &list.incomplete_clusters {
        write!(out, "; {} is not included, since it is not loaded yet", escape(cluster))?;
    }
    writeln!(out)
}

/// The columns that are left out if the table does not fit the terminal, in this order.
const OPTIONAL_OF_GROUPS: [&str; 6] = ["partitions", "last_committed_at", "topics", "kind", "max_lag_s", "state"];
const OPTIONAL_OF_EDGES: [&str; 2] = ["member_id", "client_host"];

const GROUPS: [ColumnOf<Consumer>; 11] = [
    (ColumnKind::Text, "cluster", |group| group.cluster.clone()),
    (ColumnKind::Text, "group_id", |group| group.group_id.clone()),
    (ColumnKind::Text, "kind", |group| group.kind.clone()),
    (ColumnKind::Text, "state", |group| group.state.clone()),
    (ColumnKind::Status, "status", |group| group.status.clone()),
    (ColumnKind::Number, "members", |group| or_dash(group.members)),
    (ColumnKind::Number, "topics", |group| group.topics.len().to_string()),
    (ColumnKind::Number, "partitions", |group| {
        group.topics.iter().map(|topic| i64::from(topic.partitions)).sum::<i64>().to_string()
    }),
    (ColumnKind::Number, "lag", |group| {
        // If some lags are unknown, the sum of the known ones is a lower bound.
        let at_least = if group.unknown_lag_partitions > 0 { "≥" } else { "" };
        or_dash(group.lag.map(|lag| format!("{at_least}{lag}")))
    }),
    (ColumnKind::Number, "max_lag_s", |group| or_dash(group.max_lag_seconds.map(|seconds| format!("{seconds:.1}")))),
    (ColumnKind::Unshortened, "last_committed_at", |group| or_dash(time(group.last_committed_at.as_ref()))),
];

const EDGES: [ColumnOf<ConsumerEdge>; 8] = [
    (ColumnKind::Text, "cluster", |edge| edge.cluster.clone()),
    (ColumnKind::Text, "group_id", |edge| edge.group_id.clone()),
    (ColumnKind::Text, "topic", |edge| edge.topic.clone()),
    (ColumnKind::Text, "client_id", |edge| or_dash(edge.owner.as_ref().map(|owner| owner.client_id.as_str()))),
    (ColumnKind::Text, "client_host", |edge| or_dash(edge.owner.as_ref().map(|owner| owner.client_host.as_str()))),
    (ColumnKind::Text, "partitions", |edge| ranges(&edge.partitions)),
    (ColumnKind::Number, "lag", |edge| or_dash(edge.lag)),
    (ColumnKind::Text, "member_id", |edge| or_dash(edge.owner.as_ref().map(|owner| owner.member_id.as_str()))),
];

/// Returns partitions as ranges, for example `0-3,7`.
fn ranges(partitions: &[i32]) -> String {
    let mut sorted = partitions.to_vec();
    sorted.sort_unstable();
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for partition in sorted {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(partition) => *last = partition,
            _ => runs.push((partition, partition)),
        }
    }
    let run = |(first, last): &(i32, i32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
