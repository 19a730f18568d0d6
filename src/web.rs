//! The HTTP interface: the dashboard, `/v1`, `/metrics` and the probes.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::Stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

mod accept;
mod assets;
mod coding;
mod import;
mod query;
mod sql;

use coding::Compressor;

use crate::{
    config,
    error::Error,
    metrics::{self, Connections},
    rpc::{self, Service, proto},
    sql::Engine,
    status,
    store::Store,
    work::{CancelHandle, StallTimeout, WorkKind, outbox},
};

/// The state shared by the handlers.
#[derive(Clone, Debug)]
pub struct Web {
    engine: Arc<Engine>,
    service: Service,
    ready_after: Duration,
    /// Headers of the pages and assets of the dashboard that tell browsers what these may do.
    security: HeaderMap,
    connections: Arc<Connections>,
    stop: CancellationToken,
}

impl Web {
    /// Returns the state of the handlers, over an engine and the RPC service.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        service: Service,
        config: &config::Server,
        connections: Arc<Connections>,
        stop: CancellationToken,
    ) -> Self {
        let security = assets::security(&config.http.frame_ancestors);
        Self { engine, service, ready_after: config.ready_after, security, connections, stop }
    }

    fn store(&self) -> &Arc<Store> {
        self.engine.store()
    }
}

/// Maximum size of a request body (MiB). Larger than a statement, because it also contains parameters.
const BODY_MIB: usize = 4;

/// Maximum bytes of metrics that are written ahead of the client's reading.
const UNREAD_BYTES: usize = 256 * 1024;

/// Returns all HTTP routes, and the fallback for unknown paths.
pub fn routes(web: Web) -> Router {
    let pages = assets::PAGES.into_iter().fold(Router::new(), |router, path| router.route(path, get(page)));
    pages
        .route("/assets/{name}", get(assets::asset))
        .route("/livez", get(async || Json(json!({"status": "ok"}))))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/offsets/import", post(import::import))
        .route("/v1/query", get(query::query))
        .route("/v1/sql", post(sql::sql))
        .fallback(fallback)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_MIB << 20))
        .with_state(web)
}

/// Returns a page of the dashboard, or for clients that do not accept HTML a list of the endpoints.
async fn page(State(web): State<Web>, uri: Uri, headers: HeaderMap) -> Response {
    match assets::document(&headers, web.security) {
        Some(document) => document,
        None if uri.path() == "/" => ([(header::VARY, "accept")], HOME).into_response(),
        None => not_found(),
    }
}

const HOME: &str = "offsetd\n\n\
     GET  /             the dashboard, for clients that accept HTML\n\
     POST /v1/sql       runs one read-only SQL statement\n\
     GET  /v1/query     one committed offset; ?group_id=&topic=&partition=\n\
     POST /v1/offsets/import\n\
    \x20                  applies lines of JSON as commits of a source of kind import\n\
     GET  /metrics      Prometheus metrics; ?dialect= selects the names of another exporter\n\
     GET  /livez        200 while the server runs\n\
     GET  /readyz       200 once the server is ready\n\
     gRPC               offsetd.v1.OffsetService, with reflection; Flight SQL\n";

async fn readyz(State(web): State<Web>) -> Response {
    let mut awaited = status::awaited(web.store(), web.ready_after);
    if web.stop.is_cancelled() {
        awaited.push("shutting down".to_owned());
    }
    if awaited.is_empty() {
        let notes = status::empty_clusters(web.store());
        let ready =
            if notes.is_empty() { json!({"status": "ready"}) } else { json!({"status": "ready", "notes": notes}) };
        return Json(ready).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not ready", "awaited": awaited}))).into_response()
}

async fn metrics(
    State(web): State<Web>,
    parameters: Result<Query<metrics::Parameters>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    // OpenMetrics is used only if the client names it and does not prefer plain text.
    let plain = accept::quality(&headers, "text/plain");
    let open = accept::quality(&headers, "application/openmetrics-text").filter(|open| open.is_exact());
    let is_open_metrics = open.is_some_and(|open| plain.is_none_or(|plain| !open.is_below(plain)));
    let parameters = parameters.map_err(|error| Error::Invalid(error.body_text()));
    let scrape_of = |Query(parameters)| metrics::Scrape::new(web.store(), parameters, is_open_metrics);
    let page = match parameters.and_then(scrape_of) {
        Ok(scrape) => scrape.with_connections(Arc::clone(&web.connections)),
        Err(error) => return problem(&error),
    };
    let content_type = page.content_type();
    let compressor = Compressor::new(&headers);
    let coding = compressor.headers();
    match scrape(&web, page, compressor).await {
        Ok(chunks) => ([(header::CONTENT_TYPE, content_type)], coding, Body::from_stream(chunks)).into_response(),
        Err(error) => problem(&error),
    }
}

/// A chunk of the response body.
type Chunk = io::Result<Vec<u8>>;

/// Starts a scrape once it has a query slot, and returns the chunks of its response. Dropping the stream cancels it.
async fn scrape(
    web: &Web,
    page: metrics::Scrape,
    compressor: Compressor,
) -> Result<impl Stream<Item = Chunk> + use<>, Error> {
    let store = Arc::clone(web.store());
    let stall_timeout = StallTimeout { after: web.service.stall_timeout(), setting: "server.stall_timeout" };
    let cancel = CancelHandle::within(web.service.call_timeout());
    let job = web.engine.admission().admit(WorkKind::Scrape, "/metrics", &cancel).await?;
    let cut = page.pin(&store, &cancel);
    let (outbox, chunks) = outbox(UNREAD_BYTES, &store.work().unread.bytes);
    let writer = job.clone();
    let task = job.spawn(async move {
        let mut compressor = compressor;
        // Writing into memory cannot fail; if it did, the response would break off.
        let send = |chunk: Chunk| {
            writer.cancel().check()?;
            let bytes = chunk.as_ref().map_or(0, Vec::len);
            writer.send_blocking(&outbox, chunk, bytes, stall_timeout)
        };
        let mut sent = Ok(());
        page.write(&store, &cut, &mut |chunk| {
            sent = send(compressor.compress(chunk.into_bytes()));
            sent.is_ok()
        });
        match sent.and_then(|()| send(compressor.finish())) {
            Ok(()) => outbox.complete(),
            Err(error) => outbox.fail(Err(io::Error::other(error))),
        }
    })?;
    Ok(futures::stream::poll_fn(move |context| {
        let _running = &task;
        chunks.poll_next(context)
    }))
}

/// Responds to an unknown path: with a gRPC status to gRPC calls, with the dashboard, which shows that the page does
/// not exist, to clients that accept HTML, and with JSON to others.
async fn fallback(State(web): State<Web>, headers: HeaderMap) -> Response {
    let page = || Some((StatusCode::NOT_FOUND, assets::document(&headers, web.security)?).into_response());
    rpc::unimplemented(&headers).or_else(page).unwrap_or_else(not_found)
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"error": "no such page; see /"}))).into_response()
}

async fn method_not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, Json(json!({"error": "method not allowed; see /"}))).into_response()
}

/// Returns whether a path reveals no Kafka data: probes, and the dashboard without its data.
#[must_use]
pub fn reveals_no_data(path: &str) -> bool {
    is_asset_or_probe(path) || is_page(path)
}

/// Returns whether a path belongs to a file of the dashboard or to a probe.
#[must_use]
pub fn is_asset_or_probe(path: &str) -> bool {
    let is_below = ["/assets/", "/grpc.health.v1.Health/"].iter().any(|folder| path.starts_with(folder));
    is_below || ["/livez", "/readyz"].contains(&path)
}

/// Returns whether a path is a page of the dashboard.
#[must_use]
pub fn is_page(path: &str) -> bool {
    assets::PAGES.contains(&path)
}

/// Parses the freshness of a request. Returns whether the latest commits are required.
fn is_latest(freshness: &str) -> Result<bool, Error> {
    match freshness.to_ascii_lowercase().as_str() {
        "" | "any" => Ok(false),
        "latest" => Ok(true),
        other => Err(Error::Invalid(format!("freshness {other:?} is unknown; use any or latest"))),
    }
}

/// Returns an error as JSON, with its HTTP status.
pub fn problem(error: &Error) -> Response {
    let (_, status) = error.codes();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(json!({"error": error.to_string()}))).into_response();
    if let Some(after) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().into());
    }
    if status == StatusCode::UNAUTHORIZED {
        // Basic authentication is accepted but not offered, because browsers would show their own login dialog.
        let challenge = header::HeaderValue::from_static("Bearer realm=\"offsetd\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
