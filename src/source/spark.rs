//! Offsets of Spark Structured Streaming, read from the checkpoints of its queries.
//!
//! Each query keeps its offsets in a folder: on a local disk, in an object store, or in HDFS. Spark itself is not queried.
//! All checkpoints are polled periodically. Two requests show that one has not changed.

use std::{collections::HashMap, fmt, path::PathBuf, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::runtime::{Builder, Runtime};

use super::{
    SourceSettings,
    layout::{FixedParts, Layout, LayoutError, Mismatch, OffsetParts, Template, Value},
    polled::{Listing, ListingRound, PolledSource, Rejected, StoredOffset},
    rate_limit::RequestLimit,
};
use crate::{
    config::{self, KindSettings, Secret, SettingError, section::section},
    s3::{S3Access, S3Error},
    store::latest::SourceError,
};

mod address;
mod checkpoint;
mod files;
mod storage;

use address::{Address, AddressError, Folders};
use checkpoint::{Checkpoint, CheckpointReader};
use storage::{Entry, Storage};

/// The form of the offset of a Kafka source (`JsonUtils.partitionOffsets`). Offsets of other sources differ.
const KAFKA_OFFSET: &str = r#"{"{topic}":{"{partition}":"{offset}"}}"#;
/// The group of a query without one, in `check-config --match`.
const QUERY_ID: &str = "(id of the query)";
/// Maximum number of checkpoints of a source.
const MAX_CHECKPOINTS: usize = 10_000;
/// Number of checkpoints that are read at the same time.
const PARALLEL_READS: usize = 8;

section! {
    /// Settings of a `[sources.NAME]` of kind spark: checkpoints of Spark Structured Streaming.
    #[derive(Clone, Debug)]
    pub struct Spark {
        /// URL of a checkpoint, or of several, with {group} in place of the varying part of the path: file:///PATH,
        /// s3://BUCKET/PATH, gs://BUCKET/PATH, abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH or
        /// webhdfs://USER@HOST:PORT/PATH (swebhdfs:// for TLS; several hosts separated by commas).
        pub checkpoints: String = Text(""), "no default; required";
        /// Time between two polls of the checkpoints; longer if a poll takes more than a twentieth of it.
        pub interval: Duration = Time("10s"), "a poll of an unchanged checkpoint takes two requests";
        /// Endpoint of S3, for example http://127.0.0.1:9000. Empty: AWS.
        pub s3_endpoint: String = Text(""), "only stores other than AWS need it";
        /// Region of S3. Empty: AWS_REGION.
        pub s3_region: String = Text(""), "the usual AWS variables apply to all settings that are empty";
        /// TOML file with the keys access_key_id, secret_access_key and, if needed, session_token. Empty: the usual AWS
        /// variables, or the role of the machine.
        pub s3_credentials: Option<PathBuf> = OptionalPath(""), "a configuration file should contain no secrets";
        /// Delegation token of WebHDFS.
        pub token: Secret = SecretText(""), "a file system without Kerberos trusts the user in the URL";
    }
}

impl KindSettings for Spark {
    const KIND: &'static str = "spark";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[("checkpoints", "file:///data/checkpoints/{group}")];

    fn check(&self, common: &config::Source) -> Result<(), SettingError> {
        let checked = self.read_layout(common);
        checked.map(drop).map_err(|error| SettingError { setting: "checkpoints", cause: error.into() })
    }
}

impl SourceSettings for Spark {
    type Source = PolledSource<SparkListing>;

    fn open(&self, common: &config::Source) -> Self::Source {
        PolledSource::new(SparkListing::new(self, common), self.interval)
    }

    fn layout(&self, common: &config::Source) -> Option<Layout> {
        self.read_layout(common).ok().map(|(_, layout)| layout)
    }

    fn examine(&self, common: &config::Source) -> Result<String, SourceError> {
        let mut listing = SparkListing::new(self, common);
        let (found, unmatched) = listing.poll()?;
        let queries: Vec<_> = found.iter().filter_map(|folder| folder.checkpoint.query.as_ref()).collect();
        let offsets: usize = queries.iter().map(|query| query.len()).sum();
        let mut text = format!("{} checkpoints with {offsets} offsets", queries.len());
        if let Some((_, place)) = found.iter().find_map(|folder| folder.checkpoint.rejected.as_ref()) {
            text += &format!("; {} folders are not readable, for example {place}", found.len() - queries.len());
        }
        if !unmatched.is_empty() {
            text += &format!("; {} folders do not match", unmatched.len());
        }
        if queries.is_empty() {
            text += "; check the path in `checkpoints`";
        }
        Ok(text)
    }
}

/// An error in the settings.
#[derive(Debug, thiserror::Error)]
pub enum SparkError {
    /// The setting `checkpoints` is invalid.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The path is not a valid template.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The credentials of S3 cannot be read.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// The client of an object store cannot be built.
    #[error(transparent)]
    Objects(#[from] object_store::Error),
    /// The client of WebHDFS cannot be built.
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    /// The address of a NameNode is invalid.
    #[error("invalid address of a NameNode: {0}")]
    Node(#[from] url::ParseError),
    /// The thread for network requests cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl Spark {
    /// Returns where the checkpoints are, and the layout of their URLs and of the offsets of Kafka sources.
    fn read_layout(&self, common: &config::Source) -> Result<(Address, Layout), SparkError> {
        let address = Address::parse(&self.checkpoints)?;
        let fixed = (!common.group.is_empty()).then(|| common.group.clone());
        let group = fixed.or_else(|| matches!(address.folders, Folders::One(_)).then(|| QUERY_ID.to_owned()));
        let topic = (!common.topic.is_empty()).then(|| common.topic.clone());
        let fixed = FixedParts { group, topic, offset_is: common.offset_is };
        let layout = Layout::new(vec![address.template(&self.checkpoints)?], Value::parse(KAFKA_OFFSET, None)?, fixed)?;
        Ok((address, layout))
    }

    fn connect(&self, address: &Address, limit: RequestLimit) -> Result<Connection, SparkError> {
        let s3 = S3Access {
            endpoint: &self.s3_endpoint,
            region: &self.s3_region,
            credentials: self.s3_credentials.as_deref(),
        };
        let storage = Storage::open(address, s3, &self.token.0, limit)?;
        // Its thread keeps connections alive between two polls.
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("spark").enable_all().build()?;
        Ok(Connection { runtime, storage })
    }
}

/// A listing of the checkpoints of a source.
pub struct SparkListing {
    settings: Spark,
    common: config::Source,
    limit: RequestLimit,
    /// The client of the store. After an error, a new one reads the files of credentials again.
    connection: Option<Connection>,
    /// The last state of each checkpoint, by path.
    known: HashMap<String, Checkpoint>,
}

struct Connection {
    runtime: Runtime,
    storage: Storage,
}

/// A folder with a checkpoint.
struct Folder {
    path: String,
    /// What its name gives: the group.
    parts: OffsetParts,
    checkpoint: Checkpoint,
}

impl SparkListing {
    fn new(settings: &Spark, common: &config::Source) -> Self {
        let limit = RequestLimit::new(common.max_requests_per_second);
        let (settings, common) = (settings.clone(), common.clone());
        Self { settings, common, limit, connection: None, known: HashMap::new() }
    }

    /// Polls all checkpoints. Returns them and the URLs of the folders whose names do not match.
    fn poll(&mut self) -> Result<(Vec<Folder>, Vec<String>), SourceError> {
        let (address, layout) = self.settings.read_layout(&self.common).map_err(settings_error)?;
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.settings.connect(&address, self.limit.clone()).map_err(settings_error)?,
        };
        let Connection { runtime, storage } = &connection;
        let result = runtime.block_on(async {
            let (folders, unmatched) = discover(storage, &address, &layout).await?;
            let reader = CheckpointReader { storage, offset: layout.value(), common: &self.common };
            let read = folders.into_iter().map(|(path, parts)| async {
                let checkpoint = reader.read(&path, self.known.get(&path)).await?;
                Ok::<_, SourceError>(Folder { path, parts, checkpoint })
            });
            let folders: Vec<Folder> = stream::iter(read).buffer_unordered(PARALLEL_READS).try_collect().await?;
            if let ([Folder { checkpoint: Checkpoint { query: None, .. }, .. }], Folders::One(_)) =
                (&*folders, &address.folders)
            {
                // A checkpoint on a disk that is not mounted is not deleted.
                list_parent(storage, &address).await?;
            }
            Ok((folders, unmatched))
        });
        if result.is_ok() {
            self.connection = Some(connection);
        }
        result
    }

    /// Adds the rows of a checkpoint to a round.
    fn add(&self, folder: &Folder, round: &mut ListingRound<'_>) {
        let Folder { path, parts, checkpoint } = folder;
        if let Some(query) = &checkpoint.query {
            let fixed = Some(self.common.group.as_str()).filter(|group| !group.is_empty());
            let group = parts.group.as_deref().or(fixed).unwrap_or(&query.id);
            for (topic, partition, committed_offset, metadata) in query.offsets() {
                let (committed_at, metadata) = (query.committed_at, metadata.as_str());
                round.found(&StoredOffset {
                    group,
                    topic,
                    partition,
                    committed_offset,
                    committed_at,
                    metadata,
                    ..StoredOffset::default()
                });
            }
            if let Some(batch) = &query.committed {
                let place = match batch.number {
                    Some(number) => format!("{path}/offsets/{number}"),
                    None => format!("{path}/sources"),
                };
                (0..batch.foreign_sources).for_each(|_| round.reject(Rejected::Unmatched, &place));
                (0..batch.malformed).for_each(|_| round.reject(Rejected::Malformed, &place));
            }
        }
        if let Some((why, place)) = &checkpoint.rejected {
            round.reject(*why, place);
        }
    }
}

impl Listing for SparkListing {
    fn list(&mut self, round: &mut ListingRound<'_>) -> Result<bool, SourceError> {
        let (folders, unmatched) = self.poll()?;
        unmatched.iter().for_each(|url| round.reject(Rejected::Unmatched, url));
        folders.iter().for_each(|folder| self.add(folder, round));
        self.known = folders.into_iter().map(|folder| (folder.path, folder.checkpoint)).collect();
        // An unreadable checkpoint keeps the rows that it had.
        Ok(true)
    }
}

type Discovered = (Vec<(String, OffsetParts)>, Vec<String>);

/// Returns the paths of the checkpoints with the group that is part of each, and the URLs of folders that do not match.
async fn discover(storage: &Storage, address: &Address, layout: &Layout) -> Result<Discovered, SourceError> {
    let (name, below) = match &address.folders {
        Folders::One(path) => return Ok((vec![(path.clone(), OffsetParts::default())], vec![])),
        Folders::Each { name, below, .. } => (name, below),
    };
    let parent = address.folders.parent();
    let (mut found, mut unmatched) = (vec![], vec![]);
    for entry in list_parent(storage, address).await? {
        if !entry.is_folder || !entry.name.starts_with(name.prefix()) {
            continue;
        }
        let parts: Vec<&str> = [parent, &entry.name, below].into_iter().filter(|part| !part.is_empty()).collect();
        let path = parts.join("/");
        match layout
            .names()
            .first()
            .map_or(Err(Mismatch::NoMatch), |url: &Template| url.read(&storage.url(&path), None))
        {
            Ok(parts) => found.push((path, parts)),
            Err(_) => unmatched.push(storage.url(&path)),
        }
    }
    if found.len() > MAX_CHECKPOINTS {
        let reason = format!(
            "{} has {} folders that match `checkpoints`, more than {MAX_CHECKPOINTS}; narrow it",
            storage.url(parent),
            found.len()
        );
        return Err(SourceError::Unreachable { reason });
    }
    Ok((found, unmatched))
}

/// Lists the folder that must exist.
async fn list_parent(storage: &Storage, address: &Address) -> Result<Vec<Entry>, SourceError> {
    let parent = address.folders.parent();
    let missing = || SourceError::Unreachable { reason: format!("{} does not exist", storage.url(parent)) };
    storage.list(parent).await?.ok_or_else(missing)
}

/// Converts an error of the settings that appears only at run time, such as a missing file.
fn settings_error(error: SparkError) -> SourceError {
    SourceError::Unreachable { reason: error.to_string() }
}

impl fmt::Debug for SparkListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SparkListing").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
