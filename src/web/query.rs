//! `GET /v1/query`: the Query call as JSON.

use super::{Deserialize, Error, IntoResponse as _, Json, Query, Response, State, Web, is_latest, problem, proto};

use crate::rpc::json as to_json;

/// The request, as query parameters. Numbers are parsed from text to give clear errors.
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
                Error::Invalid(format!("missing parameter {name}; group_id, topic and partition are required"))
            })
        };
        let partition = need("partition", self.partition)?;
        let latest = is_latest(&self.freshness)?;
        Ok(proto::QueryRequest {
            cluster: self.cluster,
            group_id: need("group_id", self.group_id)?,
            topic: need("topic", self.topic)?,
            partition: partition
                .parse()
                .map_err(|_| Error::Invalid(format!("partition {partition:?} is not a number")))?,
            source: self.source,
            freshness: if latest { proto::Freshness::Latest } else { proto::Freshness::Any }.into(),
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
        Ok(answer) => Json(to_json::view(&answer)).into_response(),
        Err(error) => problem(&error),
    }
}
