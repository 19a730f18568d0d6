//! The gRPC interface: converts protobuf requests to calls of the SQL engine and the store, and their results back.

use std::{ops::Deref, sync::Arc, time::Duration};

use prost::Message;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, metadata::MetadataMap};

mod active;
mod consumers;
mod counts;
mod entry;
mod filter;
mod flight;
mod history;
pub mod json;
mod offsets;
mod paging;
pub mod proto;
mod server;
mod sql;
mod watch;

pub use server::{Health, RoutesError, problem, routes, trailers, unimplemented};

use crate::{
    call, config,
    error::Error,
    sql::{Engine, SqlError},
    status,
    store::{Store, cut::Cut, pins::Pin},
    work::{Admission, CancelHandle, ClientOrigin, KindLimits, WorkKind},
};
use proto::offset_service_server::OffsetService;

/// The implementation of the gRPC service `OffsetService`.
#[derive(Clone, Debug)]
pub struct Service {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Arc<Engine>,
    server: config::Server,
    /// Time between two samples in memory.
    history_step: Duration,
    consumers: consumers::RetainedOrders,
    watches: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Service {
    /// Returns a service over an engine. `history_step` is the time between two samples. Streams end when `stop` is
    /// cancelled.
    #[must_use]
    pub fn new(engine: Arc<Engine>, server: config::Server, history_step: Duration, stop: CancellationToken) -> Self {
        let watches = Arc::new(Semaphore::new(server.max_watches));
        for (kind, running) in [
            (WorkKind::Page, server.concurrent_pages),
            (WorkKind::History, server.concurrent_histories),
            (WorkKind::Scrape, server.concurrent_scrapes),
        ] {
            engine.admission().limit(kind, KindLimits { running, waiting: server.call_queue });
        }
        Self {
            shared: Arc::new(Shared {
                engine,
                server,
                history_step,
                consumers: consumers::RetainedOrders::default(),
                watches,
                stop,
            }),
        }
    }

    /// Runs the Query call for another interface.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn query_offset(&self, request: proto::QueryRequest) -> Result<proto::QueryResponse, Error> {
        offsets::query(self.store(), request, None).await
    }

    /// Returns the maximum duration of a call or scrape.
    #[must_use]
    pub fn call_timeout(&self) -> Duration {
        self.shared.server.call_timeout
    }

    /// Returns the time after which a client that reads nothing is disconnected.
    #[must_use]
    pub fn stall_timeout(&self) -> Duration {
        self.shared.server.stall_timeout
    }

    fn store(&self) -> &Arc<Store> {
        self.shared.engine.store()
    }

    /// Returns a page as a response. Its bytes count as unread until the client has read it.
    fn page_response<T: Message>(&self, page: Result<T, Error>) -> Reply<T> {
        let page = page?;
        let counted = self.store().work().unread.count(ClientOrigin::current(), page.encoded_len());
        let mut response = Response::new(page);
        response.extensions_mut().insert(counted);
        Ok(response)
    }
}

/// A row scan that has a query slot: the pinned cut that it reads, with its cancel handle.
struct Scan {
    cut: Pin<Cut>,
    shared: Arc<Shared>,
}

impl Scan {
    fn cancel(&self) -> &CancelHandle {
        self.cut.cancel()
    }
}

impl Deref for Scan {
    type Target = Cut;

    fn deref(&self) -> &Cut {
        &self.cut
    }
}

impl Shared {
    fn store(&self) -> &Arc<Store> {
        self.engine.store()
    }

    fn admission(&self) -> &Admission {
        self.engine.admission()
    }

    /// Runs a row scan over a cluster, or over all clusters, once the call has a query slot. The scan ends at the
    /// deadline of the caller or of the server, or when the client disconnects. `what` names the scan for operators.
    async fn scan<T: Send + 'static>(
        self: &Arc<Self>,
        (kind, what): (WorkKind, &'static str),
        deadline: Option<Duration>,
        (cluster, allow_partial): (&str, bool),
        read: impl FnOnce(&Scan) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        call::record_cluster(cluster);
        let own = self.server.call_timeout;
        // End 5 % before the caller's deadline, so that the caller still receives the reason.
        let cancel = CancelHandle::within(deadline.map_or(own, |deadline| own.min(deadline - deadline / 20)));
        let job = self.admission().admit(kind, what, &cancel).await?;
        let (unread, limit) = (&self.store().work().unread, self.server.max_unread_bytes);
        while unread.bytes_of(job.client()) >= limit {
            job.pause_while(unread.wait_for_room(job.client(), limit)).await?;
        }
        // Pin the cut before the scan. Scan threads have low priority, and other threads must not wait for locks that
        // they hold.
        let cut = self.store().pin_cut(cluster, allow_partial, &cancel)?;
        cut.require_loaded()?;
        let scan = Scan { cut, shared: Arc::clone(self) };
        job.run(move |_| read(&scan)).await?
    }
}

/// Returns the enum value of a number. proto3 accepts any number; one that is unknown here must not become the default.
fn enum_value<T: TryFrom<i32>>(field: &str, value: i32) -> Result<T, Error> {
    T::try_from(value).map_err(|_| Error::Invalid(format!("{field}: unknown enum value {value}")))
}

/// Adds the metadata `retry-after-ms` if a retry may succeed.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (code, _) = error.codes();
        let mut status = Self::new(tonic::Code::from_i32(code as i32), error.to_string());
        if let Some(after) = error.retry_after()
            && let Ok(value) = after.as_millis().to_string().parse()
        {
            status.metadata_mut().insert("retry-after-ms", value);
        }
        status
    }
}

impl From<SqlError> for Status {
    fn from(error: SqlError) -> Self {
        Error::from(error).into()
    }
}

/// Returns the caller's deadline from the header `grpc-timeout` (gRPC over HTTP/2, "Timeout").
fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let unit = text.chars().last()?;
    let amount: u64 = text.strip_suffix(unit)?.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(amount.saturating_mul(3600)),
        'M' => Duration::from_secs(amount.saturating_mul(60)),
        'S' => Duration::from_secs(amount),
        'm' => Duration::from_millis(amount),
        'u' => Duration::from_micros(amount),
        'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl OffsetService for Service {
    type SqlStream = sql::Stream;
    type WatchStream = watch::Stream;

    async fn query(&self, request: Request<proto::QueryRequest>) -> Reply<proto::QueryResponse> {
        let (deadline, request) = (deadline(request.metadata()), request.into_inner());
        call::record_cluster(&request.cluster);
        Ok(Response::new(offsets::query(self.store(), request, deadline).await?))
    }

    async fn get_offset(&self, request: Request<proto::GetOffsetRequest>) -> Reply<proto::GetOffsetResponse> {
        let deadline = deadline(request.metadata());
        let answer = offsets::get_offset(&self.shared, request.into_inner(), deadline).await;
        self.page_response(answer.inspect(|answer| call::record_rows(answer.entries.len())))
    }

    async fn sql(&self, request: Request<proto::SqlRequest>) -> Reply<Self::SqlStream> {
        let deadline = deadline(request.metadata());
        let (engine, stop) = (Arc::clone(&self.shared.engine), self.shared.stop.clone());
        Ok(Response::new(sql::run(engine, request.into_inner(), deadline, stop).await?))
    }

    async fn get_consumer(&self, request: Request<proto::GetConsumerRequest>) -> Reply<proto::GetConsumerResponse> {
        let (deadline, request) = (deadline(request.metadata()), request.into_inner());
        let from = (&*request.cluster.clone(), request.allow_partial);
        let page = move |scan: &Scan| consumers::page(scan, &request);
        let answer = self.shared.scan((WorkKind::Page, "GetConsumer"), deadline, from, page).await;
        self.page_response(answer.inspect(|answer| call::record_rows(answer.consumers.len())))
    }

    async fn get_active_consumer(
        &self,
        request: Request<proto::GetActiveConsumerRequest>,
    ) -> Reply<proto::GetActiveConsumerResponse> {
        let (deadline, request) = (deadline(request.metadata()), request.into_inner());
        let from = (&*request.cluster.clone(), request.allow_partial);
        let page = move |scan: &Scan| active::page(scan, &request);
        let answer = self.shared.scan((WorkKind::Page, "GetActiveConsumer"), deadline, from, page).await;
        self.page_response(answer.inspect(|answer| call::record_rows(answer.consumers.len())))
    }

    async fn watch(&self, request: Request<proto::WatchRequest>) -> Reply<Self::WatchStream> {
        let watches = Arc::clone(&self.shared.watches);
        let permit = watches.try_acquire_owned().map_err(|_| {
            let limit = self.shared.server.max_watches;
            Error::Busy(format!("{limit} watches are open already (setting `server.max_watches`)"))
        })?;
        Ok(Response::new(watch::watch(&self.shared, request.into_inner(), permit)?))
    }

    async fn get_history(&self, request: Request<proto::GetHistoryRequest>) -> Reply<proto::GetHistoryResponse> {
        let deadline = deadline(request.metadata());
        self.page_response(history::get_history(&self.shared, request.into_inner(), deadline).await)
    }

    async fn get_status(&self, _: Request<proto::GetStatusRequest>) -> Reply<proto::GetStatusResponse> {
        let store = self.store();
        let awaited = status::awaited(store, self.shared.server.ready_after);
        Ok(Response::new(proto::GetStatusResponse {
            ready: awaited.is_empty(),
            awaited,
            version: status::VERSION.to_owned(),
            git_revision: status::GIT_REVISION.to_owned(),
            started_at: entry::timestamp(store.started_at()),
            clusters: store.clusters().iter().map(|cluster| entry::cluster_status(store, cluster)).collect(),
            held_bytes: store.pins().bytes() as u64,
            resident_bytes: status::resident_bytes(),
            history_store: store
                .clusters()
                .iter()
                .find_map(|cluster| cluster.history_store())
                .map(entry::history_store),
        }))
    }
}
