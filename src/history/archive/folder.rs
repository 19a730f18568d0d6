//! Where files lie, and how they are named.

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use object_store::{ObjectMeta, ObjectStore, path::Path};

use crate::model::{Millis, Name, SOURCE_KAFKA, SourceId};

/// Size and time of a file. A file whose version is another one is a new file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// Bytes.
    pub(super) size: u64,
    modified: DateTime<Utc>,
}

impl Version {
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        Self { size: meta.size, modified: meta.last_modified }
    }
}

/// A file of samples, as its name describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) path: Path,
    /// Name of the source.
    pub(super) source: Name,
    /// Time of the first sample.
    pub(super) from: Millis,
    /// Time of the last one.
    pub(super) to: Millis,
    /// The default, until it is listed.
    pub(super) version: Version,
}

/// Where the files of a cluster lie.
pub(super) fn of_cluster(cluster: &str) -> Path {
    Path::from_iter([format!("cluster={cluster}")])
}

/// The date of a time, as folders are called.
fn date(at: Millis) -> String {
    DateTime::from_timestamp_millis(at).map_or_else(|| "unknown".to_owned(), |at| at.format("%Y-%m-%d").to_string())
}

fn name(source: &str, from: Millis, to: Millis) -> String {
    // The cluster's own has none, as before there were others.
    let source = if source == SOURCE_KAFKA { String::new() } else { format!(".{source}") };
    format!("{from}-{to}{source}.parquet")
}

/// The source and the times in a name.
fn parse(name: &str) -> Option<(&str, Millis, Millis)> {
    let name = name.strip_suffix(".parquet")?;
    let (times, source) = name.split_once('.').unwrap_or((name, SOURCE_KAFKA));
    let (from, to) = times.split_once('-')?;
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from <= to).then_some((source, from, to))
}

/// Whether a name is that of a file that is being written, by this server or by an object store.
pub(super) fn is_temporary(name: &str) -> bool {
    let number = name.split_once('#').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a name is that of a file of samples that is being written, in the folder where that file belongs.
pub(super) fn is_temporary_of(folder: &str, temporary: &str) -> bool {
    let file = temporary.split_once('#').map_or(temporary, |(file, _)| file);
    let belongs = |(source, from, to)| file == name(source, from, to) && folder == format!("date={}", date(from));
    is_temporary(temporary) && parse(file).is_some_and(belongs)
}

impl Stored {
    /// Where a file with samples of these times belongs.
    pub(super) fn new(source: &SourceId, from: Millis, to: Millis) -> Self {
        let SourceId { cluster, name: source } = source;
        let path = of_cluster(cluster).join(format!("date={}", date(from))).join(name(source, from, to));
        Self { path, source: Name::clone(source), from, to, version: Version::default() }
    }

    /// `None`: the file lies where this server puts none.
    fn read(cluster: &Name, meta: &ObjectMeta) -> Option<Self> {
        let (source, from, to) = parse(meta.location.filename()?)?;
        let source = SourceId { cluster: Name::clone(cluster), name: source.into() };
        let file = Self { version: Version::of(meta), ..Self::new(&source, from, to) };
        (file.path == meta.location).then_some(file)
    }

    /// Whether another file of the same source reaches over the times of this one.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        other.source == self.source && other.from <= self.from && self.to <= other.to && self.path != other.path
    }
}

/// What lies in the folder of a cluster.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Files of samples of all sources, by time; the longest first, where several begin together.
    pub(super) files: Vec<Stored>,
    /// What has no name of a file of samples.
    pub(super) foreign: Vec<ObjectMeta>,
}

/// Lists the folder of a cluster.
pub(super) async fn list(store: &dyn ObjectStore, cluster: &Name) -> Result<Listed, object_store::Error> {
    let mut listed = Listed::default();
    let mut entries = store.list(Some(&of_cluster(cluster)));
    while let Some(meta) = entries.try_next().await? {
        match Stored::read(cluster, &meta) {
            Some(file) => listed.files.push(file),
            None => listed.foreign.push(meta),
        }
    }
    listed.files.sort_by_key(|file| (file.from, std::cmp::Reverse(file.to)));
    Ok(listed)
}
