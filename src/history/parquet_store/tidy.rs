//! Deletes files that have expired or were merged, and merges files.
//!
//! A file is deleted only after it and the file that replaces it were read to the end in the same round. Each step runs
//! even if another one failed: on a full disk, merging fails but deleting helps.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};
use tokio_util::sync::CancellationToken;

use super::{
    DAY, ParquetStore, ParquetStoreError, durable,
    folder::{self, SampleFile},
    inspect::Inspected,
    read::MergedKeys,
};
use crate::{
    model::{Millis, Name, SourceId},
    store::history_store::{ArchivedKey, Bounds},
    work::CancelHandle,
};

fn key(of: &ArchivedKey) -> (&str, &str, i32) {
    (&of.group, &of.topic, of.partition)
}

fn has_rows(whole: &ArchivedKey, part: &ArchivedKey) -> bool {
    part.rows.iter().all(|row| {
        let found = whole.rows.binary_search_by_key(&row.0, |row| row.0);
        found.is_ok_and(|at| whole.rows.get(at) == Some(row))
    })
}

/// One round over the folder of a cluster.
#[derive(Clone)]
pub(super) struct TidyRound {
    pub(super) history_store: Arc<ParquetStore>,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) cluster: Name,
    pub(super) now: Millis,
    pub(super) stop: CancellationToken,
}

impl ParquetStore {
    /// Deletes abandoned temporary files, expired files and files merged in an earlier round. Merges the files of hours
    /// and days that are over.
    ///
    /// # Errors
    /// All failures of the round.
    pub(super) async fn tidy(
        self: &Arc<Self>,
        cluster: &Name,
        now: Millis,
        stop: &CancellationToken,
    ) -> Result<(), ParquetStoreError> {
        let (history_store, store, cluster) = (Arc::clone(self), self.store()?, Name::clone(cluster));
        let round = TidyRound { history_store, store, cluster, now, stop: stop.clone() };
        let mut errors: Vec<ParquetStoreError> = round.clean().await.err().into_iter().collect();
        match self.inspect(&round.store, &round.cluster).await {
            Ok(files) => {
                errors.extend(self.failing(&round.cluster).map(ParquetStoreError::Unread));
                round.run(files, &mut errors).await;
            }
            Err(error) => errors.push(error.into()),
        }
        if errors.is_empty() { Ok(()) } else { Err(ParquetStoreError::Several(errors)) }
    }
}

impl TidyRound {
    async fn run(&self, mut files: Vec<Inspected>, errors: &mut Vec<ParquetStoreError>) {
        let expired = self.expired(&files);
        for file in files.extract_if(.., |inspected| expired.contains(&inspected.file.path)).collect::<Vec<_>>() {
            errors.extend(self.delete_expired(file.file).await.err());
        }
        let deleted = self.delete_merged(&files, errors).await;
        files.retain(|inspected| !deleted.contains(&inspected.file.path));
        self.merge_all(&files, errors).await;
    }

    /// Returns the source of a file.
    pub(super) fn source(&self, file: &SampleFile) -> SourceId {
        SourceId { cluster: Name::clone(&self.cluster), name: Name::clone(&file.source) }
    }

    /// Reads all keys of files of one source, until the round is stopped. Blocks; must not be called from async code.
    pub(super) fn read_keys(&self, source: SourceId, files: Vec<SampleFile>) -> Result<MergedKeys, ParquetStoreError> {
        let bounds = Bounds { cancel: CancelHandle::with_token(self.stop.clone()), budget: None };
        self.history_store.read_files(&self.store, source, files, bounds)
    }

    /// Reads files of one source to the end, and returns whether `whole` has all rows of `parts`. Blocks; must not be
    /// called from async code.
    fn has_all(&self, whole: SampleFile, parts: Vec<SampleFile>) -> Result<bool, ParquetStoreError> {
        let source = self.source(&whole);
        let (mut whole, mut parts) = (self.read_keys(source.clone(), vec![whole])?, self.read_keys(source, parts)?);
        let mut known = whole.next().transpose()?;
        let mut has_all = true;
        for part in parts.by_ref() {
            let part = part?;
            while known.as_ref().is_some_and(|known| key(known) < key(&part)) {
                known = whole.next().transpose()?;
            }
            has_all &= known.as_ref().is_some_and(|known| key(known) == key(&part) && has_rows(known, &part));
        }
        whole.read_all()?;
        parts.check_complete().map(|()| has_all)
    }

    /// Deletes temporary files of writers that were killed. On S3, incomplete uploads are not listed; a lifecycle rule
    /// of the bucket must abort them.
    async fn clean(&self) -> Result<(), ParquetStoreError> {
        let Some(root) = self.history_store.local_folder() else { return Ok(()) };
        let folder = root.join(folder::cluster_folder(&self.cluster).as_ref());
        let cleaned = tokio::task::spawn_blocking(move || durable::clean(&folder)).await?;
        let deleted = cleaned.map_err(ParquetStoreError::Temporary)?;
        if deleted > 0 {
            tracing::info!(cluster = %self.cluster, deleted, "deleted temporary history files of killed servers");
        }
        Ok(())
    }

    /// Returns the expired files.
    ///
    /// The clock, and with it the times of samples, may be wrong by years. Therefore a day is kept, whatever the clock
    /// reports, until there are samples of more later days than `keep_for` covers.
    fn expired(&self, files: &[Inspected]) -> HashSet<Path> {
        let keep = Millis::try_from(self.history_store.settings.keep_for.as_millis()).unwrap_or(Millis::MAX).max(DAY);
        let oldest = self.now.saturating_sub(keep).div_euclid(DAY);
        let last_day = |inspected: &Inspected| inspected.file.to.div_euclid(DAY);
        let days: BTreeSet<Millis> = files.iter().map(last_day).collect();
        let least = usize::try_from(keep / DAY).unwrap_or(usize::MAX);
        let is_over = |day: Millis| day < oldest && days.range(day + 1..).count() > least;
        let expired = files.iter().filter(|inspected| is_over(last_day(inspected)));
        expired.map(|inspected| inspected.file.path.clone()).collect()
    }

    async fn delete_expired(&self, file: SampleFile) -> Result<(), ParquetStoreError> {
        let (round, read) = (self.clone(), file.clone());
        let reading = move || round.read_keys(round.source(&read), vec![read])?.read_all();
        tokio::task::spawn_blocking(reading).await??;
        self.delete(&file).await
    }

    /// Deletes each file if another file has all its rows. Returns the paths of the deleted files.
    async fn delete_merged(&self, files: &[Inspected], errors: &mut Vec<ParquetStoreError>) -> HashSet<Path> {
        let mut deleted = HashSet::new();
        for whole in files {
            let is_part = |part: &&Inspected| {
                part.file.is_within(&whole.file)
                    && !deleted.contains(&part.file.path)
                    && part.times.iter().all(|at| whole.times.binary_search(at).is_ok())
            };
            let parts: Vec<SampleFile> = files.iter().filter(is_part).map(|part| part.file.clone()).collect();
            if parts.is_empty() || deleted.contains(&whole.file.path) || self.history_store.is_incomplete(&whole.file) {
                continue;
            }
            match self.delete_parts(&whole.file, &parts).await {
                Ok(true) => deleted.extend(parts.into_iter().map(|part| part.path)),
                Ok(false) => self.history_store.record_incomplete(&whole.file),
                Err(error) => errors.push(error),
            }
        }
        deleted
    }

    /// Deletes files, unless another one lacks a row of theirs. Returns whether they were deleted.
    async fn delete_parts(&self, whole: &SampleFile, parts: &[SampleFile]) -> Result<bool, ParquetStoreError> {
        let (round, read) = (self.clone(), (whole.clone(), parts.to_vec()));
        let has_all = tokio::task::spawn_blocking(move || round.has_all(read.0, read.1)).await??;
        if has_all {
            for part in parts {
                self.delete(part).await?;
            }
        }
        Ok(has_all)
    }

    async fn delete(&self, file: &SampleFile) -> Result<(), ParquetStoreError> {
        match self.store.delete(&file.path).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            deleted => Ok(deleted?),
        }
    }
}
