//! Writes a sample every so often, and keeps the folder in order.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{Archive, ArchiveError, KEYFRAME, Row, Work, file, folder::Stored, put};
use crate::{
    history::tracks::Reader,
    model::{Millis, Name},
    store::{
        Store,
        cluster::Cluster,
        older::{Bounds, ReadError},
        pin,
        samples::{Index, Moment},
    },
};

/// How often it looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often it tidies.
const TIDY_EVERY: Millis = 900_000;
/// How soon it tries again what failed.
const TIDY_AGAIN: Millis = 60_000;
/// How long a merge may take to end, and to abort what it has sent, when the server stops.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// How far a cluster was written.
#[derive(Clone, Debug, Default)]
struct Written {
    /// Whose samples were written: those of another of the same name are numbered anew.
    of: Weak<Cluster>,
    index: Index,
    at: Millis,
    /// The hour in which all keys were written last.
    hour: Option<Millis>,
}

/// Writes the samples of all clusters.
#[derive(Debug)]
pub struct Writer {
    archive: Arc<Archive>,
    store: Arc<Store>,
    written: HashMap<Name, Written>,
    tidier: Tidier,
}

/// Keeps the folder in order.
#[derive(Debug)]
struct Tidier {
    archive: Arc<Archive>,
    store: Arc<Store>,
    /// When it tidied last, and how long until it does again.
    tidied: Option<(Millis, Millis)>,
}

impl Writer {
    /// A writer that has written nothing.
    #[must_use]
    pub fn new(archive: Arc<Archive>, store: Arc<Store>) -> Self {
        let tidier = Tidier { archive: Arc::clone(&archive), store: Arc::clone(&store), tidied: None };
        Self { archive, store, written: HashMap::new(), tidier }
    }

    /// Writes until the token is cancelled. Blocks: give it a thread.
    ///
    /// # Errors
    /// Its own thread is gone.
    pub fn run_until(self, stop: &CancellationToken) -> Result<(), ArchiveError> {
        let handle = self.archive.runtime()?.handle().clone();
        let Self { archive, store, mut written, mut tidier } = self;
        let writing = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                archive.write_due(&store, &mut written).await;
            }
        };
        // Beside it: to merge a day takes its time.
        let tidying = async {
            while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
                tidier.look(stop).await;
            }
        };
        handle.block_on(async {
            let mut tidying = std::pin::pin!(tidying);
            tokio::select! {
                () = stop.cancelled() => {}
                () = writing => {}
                () = &mut tidying => return,
            }
            if tokio::time::timeout(STOP_WITHIN, tidying).await.is_err() {
                tracing::warn!("a merge of history does not end; what it has sent may be left in the store");
            }
        });
        Ok(())
    }

    /// Writes what is due, and tidies. What fails is tried again at the next sample.
    pub async fn look(&mut self) {
        self.archive.write_due(&self.store, &mut self.written).await;
        self.tidier.look(&CancellationToken::new()).await;
    }
}

impl Archive {
    async fn write_due(&self, store: &Store, known: &mut HashMap<Name, Written>) {
        let step = Millis::try_from(self.settings.store_step.as_millis()).unwrap_or(Millis::MAX);
        let clusters = store.clusters();
        // What failed for a cluster that is no more fails no longer.
        known.retain(|name, _| clusters.iter().any(|cluster| cluster.name == *name));
        self.forget_failures_of_others(&clusters);
        for cluster in &*clusters {
            let Some((index, moment)) = cluster.own.samples.current().moments().next_back() else { continue };
            let is_same = |written: &&Written| std::ptr::eq(written.of.as_ptr(), Arc::as_ptr(cluster));
            let before = known.get(&cluster.name).filter(is_same).cloned().unwrap_or_default();
            let is_due =
                index > before.index && (before.index == 0 || moment.at.abs_diff(before.at) >= step.unsigned_abs());
            if is_due {
                let written = match self.write(cluster, index, moment, &before).await {
                    Ok(written) => {
                        self.succeeded(&cluster.name, Work::Write);
                        written
                    }
                    // Not at once again: the next sample is soon enough.
                    Err(error) => {
                        self.failed(&cluster.name, Work::Write, &error);
                        Written { of: Arc::downgrade(cluster), index, hour: None, ..before }
                    }
                };
                known.insert(Name::clone(&cluster.name), written);
            }
        }
    }

    async fn write(
        &self,
        cluster: &Arc<Cluster>,
        index: Index,
        moment: Moment,
        before: &Written,
    ) -> Result<Written, ArchiveError> {
        let store = self.store()?;
        let hour = moment.at.div_euclid(KEYFRAME);
        let all = before.hour != Some(hour);
        let (source, from) = (Arc::clone(cluster), if all { None } else { Some(before.index) });
        let file = Stored::new(&cluster.name, moment.at, moment.at);
        let writing = move || file::write(&rows(&source, from, index, moment.at)?, &[moment.at]);
        let bytes = tokio::task::spawn_blocking(writing).await??;
        put(&*store, &file.path, bytes).await?;
        let status = &mut self.state.lock().status;
        status.files += 1;
        status.written_to = status.written_to.max(Some(moment.at));
        Ok(Written { of: Arc::downgrade(cluster), index, at: moment.at, hour: Some(hour) })
    }
}

impl Tidier {
    /// Tidies if it is time.
    async fn look(&mut self, stop: &CancellationToken) {
        let now = self.store.clock.now();
        if self.tidied.is_none_or(|(tidied, rest)| now.abs_diff(tidied) >= rest.unsigned_abs()) {
            let mut rest = TIDY_EVERY;
            for cluster in &*self.store.clusters() {
                match self.archive.tidy(&cluster.name, now, stop).await {
                    Ok(()) => self.archive.succeeded(&cluster.name, Work::Tidy),
                    Err(_) if stop.is_cancelled() => return,
                    Err(error) => {
                        self.archive.failed(&cluster.name, Work::Tidy, &error);
                        rest = TIDY_AGAIN;
                    }
                }
            }
            self.tidied = Some((now, rest));
        }
    }
}

/// Returns what keys were at a sample: all that were there, or those that were something else at sample `from`.
fn rows(cluster: &Arc<Cluster>, from: Option<Index>, index: Index, at: Millis) -> Result<Vec<Row>, ReadError> {
    let cut = pin(cluster, &cluster.own);
    let mut reader = Reader::new(&cut, from.unwrap_or(index), Bounds::default());
    let mut rows = vec![];
    for group in reader.groups(|_| true) {
        reader.begin(&group, |_, _| true)?;
        loop {
            let keys = reader.next_keys()?;
            if keys.is_empty() {
                break;
            }
            for key in keys {
                let point = key.at(index);
                // A sample that is not kept any more says nothing.
                let before = from.filter(|from| cut.samples.moment(*from).is_some()).map(|from| key.at(from));
                let is_news = before.map_or(point.is_some(), |before| before != point);
                if is_news {
                    let (group, topic) = (Name::clone(&group), key.topic);
                    rows.push(Row { group, topic, partition: key.partition, at, point });
                }
            }
        }
    }
    Ok(rows)
}
