//! HTTP: the dashboard, `/v1`, `/metrics` and the probes.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    runtime::Handle,
    sync::{
        Semaphore,
        mpsc::{self, error::TrySendError},
    },
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

mod accept;
mod assets;
mod coding;
mod query;
mod sql;

use coding::Packer;

use crate::{
    error::Error,
    metrics::{self, Connections},
    rpc::{self, Service, proto},
    sql::Engine,
    status,
    store::Store,
};

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Web {
    engine: Arc<Engine>,
    service: Service,
    ready_after: Duration,
    connections: Arc<Connections>,
    scrapes: Arc<Semaphore>,
    running: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Web {
    /// Handlers over an engine and the RPC service.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        service: Service,
        ready_after: Duration,
        connections: Arc<Connections>,
        stop: CancellationToken,
    ) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let (scrapes, running) = (semaphore(SCRAPES), semaphore(SCRAPES_RUNNING));
        Self { engine, service, ready_after, connections, scrapes, running, stop }
    }

    fn store(&self) -> &Arc<Store> {
        self.engine.store()
    }
}

/// Bytes of a request, as of a gRPC message: parameters may be longer than a statement.
const BODY_BYTES: usize = 4 * 1024 * 1024;

/// Pieces of metrics that are written before the reader takes them: 1 MiB.
const PIECES_AHEAD: usize = 16;
/// Scrapes that are written at a time; the others wait. A scrape that waits for its reader is none of them.
const SCRAPES_RUNNING: usize = 4;
/// Scrapes at a time, with those that wait for their reader.
const SCRAPES: usize = 64;

/// All HTTP routes, and the answer to what is none.
pub fn routes(web: Web) -> Router {
    let pages = assets::PAGES.into_iter().fold(Router::new(), |router, path| router.route(path, get(page)));
    pages
        .route("/assets/{name}", get(assets::asset))
        .route("/livez", get(async || Json(json!({"status": "ok"}))))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/query", get(query::query))
        .route("/v1/sql", post(sql::sql))
        .fallback(fallback)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(web)
}

/// A page of the dashboard; for who reads no HTML, what else there is.
async fn page(uri: Uri, headers: HeaderMap) -> Response {
    match assets::document(&headers) {
        Some(document) => document,
        None if uri.path() == "/" => ([(header::VARY, "accept")], HOME).into_response(),
        None => not_found(),
    }
}

const HOME: &str = "offsetd\n\n\
     GET  /             in a browser: the dashboard\n\
     POST /v1/sql       one read-only SQL statement\n\
     GET  /v1/query     ?group_id=&topic=&partition=  one committed offset\n\
     GET  /metrics      Prometheus; ?dialect=  the names of another exporter\n\
     GET  /livez        alive\n\
     GET  /readyz       loaded\n\
     gRPC               offsetd.v1.OffsetService, with reflection; Flight SQL\n";

async fn readyz(State(web): State<Web>) -> Response {
    let mut awaited = status::awaited(web.store(), web.ready_after);
    if web.stop.is_cancelled() {
        awaited.push("shutting down".to_owned());
    }
    if awaited.is_empty() {
        let notes = status::fresh(web.store());
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
    // For clients that name it, and do not want plain text more.
    let plain = accept::quality(&headers, "text/plain");
    let open = accept::quality(&headers, "application/openmetrics-text").filter(|open| open.is_exact());
    let is_open_metrics = open.is_some_and(|open| plain.is_none_or(|plain| !open.is_below(plain)));
    let parameters = parameters.map_err(|error| Error::Invalid(error.body_text()));
    let scrape_of = |Query(parameters)| metrics::Scrape::new(web.store(), parameters, is_open_metrics);
    let scrape = match parameters.and_then(scrape_of) {
        Ok(scrape) => scrape.with_connections(Arc::clone(&web.connections)),
        Err(error) => return problem(&error),
    };
    let content_type = scrape.content_type();
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let Ok(open) = Arc::clone(&web.scrapes).try_acquire_owned() else {
        return problem(&Error::Busy(format!("{SCRAPES} scrapes are under way")));
    };
    let running = Arc::clone(&web.running);
    let Ok(place) = Arc::clone(&running).acquire_owned().await else {
        return problem(&Error::internal("no scrapes any more"));
    };
    // Writing takes CPU for many partitions: not on the threads that serve RPCs.
    let (store, runtime) = (Arc::clone(web.store()), Handle::current());
    let mut packer = Packer::new(&headers);
    let coding = packer.headers();
    tokio::task::spawn_blocking(move || {
        let mut place = Some(place);
        // Packing into memory does not fail; if it did, the response would break off.
        let mut send = |piece: io::Result<Vec<u8>>| {
            let piece = match sender.try_send(piece) {
                Ok(()) => return true,
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(piece)) => piece,
            };
            // Other scrapes run while this one waits for its reader. The connection ends it if the reader is too slow.
            place = None;
            let is_sent = runtime.block_on(sender.send(piece)).is_ok();
            place = runtime.block_on(Arc::clone(&running).acquire_owned()).ok();
            is_sent
        };
        scrape.write(&store, &mut |piece| send(packer.pack(piece.into_bytes())));
        send(packer.finish());
        drop((open, place));
    });
    ([(header::CONTENT_TYPE, content_type)], coding, Body::from_stream(ReceiverStream::new(pieces))).into_response()
}

/// gRPC callers of a service that is not there get their own kind of answer; who reads HTML, the dashboard, which says
/// that there is no such page.
async fn fallback(headers: HeaderMap) -> Response {
    let page = || Some((StatusCode::NOT_FOUND, assets::document(&headers)?).into_response());
    rpc::unimplemented(&headers).or_else(page).unwrap_or_else(not_found)
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"error": "no such page; see /"}))).into_response()
}

async fn method_not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, Json(json!({"error": "the page has no such method; see /"}))).into_response()
}

/// Whether what is served there tells nothing of what is in Kafka: probes, and the dashboard without what it shows.
#[must_use]
pub fn holds_no_data(path: &str) -> bool {
    is_asset_or_probe(path) || is_page(path)
}

/// Whether a path is that of a file of the dashboard or of a probe.
#[must_use]
pub fn is_asset_or_probe(path: &str) -> bool {
    let is_below = ["/assets/", "/grpc.health.v1.Health/"].iter().any(|folder| path.starts_with(folder));
    is_below || ["/livez", "/readyz"].contains(&path)
}

/// Whether a path is that of a page of the dashboard.
#[must_use]
pub fn is_page(path: &str) -> bool {
    assets::PAGES.contains(&path)
}

/// An error as JSON, with its status.
pub fn problem(error: &Error) -> Response {
    let (_, status) = error.codes();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(json!({"error": error.to_string()}))).into_response();
    if let Some(after) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().into());
    }
    if status == StatusCode::UNAUTHORIZED {
        // Basic, which is accepted too, is not offered: browsers would ask for a user and a password by themselves.
        let challenge = header::HeaderValue::from_static("Bearer realm=\"offsetd\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
