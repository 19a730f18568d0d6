//! `offsetd group G`: shows a consumer group and its partitions, as `kafka-consumer-groups --describe --group G` does,
//! with the status and the lag in seconds.

use std::{collections::BTreeSet, io::Write};

use clap::Args;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

use super::{
    Failure, OutputFormat, ServerArgs,
    connect::{Client, call_failed, connect},
    output, show,
    text::{ColumnKind, ColumnOf, Expanded, Table, TableLayout, count, escape, or_dash},
};
use crate::rpc::proto::{SqlFormat, SqlRequest, SqlValue, sql_response::Message, sql_value::Value};

pub(super) const EXAMPLES: &str = "\
Shows each partition that has a committed offset or an owner, as `kafka-consumer-groups --describe --group G` does. \
committed_offset is its CURRENT-OFFSET, member_id its CONSUMER-ID. Columns that do not fit the terminal are left out.

Examples:
  offsetd group orders
  offsetd group orders --topic events
  offsetd group orders --wide                     every column
  offsetd group orders --format json";

/// Arguments of `group`.
#[derive(Debug, Args)]
pub struct GroupArgs {
    /// Id of the consumer group.
    pub group: String,
    /// Show only this topic.
    #[arg(long)]
    pub topic: Option<String>,
    /// Show only the group of this cluster.
    #[arg(long)]
    pub cluster: Option<String>,
    /// Query Kafka first, so that the result contains every commit that was acknowledged before this command.
    #[arg(long)]
    pub latest: bool,
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

/// Returns the group and its partitions. It is one statement, so that all rows come from one cut. A row without a topic
/// describes the group itself.
const GROUP_STATEMENT: &str = "\
WITH own AS (
  SELECT * FROM lag WHERE group_id = $1 AND ($2 IS NULL OR cluster = $2) AND ($3 IS NULL OR topic = $3)
), owned AS (
  SELECT a.*, m.client_id, m.client_host FROM assignments a LEFT JOIN members m USING (cluster, source, group_id, member_id)
  WHERE a.group_id = $1 AND a.kind = 'current' AND ($2 IS NULL OR a.cluster = $2) AND ($3 IS NULL OR a.topic = $3)
), free AS (
  SELECT owned.* FROM owned LEFT ANTI JOIN own USING (cluster, source, topic, partition)
)
SELECT cluster, source, kind, state, members, coordinator, status, NULL AS topic, NULL AS partition,
       NULL AS committed_offset, NULL AS log_end_offset, NULL AS lag, NULL AS lag_unknown, NULL AS lag_seconds,
       NULL AS member_id, NULL AS client_host, NULL AS client_id
FROM groups WHERE group_id = $1 AND ($2 IS NULL OR cluster = $2)
UNION ALL
SELECT cluster, source, NULL, NULL, NULL, NULL, status, topic, partition, committed_offset, log_end_offset, lag,
       lag_unknown, lag_seconds, member_id, client_host, client_id FROM own
UNION ALL
SELECT f.cluster, f.source, NULL, NULL, NULL, NULL, NULL, f.topic, f.partition, NULL, p.log_end_offset, NULL, NULL, NULL,
       f.member_id, f.client_host, f.client_id FROM free f LEFT JOIN partitions p USING (cluster, topic, partition)
ORDER BY cluster, source, topic NULLS FIRST, partition NULLS FIRST";

/// A group, or a partition of it, with the column names of SQL.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct GroupRow {
    cluster: String,
    source: String,
    kind: Option<String>,
    state: Option<String>,
    members: Option<i32>,
    coordinator: Option<i32>,
    status: Option<String>,
    topic: Option<String>,
    partition: Option<i32>,
    // The server writes integers beyond 2^53 as strings in JSON.
    committed_offset: Option<Json>,
    log_end_offset: Option<Json>,
    lag: Option<Json>,
    lag_unknown: Option<String>,
    lag_seconds: Option<f64>,
    member_id: Option<String>,
    client_host: Option<String>,
    client_id: Option<String>,
}

pub(super) async fn run(args: &GroupArgs) -> Result<(), Failure> {
    let mut client = connect(&args.server).await?;
    let rows = query_group(&mut client, args).await?;
    if !rows.iter().any(|row| row.topic.is_none()) {
        let place = args.cluster.as_ref().map_or_else(String::new, |cluster| format!(" on cluster {cluster:?}"));
        let hint = "`offsetd groups --search TEXT` lists groups";
        return Err(Failure::Command(format!("no group {:?}{place}; {hint}", args.group)));
    }
    let layout = TableLayout::of_output(if args.wide { Expanded::Off } else { Expanded::Auto });
    show(output(), args.format, &to_json(args, &rows), |out| write_text(out, args, &rows, layout))
}

async fn query_group(client: &mut Client, args: &GroupArgs) -> Result<Vec<GroupRow>, Failure> {
    let text = |text: Option<&String>| SqlValue {
        value: Some(text.map_or(Value::NullValue(0), |text| Value::StringValue(text.clone()))),
    };
    let parameters = vec![text(Some(&args.group)), text(args.cluster.as_ref()), text(args.topic.as_ref())];
    let freshness = super::freshness(args.latest).into();
    let request = SqlRequest { statement: GROUP_STATEMENT.to_owned(), parameters, freshness, ..SqlRequest::default() };
    query_rows(client, request).await
}

/// Runs a statement and returns its rows.
///
/// # Errors
/// Returns the error of the call, or [`Failure::Internal`] if a row does not have the fields of `T`.
pub(super) async fn query_rows<T: DeserializeOwned>(
    client: &mut Client,
    request: SqlRequest,
) -> Result<Vec<T>, Failure> {
    let request = SqlRequest { format: SqlFormat::Json.into(), allow_partial: true, ..request };
    let mut answer = client.sql(request).await.map_err(call_failed)?.into_inner();
    let mut rows = vec![];
    while let Some(message) = answer.message().await.map_err(call_failed)? {
        let Some(Message::Batch(batch)) = message.message else { continue };
        for row in batch.json_rows {
            rows.push(serde_json::from_str(&row).map_err(|error| Failure::Internal(error.into()))?);
        }
    }
    Ok(rows)
}

fn to_json(args: &GroupArgs, rows: &[GroupRow]) -> Json {
    let (groups, partitions): (Vec<&GroupRow>, Vec<&GroupRow>) = rows.iter().partition(|row| row.topic.is_none());
    serde_json::json!({"group_id": args.group, "groups": groups, "partitions": partitions})
}

fn write_text(out: &mut impl Write, args: &GroupArgs, rows: &[GroupRow], layout: TableLayout) -> std::io::Result<()> {
    let groups: Vec<&GroupRow> = rows.iter().filter(|row| row.topic.is_none()).collect();
    for (at, group) in groups.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}", headline(args, group))?;
        let is_partition =
            |row: &&GroupRow| (&row.cluster, &row.source, row.topic.is_some()) == (&group.cluster, &group.source, true);
        let partitions: Vec<GroupRow> = rows.iter().filter(is_partition).cloned().collect();
        if !partitions.is_empty() {
            writeln!(out)?;
            Table::write_fitting(out, &PARTITIONS, &partitions, layout, &OPTIONAL)?;
        }
        writeln!(out, "({})", summary(&partitions))?;
    }
    Ok(())
}

/// Returns the two lines above the partitions: the name of the group, and its kind, state and status.
fn headline(args: &GroupArgs, group: &GroupRow) -> String {
    let members = group.members.map(|members| count(members, "member"));
    let coordinator = group.coordinator.map(|broker| format!("coordinator {broker}"));
    let source = (group.source != crate::model::SOURCE_KAFKA).then(|| format!("offsets stored in {}", group.source));
    let known = [
        group.kind.as_ref().map(|kind| format!("{kind} group")),
        group.state.clone().filter(|state| !state.is_empty()),
        members,
        coordinator,
        group.status.as_ref().map(|status| format!("status {status}")),
        source,
    ];
    let known = known.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let hint = if group.members == Some(0) { "; it has no active members" } else { "" };
    format!("{} on cluster {}\n{}{hint}", escape(&args.group), escape(&group.cluster), escape(&known))
}

/// Returns the line below the partitions, for example `3 partitions of 2 topics, lag 12`.
fn summary(partitions: &[GroupRow]) -> String {
    let topics: BTreeSet<&Option<String>> = partitions.iter().map(|row| &row.topic).collect();
    let size = |number: usize, what| count(i128::try_from(number).unwrap_or(i128::MAX), what);
    let lags: Vec<i128> = partitions.iter().filter_map(|row| number(row.lag.as_ref())?.parse().ok()).collect();
    let unknown = partitions.iter().any(|row| row.committed_offset.is_some() && row.lag.is_none());
    let lag = match (lags.is_empty(), unknown) {
        (true, true) => ", lag unknown".to_owned(),
        (true, false) => String::new(),
        // If some lags are unknown, the sum of the known ones is a lower bound.
        (false, unknown) => format!(", lag {}{}", if unknown { "≥" } else { "" }, lags.iter().sum::<i128>()),
    };
    format!("{} of {}{lag}", size(partitions.len(), "partition"), size(topics.len(), "topic"))
}

/// Returns an integer as text. In JSON, a large integer is a string.
fn number(value: Option<&Json>) -> Option<String> {
    match value? {
        Json::String(text) => Some(text.clone()),
        Json::Null => None,
        other => Some(other.to_string()),
    }
}

/// The columns that are left out if the table does not fit the terminal, in this order.
const OPTIONAL: [&str; 5] = ["member_id", "log_end_offset", "client_host", "lag_s", "client_id"];

const PARTITIONS: [ColumnOf<GroupRow>; 10] = [
    (ColumnKind::Text, "topic", |row| or_dash(row.topic.as_ref())),
    (ColumnKind::Number, "partition", |row| or_dash(row.partition)),
    (ColumnKind::Number, "committed_offset", |row| or_dash(number(row.committed_offset.as_ref()))),
    (ColumnKind::Number, "log_end_offset", |row| or_dash(number(row.log_end_offset.as_ref()))),
    (ColumnKind::Number, "lag", |row| {
        let why = row.lag_unknown.as_ref().map(|why| format!("({why})"));
        or_dash(number(row.lag.as_ref()).or(why))
    }),
    (ColumnKind::Number, "lag_s", |row| or_dash(row.lag_seconds.map(|seconds| format!("{seconds:.1}")))),
    (ColumnKind::Status, "status", |row| or_dash(row.status.as_ref())),
    (ColumnKind::Text, "client_id", |row| or_dash(row.client_id.as_ref())),
    (ColumnKind::Text, "client_host", |row| or_dash(row.client_host.as_ref())),
    (ColumnKind::Text, "member_id", |row| or_dash(row.member_id.as_ref())),
];

#[cfg(test)]
mod tests;
