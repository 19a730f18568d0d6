//! Offsets that another program appends to a file as lines of JSON, or sends to `POST /v1/offsets/import`.
//!
//! The file is followed like a log: its content at the start is replayed, and each line appended later is a commit or a
//! deletion. When the file is replaced or truncated, reading restarts at its beginning, and the rows read before stay.
//! Lines that a client sends are applied immediately and are not written to the file.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Source, SourceSettings, polled};
use crate::{
    clock::ticks,
    config::{self, KindSettings, SettingError, section::section},
    model::Revision,
    store::{
        latest::{ImportOutcome, LatestOffsets, Scope, SourceError},
        writer::{ShardWriter, SourceWriter},
    },
};

mod line;
mod replay;
mod tail;

use replay::LineApplier;
use tail::Tail;

section! {
    /// Settings of a `[sources.NAME]` of kind import: offsets that another program appends to a file.
    #[derive(Clone, Debug)]
    pub struct Import {
        /// File of JSON objects, one per line of at most 64 KiB: group_id, topic, partition, committed_offset; also
        /// committed_at (RFC 3339, or milliseconds since 1970) and metadata, if known. "deleted": true removes the
        /// offset. Lines that are appended later are commits. When the file is replaced or truncated, it is read from
        /// its start again.
        pub file: Option<PathBuf> = OptionalPath(""), "no default; either file or http is required";
        /// Whether clients may send such lines to POST /v1/offsets/import, with a token of server.auth.tokens_file.
        /// offsetd does not store these lines: after a restart, they must be sent again.
        pub http: bool = Flag("false"), "most programs append to a file";
        /// Time between two checks of the file.
        pub interval: Duration = Time("1s"), "checking an unchanged file costs microseconds";
    }
}

impl KindSettings for Import {
    const KIND: &'static str = "import";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[("file", "/var/lib/offsetd/offsets.ndjson")];

    fn check(&self, _: &config::Source) -> Result<(), SettingError> {
        let is_missing = self.file.is_none() && !self.http;
        if is_missing { Err(SettingError { setting: "file", cause: Box::new(NoInput) }) } else { Ok(()) }
    }

    fn write_setting(&self) -> Option<&'static str> {
        self.http.then_some("http")
    }
}

/// Neither `file` nor `http` is set.
#[derive(Debug, thiserror::Error)]
#[error("missing; set it to a path, or set `http` to true")]
struct NoInput;

impl SourceSettings for Import {
    type Source = ImportSource;

    fn open(&self, common: &config::Source) -> ImportSource {
        let (queue, requests) = mpsc::sync_channel(MAX_WAITING);
        let (import_queue, imports) = mpsc::sync_channel(MAX_IMPORTS);
        let latest = ImportRequester { queue, import_queue: self.http.then_some(import_queue) };
        ImportSource { settings: self.clone(), common: common.clone(), requests, imports, latest: Arc::new(latest) }
    }

    fn examine(&self, _: &config::Source) -> Result<String, SourceError> {
        let Some(file) = &self.file else { return Ok("POST /v1/offsets/import is accepted".to_owned()) };
        let (_, metadata) = tail::open(file).map_err(|error| error.to_source_error(file))?;
        Ok(format!("{} can be read, {} bytes", file.display(), metadata.len()))
    }
}

/// Longest delay until a cancelled stop token is noticed.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum number of callers that wait for the next read. Further callers get an error immediately.
const MAX_WAITING: usize = 1024;
/// Maximum number of imports that wait. Each holds a whole request body.
const MAX_IMPORTS: usize = 4;
/// Number of the only shard.
const SHARD: i32 = 0;

/// A source that follows a file and takes imports.
#[derive(Debug)]
pub struct ImportSource {
    settings: Import,
    common: config::Source,
    requests: Receiver<ReadRequest>,
    imports: Receiver<ImportRequest>,
    latest: Arc<ImportRequester>,
}

/// The reply channel of a caller that waits for a read of the file.
type ReadRequest = oneshot::Sender<Result<Revision, SourceError>>;

/// The handle of callers.
#[derive(Debug)]
struct ImportRequester {
    queue: SyncSender<ReadRequest>,
    /// `None` if clients may not write.
    import_queue: Option<SyncSender<ImportRequest>>,
}

/// Lines that a client sent.
#[derive(Debug)]
struct ImportRequest {
    lines: Vec<u8>,
    reply: oneshot::Sender<Result<ImportOutcome, SourceError>>,
}

impl LatestOffsets for ImportRequester {
    fn required_revisions<'a>(&'a self, _: &'a Scope) -> BoxFuture<'a, Result<Vec<(i32, Revision)>, SourceError>> {
        async move { Ok(vec![(SHARD, polled::send(&self.queue, |reply| reply).await?)]) }.boxed()
    }

    fn import(&self, lines: Vec<u8>) -> Option<BoxFuture<'_, Result<ImportOutcome, SourceError>>> {
        let queue = self.import_queue.as_ref()?;
        Some(polled::send(queue, |reply| ImportRequest { lines, reply }).boxed())
    }
}

impl Source for ImportSource {
    type Error = SourceError;

    fn latest(&self) -> Arc<dyn LatestOffsets> {
        Arc::<ImportRequester>::clone(&self.latest)
    }

    fn run(self: Box<Self>, writer: SourceWriter, stop: &CancellationToken) -> Result<(), SourceError> {
        let Self { settings, common, requests, imports, .. } = *self;
        let shard = writer.shard(SHARD).unwrap_or_else(|| {
            let shard = writer.new_shard(SHARD);
            writer.publish(&shard);
            shard
        });
        let mut tail = settings.file.clone().map(Tail::new);
        let mut applier = LineApplier::new(&writer, &shard, &common);
        let (mut due, mut waiting): (_, Vec<ReadRequest>) = (0, vec![]);
        while !stop.is_cancelled() {
            for ImportRequest { lines, reply } in imports.try_iter().take(MAX_IMPORTS) {
                let outcome = applier.import(&lines);
                shard.reached(applier.flush());
                // The caller may have gone away.
                let _ = reply.send(Ok(outcome));
                due = 0;
            }
            if writer.clock().ticks() < due && waiting.is_empty() {
                waiting.extend(requests.recv_timeout(STOP_CHECK_INTERVAL));
                continue;
            }
            // A caller that arrives during this read waits for the next one.
            waiting.extend(requests.try_iter().take(MAX_WAITING));
            let read = match &mut tail {
                Some(tail) => read_new_lines(tail, &mut applier, (&writer, &shard), &settings, stop),
                None => {
                    applier.loaded();
                    writer.succeeded(applier.reading(0, settings.interval));
                    Some(Ok(applier.flush()))
                }
            };
            let Some(result) = read else { break };
            for request in waiting.drain(..) {
                // The caller may have gone away.
                let _ = request.send(result.clone());
            }
            due = writer.clock().ticks().saturating_add(ticks(settings.interval).max(1));
        }
        Ok(())
    }
}

/// Reads all new lines. Returns `None` if it is stopped before the end.
fn read_new_lines(
    tail: &mut Tail,
    applier: &mut LineApplier<'_>,
    (writer, shard): (&SourceWriter, &ShardWriter),
    settings: &Import,
    stop: &CancellationToken,
) -> Option<Result<Revision, SourceError>> {
    let begun = writer.clock().ticks();
    loop {
        let read = tail.read(&mut |item| applier.process(item));
        let reached = applier.flush();
        shard.reached(reached);
        match read {
            Ok(end) => {
                if end.is_loaded {
                    applier.loaded();
                }
                if end.is_reached {
                    let took = writer.clock().ticks().saturating_sub(begun);
                    writer.succeeded(applier.reading(took, settings.interval));
                    return Some(Ok(reached));
                }
            }
            Err(error) => {
                let error = error.to_source_error(tail.path());
                writer.unreachable(error.to_string());
                return Some(Err(error));
            }
        }
        if stop.is_cancelled() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests;
