//! Reloads the configuration file while the server runs: on SIGHUP, and when the file changes.
//!
//! A text is loaded only after two reads, a second apart, return the same content, so that a half-written file is never
//! loaded. An invalid configuration changes nothing.

use std::{
    fmt, fs::OpenOptions, io::Read as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf, sync::Arc, time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use super::{AppError, clusters::ActiveClusters, supervise::TaskFailure};
use crate::{
    config::{ConfigErrors, EffectiveValue, LoadedConfig},
    store::Store,
};

/// Interval between two reads of the file.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum size of the configuration file in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// Builds a configuration from the text of its file and from all other origins of settings.
pub type Load = dyn Fn(&str) -> Result<LoadedConfig, ConfigErrors> + Send + Sync;

/// A configuration file and the configuration in force.
pub struct Reload {
    /// Path of the file.
    pub path: PathBuf,
    /// Text of the file when the server started.
    pub text: String,
    /// Values in force, as in [`LoadedConfig::effective`].
    pub effective: Vec<EffectiveValue>,
    /// Builds the configuration from a new text.
    pub load: Arc<Load>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Polls the configuration file until it is stopped.
pub(super) struct Follower {
    path: PathBuf,
    load: Arc<Load>,
    store: Arc<Store>,
    /// Text of the configuration that is in force or was sent to be applied.
    text: String,
    /// Last text that was rejected.
    rejected: Option<String>,
    /// Text of the last read, if it has to be confirmed by a second read.
    unconfirmed: Option<String>,
    /// Number of reads since the file could last be read.
    failed_reads: u32,
    /// Whether a signal requested a reload even if the text is unchanged, for example because files of secrets changed.
    is_requested: bool,
    changes: mpsc::Sender<Change>,
}

/// A configuration to apply, and the sender for the result.
pub(super) type Change = (LoadedConfig, oneshot::Sender<Result<(), AppError>>);

impl Follower {
    /// Creates a follower, which sends each loaded configuration to the returned receiver.
    pub(super) fn new(reload: &Reload, store: &Arc<Store>) -> (Self, mpsc::Receiver<Change>) {
        let (changes, receiver) = mpsc::channel(1);
        let (path, load, text) = (reload.path.clone(), Arc::clone(&reload.load), reload.text.clone());
        let store = Arc::clone(store);
        (
            Self {
                path,
                load,
                store,
                text,
                rejected: None,
                unconfirmed: None,
                failed_reads: 0,
                is_requested: false,
                changes,
            },
            receiver,
        )
    }

    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), TaskFailure> {
        let mut hangup = signal(SignalKind::hangup()).map_err(TaskFailure::failed)?;
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                Some(()) = hangup.recv() => {
                    tracing::info!(path = %self.path.display(), "SIGHUP: reading the configuration again");
                    (self.is_requested, self.unconfirmed) = (true, None);
                }
                () = stop.cancelled() => return Ok(()),
            }
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || read(&path)).await.map_err(TaskFailure::failed)?;
            if let Some(text) = self.process_read(read) {
                self.load(text).await?;
            }
        }
    }

    /// Processes the result of a read. Returns the text if it is to be loaded.
    fn process_read(&mut self, read: Result<String, ReadError>) -> Option<String> {
        let text = match read {
            Ok(text) => text,
            Err(error) => {
                self.unconfirmed = None;
                self.failed_reads = self.failed_reads.saturating_add(1);
                // Reported once, and only after the second failure: a file that is being replaced may be missing for a
                // moment.
                if self.failed_reads == 2 {
                    self.reject(None, &error.to_string());
                }
                return None;
            }
        };
        self.failed_reads = 0;
        // The text in force is rejected, too, if a signal found a problem outside of the text.
        if !self.is_requested && self.rejected.as_ref() == Some(&text) {
            return None;
        }
        if !self.is_requested && text == self.text {
            self.unconfirmed = None;
            self.rejected = None;
            if self.store.config().error.is_some() {
                self.store.set_config_error(None);
            }
            return None;
        }
        if self.unconfirmed.as_ref() != Some(&text) {
            self.unconfirmed = Some(text);
            return None;
        }
        (self.is_requested, self.unconfirmed) = (false, None);
        Some(text)
    }

    async fn load(&mut self, text: String) -> Result<(), TaskFailure> {
        let (load, given) = (Arc::clone(&self.load), text.clone());
        let loaded = tokio::task::spawn_blocking(move || load(&given)).await.map_err(TaskFailure::failed)?;
        match loaded {
            Ok(loaded) => {
                let (sender, applied) = oneshot::channel();
                // The receiver is dropped when the server stops.
                let _ = self.changes.send((loaded, sender)).await;
                match applied.await {
                    Ok(Ok(())) => (self.text, self.rejected) = (text, None),
                    Ok(Err(error)) => self.reject(Some(text), &error.to_string()),
                    Err(_) => {}
                }
            }
            Err(errors) => self.reject(Some(text), &errors.to_string()),
        }
        Ok(())
    }

    /// Records why a text was rejected; `None` stands for a file that cannot be read.
    fn reject(&mut self, text: Option<String>, error: &str) {
        tracing::error!(error, "configuration not reloaded; keeping the previous one");
        self.store.set_config_error(Some(error.to_owned()));
        self.rejected = text;
    }
}

/// Reason why the file cannot be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("cannot read {}: {cause}", path.display())]
    Io { path: PathBuf, cause: std::io::Error },
    #[error("{} is not a regular file of at most 4 MiB", .0.display())]
    NotRegular(PathBuf),
}

fn read(path: &std::path::Path) -> Result<String, ReadError> {
    let failed = |cause| ReadError::Io { path: path.to_owned(), cause };
    // Without this flag, opening a pipe would wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(ReadError::NotRegular(path.to_owned()));
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Applies the settings of a configuration that can change while the server runs, and logs those that cannot.
///
/// # Errors
/// The settings of a cluster are invalid. In this case nothing has changed.
pub(super) fn apply(
    clusters: &mut ActiveClusters,
    before: &mut Vec<EffectiveValue>,
    loaded: LoadedConfig,
) -> Result<(), AppError> {
    clusters.set(&loaded.config.clusters, &loaded.config.sources)?;
    for key in changed(before, &loaded.effective) {
        tracing::warn!(setting = key, "setting changed in the configuration file; restart the server to apply it");
    }
    *before = loaded.effective;
    clusters.dependencies.store.set_config_loaded(loaded.config.queries);
    tracing::info!("configuration reloaded");
    Ok(())
}

/// Returns the keys of all changed settings that need a restart: all except those of clusters, queries and sources.
fn changed<'a>(before: &'a [EffectiveValue], after: &'a [EffectiveValue]) -> Vec<&'a str> {
    let reloaded = ["clusters.", "queries.", "sources."];
    let is_other = |value: &&EffectiveValue| !reloaded.iter().any(|section| value.key.starts_with(section));
    let same = |value: &EffectiveValue| before.iter().any(|of| of.key == value.key && of.value == value.value);
    after.iter().filter(is_other).filter(|value| !same(value)).map(|value| value.key.as_str()).collect()
}

#[cfg(test)]
mod tests;
