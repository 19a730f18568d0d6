//! What was found in the files of the store. A file that cannot be read is named, and is left alone from then on.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use object_store::path::Path;

use super::{
    Archive, NAMED,
    folder::{self, Listed, Stored, Version},
};
use crate::{model::Millis, store::older::OlderStatus};

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The times of its samples, which are those in its name.
    Samples(Arc<[Millis]>),
    /// Its content is not that of a file of samples: it is not read again.
    Damaged(String),
    /// The store refuses it: the next round tries again, and until then it is not read.
    Denied(String),
    /// The store failed when it was opened: the next round tries again, and so does each reader.
    Failing(String),
}

impl Found {
    fn why(&self) -> Option<&str> {
        match self {
            Self::Samples(_) => None,
            Self::Damaged(why) | Self::Denied(why) | Self::Failing(why) => Some(why),
        }
    }
}

/// What was found in the files that were listed last, of all clusters.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<Path, (Version, Found)>);

impl Known {
    fn unreadable(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.0.iter().filter_map(|(path, (_, found))| Some((path, found.why()?)))
    }

    /// Names some of the files that cannot be read, and counts all.
    fn tell(&self, status: &mut OlderStatus) {
        status.unreadable = self.unreadable().count() as u64;
        let named = self.unreadable().take(NAMED);
        status.skipped = named.map(|(path, why)| (path.to_string(), why.to_owned())).collect();
    }
}

impl Archive {
    /// What was found in this version of a file.
    pub(super) fn found(&self, file: &Stored) -> Option<Found> {
        let state = self.state.lock();
        let (version, found) = state.known.0.get(&file.path)?;
        (*version == file.version).then(|| found.clone())
    }

    /// Whether this version of a file is not to be read.
    pub(super) fn is_unreadable(&self, file: &Stored) -> bool {
        matches!(self.found(file), Some(Found::Damaged(_) | Found::Denied(_)))
    }

    /// What the store failed with when a file of a cluster was opened, if it did.
    pub(super) fn failing(&self, cluster: &str) -> Option<String> {
        let of_cluster = folder::of_cluster(cluster);
        let state = self.state.lock();
        let mut files = state.known.0.iter().filter(|(path, _)| path.prefix_matches(&of_cluster));
        files.find_map(|(_, (_, found))| match found {
            Found::Failing(why) => Some(why.clone()),
            Found::Samples(_) | Found::Damaged(_) | Found::Denied(_) => None,
        })
    }

    /// Whether this version of a file lacks rows that other files have for its samples.
    pub(super) fn differs(&self, file: &Stored) -> bool {
        self.state.lock().differing.get(&file.path) == Some(&file.version)
    }

    /// Notes that a file lacks rows that other files have for its samples, so that they are not compared again.
    pub(super) fn note_difference(&self, file: &Stored) {
        tracing::warn!(path = %file.path, "a merged file of history lacks rows of files of its time; all of them are kept");
        self.state.lock().differing.insert(file.path.clone(), file.version);
    }

    /// Notes what was found in a file. One that cannot be read is logged once.
    pub(super) fn note(&self, path: &Path, version: Version, found: Found) {
        let state = &mut *self.state.lock();
        let why = found.why().map(str::to_owned);
        let before = state.known.0.insert(path.clone(), (version, found));
        let why_before = before.as_ref().and_then(|(_, found)| found.why());
        if why.as_deref() == why_before {
            return;
        }
        state.known.tell(&mut state.status);
        let named = NAMED as u64;
        match why {
            None => tracing::info!(%path, "the file of history can be read again"),
            Some(why) if state.status.unreadable <= named => {
                tracing::warn!(%path, why, "a file of history cannot be read; it is neither read nor deleted");
            }
            Some(_) if state.status.unreadable == named + 1 => {
                tracing::warn!("more files of history cannot be read; their number is in the table \"server\"");
            }
            Some(_) => {}
        }
    }

    /// Notes what lies in the folder of a cluster: files without the name of one, and that others are gone.
    pub(super) fn note_listed(&self, cluster: &str, listed: &Listed) {
        for meta in &listed.foreign {
            let why = "its name or folder is not that of a file of history".to_owned();
            self.note(&meta.location, Version::of(meta), Found::Damaged(why));
        }
        let files = listed.files.iter().map(|file| &file.path);
        let paths: HashSet<&Path> = files.chain(listed.foreign.iter().map(|meta| &meta.location)).collect();
        let of_cluster = folder::of_cluster(cluster);
        let state = &mut *self.state.lock();
        let is_kept = |path: &Path| paths.contains(path) || !path.prefix_matches(&of_cluster);
        state.known.0.retain(|path, _| is_kept(path));
        state.differing.retain(|path, _| is_kept(path));
        state.known.tell(&mut state.status);
    }
}
