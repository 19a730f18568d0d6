//! `POST /v1/offsets/import`: applies offsets that a client sends as lines of JSON.

use std::sync::Arc;

use axum::extract::rejection::{BytesRejection, QueryRejection};

use super::{
    Bytes, Deserialize, Error, IntoResponse as _, Json, Query, Response, State, StatusCode, Web, json, problem,
};
use crate::store::{
    latest::{ImportOutcome, SourceError},
    source::Source,
};

/// The query parameters of the URL.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// Name of the source. It may be missing if only one source takes imports.
    #[serde(default)]
    source: String,
}

pub(super) async fn import(
    State(web): State<Web>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let parameters = parameters.map_err(|error| Error::Invalid(error.body_text()));
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Error::Invalid("the body is longer than 4 MiB; send it in parts".to_owned()),
        _ => Error::Invalid(rejection.body_text()),
    });
    let outcome = async { apply(&web, &parameters?.0.source, body?).await };
    match outcome.await {
        Ok(ImportOutcome { accepted, malformed, last_rejected }) => {
            let status = if accepted == 0 && malformed > 0 { StatusCode::BAD_REQUEST } else { StatusCode::OK };
            let counts = json!({"accepted": accepted, "malformed": malformed, "last_rejected": last_rejected});
            (status, Json(counts)).into_response()
        }
        Err(error) => problem(&error),
    }
}

async fn apply(web: &Web, name: &str, lines: Bytes) -> Result<ImportOutcome, Error> {
    let clusters = web.store().clusters();
    let sources: Vec<Arc<Source>> = clusters.iter().flat_map(|cluster| cluster.sources()).collect();
    // A future that is never awaited does nothing.
    let takes_imports = |source: &&Arc<Source>| source.latest().import(vec![]).is_some();
    let writable: Vec<&Arc<Source>> = sources.iter().filter(takes_imports).collect();
    let names = || writable.iter().map(|source| &*source.id.name).collect::<Vec<_>>().join(", ");
    let source = match &*writable {
        [] => {
            return Err(Error::NotFound(
                "no source takes imports; set `http = true` in a [sources.NAME] of kind import".to_owned(),
            ));
        }
        [only] if name.is_empty() => only,
        _ if name.is_empty() => {
            return Err(Error::Invalid(format!("several sources take imports; add ?source= with one of {}", names())));
        }
        _ => writable
            .iter()
            .find(|source| *source.id.name == *name)
            .ok_or_else(|| Error::NotFound(format!("no source {name:?} takes imports; those that do: {}", names())))?,
    };
    let latest = source.latest();
    let refused = || Error::NotFound(format!("source {name:?} takes no imports"));
    let outcome = latest.import(lines.into()).ok_or_else(refused)?.await;
    outcome.map_err(|error: SourceError| Error::Unavailable(error.to_string()))
}
