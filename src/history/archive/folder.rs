//! What lies where.

use futures::TryStreamExt as _;
use object_store::{ObjectMeta, ObjectStore, path::Path};

use crate::model::Millis;

/// A file of samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) path: Path,
    /// Time of the first sample.
    pub(super) from: Millis,
    /// Time of the last one.
    pub(super) to: Millis,
    /// Bytes, once it is there.
    pub(super) size: u64,
}

/// Where the files of a cluster lie.
pub(super) fn of_cluster(cluster: &str) -> Path {
    Path::from_iter([format!("cluster={cluster}")])
}

/// The date of a time, as folders are called.
pub(super) fn date(at: Millis) -> String {
    chrono::DateTime::from_timestamp_millis(at)
        .map_or_else(|| "unknown".to_owned(), |at| at.format("%Y-%m-%d").to_string())
}

impl Stored {
    /// Where a file with samples of these times belongs.
    pub(super) fn new(cluster: &str, from: Millis, to: Millis) -> Self {
        let parts = [format!("cluster={cluster}"), format!("date={}", date(from)), format!("{from}-{to}.parquet")];
        Self { path: Path::from_iter(parts), from, to, size: 0 }
    }

    /// `None`: it is not one of this server's.
    fn read(meta: &ObjectMeta) -> Option<Self> {
        let name = meta.location.filename()?.strip_suffix(".parquet")?;
        let (from, to) = name.split_once('-')?;
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        (from <= to).then(|| Self { path: meta.location.clone(), from, to, size: meta.size })
    }

    fn is_within(&self, other: &Self) -> bool {
        other.from <= self.from && self.to <= other.to && (self.from, self.to) != (other.from, other.to)
    }
}

/// The files of a cluster, by time, but for those that another one stands for; and what is none.
pub(super) async fn list(store: &dyn ObjectStore, cluster: &str) -> Result<(Vec<Stored>, Vec<Path>), String> {
    let listed: Vec<_> =
        store.list(Some(&of_cluster(cluster))).try_collect().await.map_err(|error| error.to_string())?;
    let (mut files, mut foreign) = (vec![], vec![]);
    for meta in listed {
        match Stored::read(&meta) {
            Some(file) => files.push(file),
            None => foreign.push(meta.location),
        }
    }
    // The longest first, where several begin together.
    files.sort_by_key(|file: &Stored| (file.from, std::cmp::Reverse(file.to)));
    let mut shown: Vec<Stored> = vec![];
    for file in files {
        if !shown.last().is_some_and(|last| file.is_within(last)) {
            shown.push(file);
        }
    }
    Ok((shown, foreign))
}

/// Everything of a cluster, hidden or not.
pub(super) async fn everything(store: &dyn ObjectStore, cluster: &str) -> Result<Vec<Stored>, String> {
    let listed: Vec<_> =
        store.list(Some(&of_cluster(cluster))).try_collect().await.map_err(|error| error.to_string())?;
    Ok(listed.iter().filter_map(Stored::read).collect())
}
