//! The known state of each file of the store. An unreadable file is named in the status and not changed.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use object_store::path::Path;

use super::{
    MAX_NAMED_FILES, ParquetStore,
    folder::{self, FolderListing, SampleFile, Version},
};
use crate::{model::Millis, store::history_store::HistoryStoreStatus};

/// The result of inspecting a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileState {
    /// The times of its samples, which agree with its name.
    Samples(Arc<[Millis]>),
    /// Its content is not that of a file of samples. It is not read again.
    Damaged(String),
    /// The store denied access to it. It is not read until the next round of merging retries it.
    Denied(String),
    /// The store failed when the file was opened. The next round and each reader retry it.
    Failing(String),
}

impl FileState {
    fn why(&self) -> Option<&str> {
        match self {
            Self::Samples(_) => None,
            Self::Damaged(why) | Self::Denied(why) | Self::Failing(why) => Some(why),
        }
    }
}

/// The results for all files of the last listings, of all clusters.
#[derive(Debug, Default)]
pub(super) struct FileStates(BTreeMap<Path, (Version, FileState)>);

impl FileStates {
    fn unreadable(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.0.iter().filter_map(|(path, (_, found))| Some((path, found.why()?)))
    }

    /// Sets the number of unreadable files, and names some of them.
    fn fill_status(&self, status: &mut HistoryStoreStatus) {
        status.unreadable = self.unreadable().count() as u64;
        let named = self.unreadable().take(MAX_NAMED_FILES);
        status.skipped = named.map(|(path, why)| (path.to_string(), why.to_owned())).collect();
    }
}

impl ParquetStore {
    /// Returns the result for this version of a file.
    pub(super) fn file_state(&self, file: &SampleFile) -> Option<FileState> {
        let state = self.state.lock();
        let (version, found) = state.files.0.get(&file.path)?;
        (*version == file.version).then(|| found.clone())
    }

    /// Returns whether this version of a file must not be read.
    pub(super) fn is_unreadable(&self, file: &SampleFile) -> bool {
        matches!(self.file_state(file), Some(FileState::Damaged(_) | FileState::Denied(_)))
    }

    /// Returns the error with which the store failed when a file of a cluster was opened, if any.
    pub(super) fn failing(&self, cluster: &str) -> Option<String> {
        let of_cluster = folder::cluster_folder(cluster);
        let state = self.state.lock();
        let mut files = state.files.0.iter().filter(|(path, _)| path.prefix_matches(&of_cluster));
        files.find_map(|(_, (_, found))| match found {
            FileState::Failing(why) => Some(why.clone()),
            FileState::Samples(_) | FileState::Damaged(_) | FileState::Denied(_) => None,
        })
    }

    /// Returns whether this version of a merged file is known to lack rows of its parts.
    pub(super) fn is_incomplete(&self, file: &SampleFile) -> bool {
        self.state.lock().incomplete.get(&file.path) == Some(&file.version)
    }

    /// Records that a merged file lacks rows of its parts, so that they are not compared again.
    pub(super) fn record_incomplete(&self, file: &SampleFile) {
        tracing::warn!(path = %file.path, "merged history file lacks rows of its parts; keeping all of them");
        self.state.lock().incomplete.insert(file.path.clone(), file.version);
    }

    /// Records the result of inspecting a file. An unreadable file is logged once.
    pub(super) fn record_file(&self, path: &Path, version: Version, found: FileState) {
        let state = &mut *self.state.lock();
        let why = found.why().map(str::to_owned);
        let before = state.files.0.insert(path.clone(), (version, found));
        let why_before = before.as_ref().and_then(|(_, found)| found.why());
        if why.as_deref() == why_before {
            return;
        }
        state.files.fill_status(&mut state.status);
        let named = MAX_NAMED_FILES as u64;
        match why {
            None => tracing::info!(%path, "history file is readable again"),
            Some(why) if state.status.unreadable <= named => {
                tracing::warn!(%path, why, "history file is unreadable; it is skipped and not deleted");
            }
            Some(_) if state.status.unreadable == named + 1 => {
                tracing::warn!("more history files are unreadable; see server.history_unreadable_files");
            }
            Some(_) => {}
        }
    }

    /// Records a listing of a cluster's folder: foreign files become unreadable, and files that no longer exist are
    /// dropped.
    pub(super) fn record_listing(&self, cluster: &str, listed: &FolderListing) {
        for meta in &listed.foreign {
            let why = "its name or folder is not that of a history file".to_owned();
            self.record_file(&meta.location, Version::of(meta), FileState::Damaged(why));
        }
        let files = listed.files.iter().map(|file| &file.path);
        let paths: HashSet<&Path> = files.chain(listed.foreign.iter().map(|meta| &meta.location)).collect();
        let of_cluster = folder::cluster_folder(cluster);
        let state = &mut *self.state.lock();
        let is_kept = |path: &Path| paths.contains(path) || !path.prefix_matches(&of_cluster);
        state.files.0.retain(|path, _| is_kept(path));
        state.incomplete.retain(|path, _| is_kept(path));
        state.files.fill_status(&mut state.status);
    }
}
