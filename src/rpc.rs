//! The gRPC interface: proto in, proto out, and nothing that SQL or the store do not do already.

use std::{ops::Deref, sync::Arc, time::Duration};

use prost::Message;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, metadata::MetadataMap};

mod active;
mod consumers;
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
    store::{Store, cut::Cut, held::Pin},
    work::{Admission, Cancel, Client, Kind, Limits},
};
use proto::offset_service_server::OffsetService;

/// The `OffsetService`.
#[derive(Clone, Debug)]
pub struct Service {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Arc<Engine>,
    server: config::Server,
    /// Of samples in memory.
    history_step: Duration,
    consumers: consumers::Kept,
    watches: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Service {
    /// A service over an engine, with so much time between samples. Streams end when `stop` is cancelled.
    #[must_use]
    pub fn new(engine: Arc<Engine>, server: config::Server, history_step: Duration, stop: CancellationToken) -> Self {
        let watches = Arc::new(Semaphore::new(server.max_watches));
        for (kind, running) in [
            (Kind::Page, server.concurrent_pages),
            (Kind::History, server.concurrent_histories),
            (Kind::Scrape, server.concurrent_scrapes),
        ] {
            engine.admission().limit(kind, Limits { running, waiting: server.call_queue });
        }
        Self {
            shared: Arc::new(Shared {
                engine,
                server,
                history_step,
                consumers: consumers::Kept::default(),
                watches,
                stop,
            }),
        }
    }

    /// The Query call, for other front ends.
    ///
    /// # Errors
    /// As the call's.
    pub async fn query_offset(&self, request: proto::QueryRequest) -> Result<proto::QueryResponse, Error> {
        offsets::query(self.store(), request, None).await
    }

    /// How long a call or scrape may take.
    #[must_use]
    pub fn call_timeout(&self) -> Duration {
        self.shared.server.call_timeout
    }

    /// How long its client may read nothing.
    #[must_use]
    pub fn stall_timeout(&self) -> Duration {
        self.shared.server.stall_timeout
    }

    fn store(&self) -> &Arc<Store> {
        self.shared.engine.store()
    }

    /// A page, counted until its client has read it.
    fn reply<T: Message>(&self, page: Result<T, Error>) -> Reply<T> {
        let page = page?;
        let counted = self.store().work().unread.count(Client::current(), page.encoded_len());
        let mut response = Response::new(page);
        response.extensions_mut().insert(counted);
        Ok(response)
    }
}

/// A walk over many rows that has its turn: what it reads, and what ends it.
struct Walk {
    cut: Pin<Cut>,
    shared: Arc<Shared>,
}

impl Walk {
    fn cancel(&self) -> &Cancel {
        self.cut.cancel()
    }
}

impl Deref for Walk {
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

    /// Walks over rows of a cluster, or of all of them, once the call has its turn. It ends with the caller's deadline or
    /// the server's, and when the caller leaves. `what` names it for operators.
    async fn walk<T: Send + 'static>(
        self: &Arc<Self>,
        (kind, what): (Kind, &'static str),
        deadline: Option<Duration>,
        (cluster, allow_partial): (&str, bool),
        walk: impl FnOnce(&Walk) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        call::note_cluster(cluster);
        let own = self.server.call_timeout;
        // A little less than the caller waits, so that it hears the reason.
        let cancel = Cancel::within(deadline.map_or(own, |deadline| own.min(deadline - deadline / 20)));
        let job = self.admission().admit(kind, what, &cancel).await?;
        let (unread, limit) = (&self.store().work().unread, self.server.max_unread_bytes);
        while unread.of(job.client()) >= limit {
            job.aside(unread.room(job.client(), limit)).await?;
        }
        // Here, since the threads that walk give way to others, which must not wait for their locks.
        let cut = self.store().pin_cut(cluster, allow_partial, &cancel)?;
        cut.require_loaded()?;
        let reads = Walk { cut, shared: Arc::clone(self) };
        job.run(move |_| walk(&reads)).await?
    }
}

/// The value of an enumeration, which proto3 lets be any number: what is not known here must not be taken for the default.
fn known<T: TryFrom<i32>>(field: &str, value: i32) -> Result<T, Error> {
    T::try_from(value).map_err(|_| Error::Invalid(format!("{field}: {value} has no meaning")))
}

/// With a hint when to try again.
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

/// The caller's deadline: the `grpc-timeout` header (gRPC over HTTP/2, "Timeout").
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
        call::note_cluster(&request.cluster);
        Ok(Response::new(offsets::query(self.store(), request, deadline).await?))
    }

    async fn get_offset(&self, request: Request<proto::GetOffsetRequest>) -> Reply<proto::GetOffsetResponse> {
        let deadline = deadline(request.metadata());
        let answer = offsets::get_offset(&self.shared, request.into_inner(), deadline).await;
        self.reply(answer.inspect(|answer| call::note_rows(answer.entries.len())))
    }

    async fn sql(&self, request: Request<proto::SqlRequest>) -> Reply<Self::SqlStream> {
        let deadline = deadline(request.metadata());
        let (engine, stop) = (Arc::clone(&self.shared.engine), self.shared.stop.clone());
        Ok(Response::new(sql::run(engine, request.into_inner(), deadline, stop).await?))
    }

    async fn get_consumer(&self, request: Request<proto::GetConsumerRequest>) -> Reply<proto::GetConsumerResponse> {
        let (deadline, request) = (deadline(request.metadata()), request.into_inner());
        let from = (&*request.cluster.clone(), request.allow_partial);
        let page = move |walk: &Walk| consumers::page(walk, &request);
        let answer = self.shared.walk((Kind::Page, "GetConsumer"), deadline, from, page).await;
        self.reply(answer.inspect(|answer| call::note_rows(answer.consumers.len())))
    }

    async fn get_active_consumer(
        &self,
        request: Request<proto::GetActiveConsumerRequest>,
    ) -> Reply<proto::GetActiveConsumerResponse> {
        let (deadline, request) = (deadline(request.metadata()), request.into_inner());
        let from = (&*request.cluster.clone(), request.allow_partial);
        let page = move |walk: &Walk| active::page(walk, &request);
        let answer = self.shared.walk((Kind::Page, "GetActiveConsumer"), deadline, from, page).await;
        self.reply(answer.inspect(|answer| call::note_rows(answer.consumers.len())))
    }

    async fn watch(&self, request: Request<proto::WatchRequest>) -> Reply<Self::WatchStream> {
        let watches = Arc::clone(&self.shared.watches);
        let permit = watches.try_acquire_owned().map_err(|_| {
            let limit = self.shared.server.max_watches;
            Error::Busy(format!("{limit} watches are open (setting `server.max_watches`)"))
        })?;
        Ok(Response::new(watch::watch(&self.shared, request.into_inner(), permit)?))
    }

    async fn get_history(&self, request: Request<proto::GetHistoryRequest>) -> Reply<proto::GetHistoryResponse> {
        let deadline = deadline(request.metadata());
        self.reply(history::get_history(&self.shared, request.into_inner(), deadline).await)
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
            held_bytes: store.held().bytes() as u64,
            resident_bytes: status::resident_bytes(),
            history_store: store.clusters().iter().find_map(|cluster| cluster.older()).map(entry::history_store),
        }))
    }
}
