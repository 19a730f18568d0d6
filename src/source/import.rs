//! Offsets from a file to which another program appends lines of JSON.
//!
//! The file is followed like a log: its content at the start is replayed, and each line appended later is a commit or a
//! deletion. When the file is replaced or truncated, reading restarts at its beginning, and the rows read before stay.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    Source, SourceSettings,
    polled::{ListingRequest, ListingRequester},
};
use crate::{
    clock::ticks,
    config::{self, KindSettings, section::section},
    model::Revision,
    store::{
        latest::{LatestOffsets, SourceError},
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
        pub file: PathBuf = NeededPath(""), "no default; required";
        /// Time between two checks of the file.
        pub interval: Duration = Time("1s"), "checking an unchanged file costs microseconds";
    }
}

impl KindSettings for Import {
    const KIND: &'static str = "import";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[("file", "/var/lib/offsetd/offsets.ndjson")];
}

impl SourceSettings for Import {
    type Source = ImportSource;

    fn open(&self, common: &config::Source) -> ImportSource {
        let (sender, requests) = mpsc::sync_channel(MAX_WAITING);
        ImportSource {
            settings: self.clone(),
            common: common.clone(),
            requests,
            latest: Arc::new(ListingRequester(sender)),
        }
    }

    fn examine(&self, _: &config::Source) -> Result<String, SourceError> {
        let (_, metadata) = tail::open(&self.file).map_err(|error| error.to_source_error(&self.file))?;
        Ok(format!("{} can be read, {} bytes", self.file.display(), metadata.len()))
    }
}

/// Longest delay until a cancelled stop token is noticed.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum number of callers that wait for the next read. Further callers get an error immediately.
const MAX_WAITING: usize = 1024;
/// Number of the only shard.
const SHARD: i32 = 0;

/// A source that follows a file.
#[derive(Debug)]
pub struct ImportSource {
    settings: Import,
    common: config::Source,
    requests: Receiver<ListingRequest>,
    latest: Arc<ListingRequester>,
}

impl Source for ImportSource {
    type Error = SourceError;

    fn latest(&self) -> Arc<dyn LatestOffsets> {
        Arc::<ListingRequester>::clone(&self.latest)
    }

    fn run(self: Box<Self>, writer: SourceWriter, stop: &CancellationToken) -> Result<(), SourceError> {
        let Self { settings, common, requests, .. } = *self;
        let shard = writer.shard(SHARD).unwrap_or_else(|| {
            let shard = writer.new_shard(SHARD);
            writer.publish(&shard);
            shard
        });
        let (mut tail, mut applier) = (Tail::new(settings.file.clone()), LineApplier::new(&writer, &shard, &common));
        let (mut due, mut waiting): (_, Vec<ListingRequest>) = (0, vec![]);
        while !stop.is_cancelled() {
            if writer.clock().ticks() < due && waiting.is_empty() {
                waiting.extend(requests.recv_timeout(STOP_CHECK_INTERVAL));
                continue;
            }
            // A caller that arrives during this read waits for the next one.
            waiting.extend(requests.try_iter().take(MAX_WAITING));
            let Some(result) = read_new_lines(&mut tail, &mut applier, (&writer, &shard), &settings, stop) else {
                break;
            };
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
                let error = error.to_source_error(&settings.file);
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
