//! `offsetd groups`.

use std::{io::Write, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use super::{
    Failure, ServerArgs, Style,
    connect::{Client, call_failed, connect},
    output,
    text::{Column, Table, count, or_dash, time},
    write_json,
};
use crate::rpc::json as to_json;
use crate::rpc::proto::{Consumer, ConsumerEdge, GetActiveConsumerRequest, GetConsumerRequest, Snapshot};

pub(super) const EXAMPLES: &str = "\
Examples:
  offsetd groups
  offsetd groups --search orders                  in the name of the group or of a topic
  offsetd groups --order-by 'lag desc'
  offsetd groups --active                         who reads what: group, topic, owner";

/// Arguments of `groups`.
#[derive(Debug, Args)]
pub struct GroupsArgs {
    /// Only groups with this in their name or in that of a topic.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub search: String,
    /// Only groups that commit or have members, with topics and owners.
    #[arg(long)]
    pub active: bool,
    /// With --active: time since the last commit, as 10min. Default: 5min.
    #[arg(long, requires = "active", value_parser = humantime::parse_duration)]
    pub within: Option<Duration>,
    /// Only of this cluster.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub cluster: String,
    /// A column of the SQL table `groups`, as 'lag desc'.
    #[arg(long, value_name = "COLUMN", default_value = "", hide_default_value = true, conflicts_with = "active")]
    pub order_by: String,
    /// How to show them.
    #[arg(long, value_enum, default_value_t)]
    pub format: Style,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// What the pages hold together.
#[derive(Debug, Default)]
struct Found {
    groups: Vec<Consumer>,
    edges: Vec<ConsumerEdge>,
    incomplete_clusters: Vec<String>,
    /// Of the last page.
    snapshot: Option<Snapshot>,
}

pub(super) async fn run(args: &GroupsArgs) -> Result<(), Failure> {
    let mut client = connect(&args.server).await?;
    let found = if args.active { active(&mut client, args).await? } else { all(&mut client, args).await? };
    let mut out = output();
    match args.format {
        Style::Text => write_text(&mut out, &found, args.active)?,
        Style::Json => write_json(&mut out, &found.to_json(args.active))?,
    }
    out.flush()?;
    Ok(())
}

async fn all(client: &mut Client, args: &GroupsArgs) -> Result<Found, Failure> {
    let mut found = Found::default();
    let mut request = GetConsumerRequest {
        cluster: args.cluster.clone(),
        search: args.search.clone(),
        order_by: args.order_by.clone(),
        ..GetConsumerRequest::default()
    };
    loop {
        let page = client.get_consumer(request.clone()).await.map_err(call_failed)?.into_inner();
        found.groups.extend(page.consumers);
        (found.incomplete_clusters, found.snapshot) = (page.incomplete_clusters, page.snapshot);
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        request.page_token = page.next_page_token;
    }
}

async fn active(client: &mut Client, args: &GroupsArgs) -> Result<Found, Failure> {
    let mut found = Found::default();
    let within = args.within.map(prost_types::Duration::try_from).transpose();
    let mut request = GetActiveConsumerRequest {
        cluster: args.cluster.clone(),
        search: args.search.clone(),
        within: within.map_err(|error| Failure::Usage(format!("--within: {error}")))?,
        ..GetActiveConsumerRequest::default()
    };
    loop {
        let page = client.get_active_consumer(request.clone()).await.map_err(call_failed)?.into_inner();
        found.groups.extend(page.consumers);
        found.edges.extend(page.edges);
        (found.incomplete_clusters, found.snapshot) = (page.incomplete_clusters, page.snapshot);
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        request.page_token = page.next_page_token;
    }
}

impl Found {
    fn to_json(&self, active: bool) -> Value {
        let groups: Vec<Value> = self.groups.iter().map(to_json::consumer).collect();
        let mut value = json!({
            "consumers": groups,
            "snapshot": self.snapshot.as_ref().map(to_json::snapshot),
            "incomplete_clusters": self.incomplete_clusters,
        });
        if let (true, Some(object)) = (active, value.as_object_mut()) {
            object.insert("edges".to_owned(), self.edges.iter().map(to_json::edge).collect());
        }
        value
    }
}

fn write_text(out: &mut impl Write, found: &Found, active: bool) -> std::io::Result<()> {
    write_groups(out, &found.groups)?;
    if active {
        writeln!(out)?;
        write_edges(out, &found.edges)?;
    }
    write!(out, "({})", count(i128::try_from(found.groups.len()).unwrap_or(i128::MAX), "group"))?;
    for cluster in &found.incomplete_clusters {
        write!(out, "; {} is not loaded yet and left out", super::text::escape(cluster))?;
    }
    writeln!(out)
}

fn write_groups(out: &mut impl Write, groups: &[Consumer]) -> std::io::Result<()> {
    let left = ["cluster", "group_id", "kind", "state", "status"].map(Column::left);
    let right = ["members", "topics", "partitions", "lag", "max_lag_s"].map(Column::right);
    let mut columns: Vec<Column> = left.into_iter().chain(right).collect();
    columns.push(Column::left("last_committed_at"));
    let mut table = Table::new(columns);
    for group in groups {
        // A sum of what is known is a lower bound.
        let at_least = if group.unknown_lag_partitions > 0 && group.lag.is_some() { "≥" } else { "" };
        let partitions: i64 = group.topics.iter().map(|topic| i64::from(topic.partitions)).sum();
        let cells = vec![
            group.cluster.clone(),
            group.group_id.clone(),
            group.kind.clone(),
            group.state.clone(),
            group.status.clone(),
            group.members.to_string(),
            group.topics.len().to_string(),
            partitions.to_string(),
            or_dash(group.lag.map(|lag| format!("{at_least}{lag}"))),
            or_dash(group.max_lag_seconds.map(|seconds| format!("{seconds:.1}"))),
            or_dash(time(group.last_committed_at.as_ref())),
        ];
        table.row(out, cells)?;
    }
    table.finish(out)
}

fn write_edges(out: &mut impl Write, edges: &[ConsumerEdge]) -> std::io::Result<()> {
    let mut columns =
        ["cluster", "group_id", "topic", "client_id", "client_host", "partitions"].map(Column::left).to_vec();
    columns.push(Column::right("lag"));
    columns.push(Column::left("member_id"));
    let mut table = Table::new(columns);
    for edge in edges {
        let owner = edge.owner.as_ref();
        let cells = vec![
            edge.cluster.clone(),
            edge.group_id.clone(),
            edge.topic.clone(),
            or_dash(owner.map(|owner| owner.client_id.as_str())),
            or_dash(owner.map(|owner| owner.client_host.as_str())),
            ranges(&edge.partitions),
            or_dash(edge.lag),
            or_dash(owner.map(|owner| owner.member_id.as_str())),
        ];
        table.row(out, cells)?;
    }
    table.finish(out)
}

/// `0-3,7`
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
mod tests {
    use super::*;
    use crate::rpc::proto::{Owner, TopicPartitions};

    fn found() -> Found {
        let group = Consumer {
            cluster: "demo".to_owned(),
            group_id: "orders\u{7}".to_owned(),
            kind: "classic".to_owned(),
            state: "Stable".to_owned(),
            topics: vec![TopicPartitions { topic: "events".to_owned(), partitions: 4 }],
            members: 1,
            lag: Some(12),
            unknown_lag_partitions: 1,
            status: "ok".to_owned(),
            ..Consumer::default()
        };
        let owner = Owner {
            member_id: "m1".to_owned(),
            client_id: "c1".to_owned(),
            client_host: "/h".to_owned(),
            instance_id: None,
        };
        let owned = ConsumerEdge {
            topic: "events".to_owned(),
            owner: Some(owner),
            partitions: vec![2, 0, 1, 7],
            ..ConsumerEdge::default()
        };
        let free =
            ConsumerEdge { topic: "old".to_owned(), partitions: vec![3], lag: Some(5), ..ConsumerEdge::default() };
        let incomplete_clusters = vec!["late".to_owned()];
        Found { groups: vec![group], edges: vec![owned, free], incomplete_clusters, snapshot: None }
    }

    #[test]
    fn groups_and_edges_show_what_is_known() {
        let mut out = Vec::new();
        write_text(&mut out, &found(), true).unwrap();
        let text = String::from_utf8(out).unwrap();
        let words = |line: usize| text.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(2), ["demo", "orders\\u{7}", "classic", "Stable", "ok", "1", "1", "4", "≥12", "-", "-"]);
        assert_eq!(words(6), ["events", "c1", "/h", "0-2,7", "-", "m1"]);
        assert_eq!(words(7), ["old", "-", "-", "3", "5", "-"]);
        assert_eq!(text.lines().last(), Some("(1 group); late is not loaded yet and left out"));
    }

    #[tokio::test]
    async fn all_pages_are_walked() {
        use crate::{cli::fake::Fake, rpc::proto::GetConsumerResponse};
        let page = |token: &str| GetConsumerResponse {
            consumers: found().groups,
            next_page_token: token.to_owned(),
            ..GetConsumerResponse::default()
        };
        let mut client = Fake { groups: vec![page("1"), page("2"), page("")], ..Fake::default() }.client(None).await;
        let server = ServerArgs::default();
        let (search, cluster, order_by) = Default::default();
        let args = GroupsArgs { search, active: false, within: None, cluster, order_by, format: Style::Text, server };
        assert_eq!(all(&mut client, &args).await.unwrap().groups.len(), 3);
    }

    #[test]
    fn edges_are_in_the_json_of_active_groups_only() {
        assert_eq!(found().to_json(true)["edges"][0]["owner"]["client_id"], "c1");
        assert_eq!(found().to_json(false).get("edges"), None);
        assert_eq!(found().to_json(false)["consumers"][0]["lag"], 12);
    }
}
