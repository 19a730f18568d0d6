//! `GET /v1/query`: the Query call as JSON.

use super::{Deserialize, Error, IntoResponse as _, Json, Query, Response, State, Value, Web, json, problem, proto};

/// The request, as query parameters. Numbers come as text, so that a bad one gets a clear answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    #[serde(default)]
    cluster: String,
    group_id: Option<String>,
    topic: Option<String>,
    partition: Option<String>,
    #[serde(default)]
    source: String,
    #[serde(default)]
    freshness: String,
    #[serde(default)]
    allow_partial: bool,
}

impl Parameters {
    fn request(self) -> Result<proto::QueryRequest, Error> {
        let need = |name: &str, value: Option<String>| {
            value.ok_or_else(|| {
                Error::Invalid(format!("parameter {name} is missing; needed are group_id, topic, partition"))
            })
        };
        let partition = need("partition", self.partition)?;
        let freshness = match self.freshness.to_ascii_lowercase().as_str() {
            "" | "any" => proto::Freshness::Any,
            "latest" => proto::Freshness::Latest,
            other => return Err(Error::Invalid(format!("freshness {other:?} is neither any nor latest"))),
        };
        Ok(proto::QueryRequest {
            cluster: self.cluster,
            group_id: need("group_id", self.group_id)?,
            topic: need("topic", self.topic)?,
            partition: partition
                .parse()
                .map_err(|_| Error::Invalid(format!("partition {partition:?} is not a number")))?,
            source: self.source,
            freshness: freshness.into(),
            allow_partial: self.allow_partial,
        })
    }
}

pub(super) async fn query(
    State(web): State<Web>,
    parameters: Result<Query<Parameters>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let request = parameters.map_err(|error| Error::Invalid(error.body_text())).and_then(|query| query.0.request());
    let answer = match request {
        Ok(request) => web.service.query_offset(request).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => Json(to_json(answer)).into_response(),
        Err(error) => problem(&error),
    }
}

fn time(at: Option<prost_types::Timestamp>) -> Value {
    let at = at.and_then(|at| chrono::DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?));
    at.map_or(Value::Null, |at| json!(at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)))
}

/// Offsets are numbers below 2^53, else text: readers of JSON often have only doubles.
fn number(value: Option<i64>) -> Value {
    match value {
        None => Value::Null,
        Some(value) if value.unsigned_abs() < 1 << 53 => json!(value),
        Some(value) => json!(value.to_string()),
    }
}

fn to_json(answer: proto::QueryResponse) -> Value {
    let entry = answer.entry.unwrap_or_default();
    let unknown = (entry.lag_unknown != 0).then(|| entry.lag_unknown().as_str_name().to_ascii_lowercase());
    let unknown = unknown.and_then(|name| name.strip_prefix("lag_unknown_").map(ToOwned::to_owned));
    let snapshot = answer.snapshot.unwrap_or_default();
    json!({
        "entry": {
            "cluster": entry.cluster,
            "source": entry.source,
            "group_id": entry.group_id,
            "topic": entry.topic,
            "partition": entry.partition,
            "committed_offset": number(Some(entry.committed_offset)),
            "committed_at": time(entry.committed_at),
            "leader_epoch": entry.leader_epoch,
            "metadata": entry.metadata,
            "expires_at": time(entry.expires_at),
            "topic_id": entry.topic_id,
            "log_start_offset": number(entry.log_start_offset),
            "log_end_offset": number(entry.log_end_offset),
            "lag": number(entry.lag),
            "lag_unknown": unknown,
            "lag_seconds": entry.lag_seconds,
            "status": entry.status,
            "owner": entry.owner.map(|owner| json!({
                "member_id": owner.member_id,
                "instance_id": owner.instance_id,
                "client_id": owner.client_id,
                "client_host": owner.client_host,
            })),
            "log_partition": entry.log_partition,
            "log_offset": number(entry.log_offset),
        },
        "snapshot": {
            "id": snapshot.id,
            "taken_at": time(snapshot.taken_at),
            "clusters": snapshot.clusters.into_iter().map(|cluster| json!({
                "cluster": cluster.cluster,
                "complete": cluster.complete,
                "newest_record_at": time(cluster.newest_record_at),
                "stale_since": time(cluster.stale_since),
            })).collect::<Vec<_>>(),
        },
    })
}
