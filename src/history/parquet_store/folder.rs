//! Paths and names of the files of samples.

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use object_store::{ObjectMeta, ObjectStore, path::Path};

use crate::model::{Millis, Name, SOURCE_KAFKA, SourceId};

/// Size and modification time of a file. A file with another version is a new file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// Size in bytes.
    pub(super) size: u64,
    modified: DateTime<Utc>,
}

impl Version {
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        Self { size: meta.size, modified: meta.last_modified }
    }
}

/// A file of samples, as described by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SampleFile {
    pub(super) path: Path,
    /// Name of the source.
    pub(super) source: Name,
    /// Time of the first sample.
    pub(super) from: Millis,
    /// Time of the last sample.
    pub(super) to: Millis,
    /// Version of the file; the default until the file is listed.
    pub(super) version: Version,
}

/// Returns the folder of a cluster.
pub(super) fn cluster_folder(cluster: &str) -> Path {
    Path::from_iter([format!("cluster={cluster}")])
}

/// Returns the date of a time, in the form used in folder names.
fn date(at: Millis) -> String {
    DateTime::from_timestamp_millis(at).map_or_else(|| "unknown".to_owned(), |at| at.format("%Y-%m-%d").to_string())
}

fn name(source: &str, from: Millis, to: Millis) -> String {
    // The cluster's own source has no suffix, for compatibility with files written before there were other sources.
    let source = if source == SOURCE_KAFKA { String::new() } else { format!(".{source}") };
    format!("{from}-{to}{source}.parquet")
}

/// Parses the source and the times of a file name.
fn parse(name: &str) -> Option<(&str, Millis, Millis)> {
    let name = name.strip_suffix(".parquet")?;
    let (times, source) = name.split_once('.').unwrap_or((name, SOURCE_KAFKA));
    let (from, to) = times.split_once('-')?;
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from <= to).then_some((source, from, to))
}

/// Returns whether a file name is that of a temporary file of this server or of an object store.
pub(super) fn is_temporary(name: &str) -> bool {
    let number = name.split_once('#').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns whether a file name is that of a temporary file of samples, in the folder to which that file belongs.
pub(super) fn is_temporary_of(folder: &str, temporary: &str) -> bool {
    let file = temporary.split_once('#').map_or(temporary, |(file, _)| file);
    let belongs = |(source, from, to)| file == name(source, from, to) && folder == format!("date={}", date(from));
    is_temporary(temporary) && parse(file).is_some_and(belongs)
}

impl SampleFile {
    /// Returns the file for samples of a time range, at its path.
    pub(super) fn new(source: &SourceId, from: Millis, to: Millis) -> Self {
        let SourceId { cluster, name: source } = source;
        let path = cluster_folder(cluster).join(format!("date={}", date(from))).join(name(source, from, to));
        Self { path, source: Name::clone(source), from, to, version: Version::default() }
    }

    /// Parses a listed file; `None` if it is not at a path that this server would use.
    fn read(cluster: &Name, meta: &ObjectMeta) -> Option<Self> {
        let (source, from, to) = parse(meta.location.filename()?)?;
        let source = SourceId { cluster: Name::clone(cluster), name: source.into() };
        let file = Self { version: Version::of(meta), ..Self::new(&source, from, to) };
        (file.path == meta.location).then_some(file)
    }

    /// Returns whether the time range of another file of the same source covers this one.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        other.source == self.source && other.from <= self.from && self.to <= other.to && self.path != other.path
    }
}

/// The content of a cluster's folder.
#[derive(Debug, Default)]
pub(super) struct FolderListing {
    /// Files of samples of all sources, by first time; of several with the same first time, the longest comes first.
    pub(super) files: Vec<SampleFile>,
    /// Objects with a name or path that is not that of a file of samples.
    pub(super) foreign: Vec<ObjectMeta>,
}

/// Lists the folder of a cluster.
pub(super) async fn list(store: &dyn ObjectStore, cluster: &Name) -> Result<FolderListing, object_store::Error> {
    let mut listed = FolderListing::default();
    let mut entries = store.list(Some(&cluster_folder(cluster)));
    while let Some(meta) = entries.try_next().await? {
        match SampleFile::read(cluster, &meta) {
            Some(file) => listed.files.push(file),
            None => listed.foreign.push(meta),
        }
    }
    listed.files.sort_by_key(|file| (file.from, std::cmp::Reverse(file.to)));
    Ok(listed)
}
