//! Writes a sample of each source at an interval, and periodically merges and deletes files.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{KEYFRAME, Operation, ParquetStore, ParquetStoreError, Row, file, folder::SampleFile, put_file};
use crate::{
    history::in_memory::MemoryReader,
    model::{Millis, Name, SourceId},
    store::{
        Store,
        cluster::Cluster,
        history_store::{Bounds, ReadError},
        pin,
        samples::{SampleNumber, SampleTime},
        source::Source,
    },
};

/// Interval of the check whether work is due.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Time between two rounds of merging and deleting.
const TIDY_INTERVAL: Millis = 900_000;
/// Time after which a failed round is retried.
const TIDY_RETRY: Millis = 60_000;
/// Maximum time for a merge to end or abort its upload when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Progress of the writing of a source.
#[derive(Clone, Debug, Default)]
struct WriteProgress {
    /// The source object that was written. A new source of the same name numbers its samples from the start.
    of: Weak<Source>,
    index: SampleNumber,
    at: Millis,
    /// The hour in which all keys were last written.
    hour: Option<Millis>,
}

/// Writes the samples of all sources.
#[derive(Debug)]
pub struct SampleWriter {
    history_store: Arc<ParquetStore>,
    store: Arc<Store>,
    written: HashMap<SourceId, WriteProgress>,
    tidier: Tidier,
}

/// Merges and deletes files.
#[derive(Debug)]
struct Tidier {
    history_store: Arc<ParquetStore>,
    store: Arc<Store>,
    /// When the last round ended, and the time until the next one.
    tidied: Option<(Millis, Millis)>,
}

impl SampleWriter {
    /// Returns a writer that has written nothing yet.
    #[must_use]
    pub fn new(history_store: Arc<ParquetStore>, store: Arc<Store>) -> Self {
        let tidier = Tidier { history_store: Arc::clone(&history_store), store: Arc::clone(&store), tidied: None };
        Self { history_store, store, written: HashMap::new(), tidier }
    }

    /// Writes until the token is cancelled. Blocks; must run on its own thread.
    ///
    /// # Errors
    /// The runtime of the store has stopped.
    pub fn run_until(self, stop: &CancellationToken) -> Result<(), ParquetStoreError> {
        let handle = self.history_store.runtime()?.handle().clone();
        let Self { history_store, store, mut written, mut tidier } = self;
        let writing = async {
            loop {
                tokio::time::sleep(CHECK_INTERVAL).await;
                history_store.write_due(&store, &mut written).await;
            }
        };
        // Runs concurrently, because merging a day takes long.
        let tidying = async {
            while stop.run_until_cancelled(tokio::time::sleep(CHECK_INTERVAL)).await.is_some() {
                tidier.run_due(stop).await;
            }
        };
        handle.block_on(async {
            let mut tidying = std::pin::pin!(tidying);
            tokio::select! {
                () = stop.cancelled() => {}
                () = writing => {}
                () = &mut tidying => return,
            }
            if tokio::time::timeout(STOP_TIMEOUT, tidying).await.is_err() {
                tracing::warn!("merge of history files did not stop in time; an incomplete upload may remain");
            }
        });
        Ok(())
    }

    /// Writes the samples and runs the merges that are due. Failed writes are retried at the next sample.
    pub async fn run_due(&mut self) {
        self.history_store.write_due(&self.store, &mut self.written).await;
        self.tidier.run_due(&CancellationToken::new()).await;
    }
}

impl ParquetStore {
    async fn write_due(&self, store: &Store, known: &mut HashMap<SourceId, WriteProgress>) {
        let step = Millis::try_from(self.settings.store_step.as_millis()).unwrap_or(Millis::MAX);
        let clusters = store.clusters();
        let sources = clusters.iter().flat_map(|cluster| cluster.sources().into_iter().map(move |of| (cluster, of)));
        let sources: Vec<(&Arc<Cluster>, Arc<Source>)> = sources.collect();
        // Drop the failures of sources that were removed.
        let all: Vec<Arc<Source>> = sources.iter().map(|(_, source)| Arc::clone(source)).collect();
        known.retain(|id, _| all.iter().any(|source| source.id == *id));
        self.drop_failures_of_removed(&all);
        for (cluster, source) in sources {
            let Some((index, moment)) = source.samples.current().times().next_back() else { continue };
            let is_same = |written: &&WriteProgress| std::ptr::eq(written.of.as_ptr(), Arc::as_ptr(&source));
            let before = known.get(&source.id).filter(is_same).cloned().unwrap_or_default();
            let is_due =
                index > before.index && (before.index == 0 || moment.at.abs_diff(before.at) >= step.unsigned_abs());
            if is_due {
                let written = match self.write((cluster, &source), index, moment, &before).await {
                    Ok(written) => {
                        self.record_success(&source.id, Operation::Write);
                        written
                    }
                    // Wait for the next sample before retrying.
                    Err(error) => {
                        self.record_failure(&source.id, Operation::Write, &error);
                        WriteProgress { of: Arc::downgrade(&source), index, hour: None, ..before }
                    }
                };
                known.insert(source.id.clone(), written);
            }
        }
    }

    async fn write(
        &self,
        (cluster, source): (&Arc<Cluster>, &Arc<Source>),
        index: SampleNumber,
        moment: SampleTime,
        before: &WriteProgress,
    ) -> Result<WriteProgress, ParquetStoreError> {
        let store = self.store()?;
        let hour = moment.at.div_euclid(KEYFRAME);
        let all = before.hour != Some(hour);
        let (of, from) = ((Arc::clone(cluster), Arc::clone(source)), if all { None } else { Some(before.index) });
        let file = SampleFile::new(&source.id, moment.at, moment.at);
        let writing = move || file::write(&of.1.id.name, &rows(&of, from, index, moment.at)?, &[moment.at]);
        let bytes = tokio::task::spawn_blocking(writing).await??;
        put_file(&*store, &file.path, bytes).await?;
        let status = &mut self.state.lock().status;
        status.files += 1;
        status.written_to = status.written_to.max(Some(moment.at));
        Ok(WriteProgress { of: Arc::downgrade(source), index, at: moment.at, hour: Some(hour) })
    }
}

impl Tidier {
    /// Runs a round if one is due.
    async fn run_due(&mut self, stop: &CancellationToken) {
        let now = self.store.clock.now();
        if self.tidied.is_none_or(|(tidied, rest)| now.abs_diff(tidied) >= rest.unsigned_abs()) {
            let mut rest = TIDY_INTERVAL;
            for cluster in &*self.store.clusters() {
                match self.history_store.tidy(&cluster.name, now, stop).await {
                    Ok(()) => self.history_store.record_success(&cluster.own.id, Operation::Tidy),
                    Err(_) if stop.is_cancelled() => return,
                    Err(error) => {
                        self.history_store.record_failure(&cluster.own.id, Operation::Tidy, &error);
                        rest = TIDY_RETRY;
                    }
                }
            }
            self.tidied = Some((now, rest));
        }
    }
}

/// Returns the rows of a sample: all keys, or those that changed since sample `from`.
fn rows(
    (cluster, source): &(Arc<Cluster>, Arc<Source>),
    from: Option<SampleNumber>,
    index: SampleNumber,
    at: Millis,
) -> Result<Vec<Row>, ReadError> {
    let cut = pin(cluster, source);
    let mut reader = MemoryReader::new(&cut, from.unwrap_or(index), Bounds::default());
    let mut rows = vec![];
    for group in reader.groups(|_| true) {
        reader.begin_group(&group, |_, _| true)?;
        loop {
            let keys = reader.next_keys()?;
            if keys.is_empty() {
                break;
            }
            for key in keys {
                let point = key.at(index);
                // The values at a sample that was dropped are unknown.
                let before = from.filter(|from| cut.samples.time(*from).is_some()).map(|from| key.at(from));
                let has_changed = before.map_or(point.is_some(), |before| before != point);
                if has_changed {
                    let (group, topic) = (Name::clone(&group), key.topic);
                    rows.push(Row { group, topic, partition: key.partition, at, point });
                }
            }
        }
    }
    Ok(rows)
}
