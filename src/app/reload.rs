//! The configuration file, read again while the server runs: on SIGHUP, and when it changes.
//!
//! A file counts once it was read twice, a second apart, with the same content, so that one that is being written counts for
//! nothing. What is wrong with it leaves everything as it is.

use std::{
    fmt, fs::OpenOptions, io::Read as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf, sync::Arc, time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use super::{AppError, parts::Members, supervise::PartFailure};
use crate::{
    config::{ConfigErrors, EffectiveValue, Loaded},
    store::Store,
};

/// Time between two looks at the file.
const BETWEEN: Duration = Duration::from_secs(1);
/// Bytes of the longest configuration.
const LONGEST: u64 = 4 << 20;

/// Puts a configuration together from the text of its file and what else belongs to it.
pub type Load = dyn Fn(&str) -> Result<Loaded, ConfigErrors> + Send + Sync;

/// A configuration file, and the configuration that is in force.
pub struct Reload {
    /// The file.
    pub path: PathBuf,
    /// Its text when it was read at the start.
    pub text: String,
    /// The values in force, as [`Loaded::effective`].
    pub effective: Vec<EffectiveValue>,
    /// Puts the configuration together again.
    pub load: Arc<Load>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Looks at the file until it is stopped.
pub(super) struct Follower {
    path: PathBuf,
    load: Arc<Load>,
    store: Arc<Store>,
    /// Of what is in force, or was handed over to be.
    text: String,
    /// The last text that is wrong.
    rejected: Option<String>,
    /// What the last look found, if it is not looked at yet.
    seen: Option<String>,
    /// Looks since the file could last be read.
    away: u32,
    /// A signal asks for what may have changed beside the text, as files of secrets.
    is_asked: bool,
    changes: mpsc::Sender<Change>,
}

/// A configuration to be put in force, and who waits for that.
pub(super) type Change = (Loaded, oneshot::Sender<Result<(), AppError>>);

impl Follower {
    /// Hands what is read over to the receiver.
    pub(super) fn new(reload: &Reload, store: &Arc<Store>) -> (Self, mpsc::Receiver<Change>) {
        let (changes, receiver) = mpsc::channel(1);
        let (path, load, text) = (reload.path.clone(), Arc::clone(&reload.load), reload.text.clone());
        let store = Arc::clone(store);
        (Self { path, load, store, text, rejected: None, seen: None, away: 0, is_asked: false, changes }, receiver)
    }

    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), PartFailure> {
        let mut hangup = signal(SignalKind::hangup()).map_err(PartFailure::failed)?;
        loop {
            tokio::select! {
                () = tokio::time::sleep(BETWEEN) => {}
                Some(()) = hangup.recv() => {
                    tracing::info!(path = %self.path.display(), "SIGHUP: reading the configuration again");
                    (self.is_asked, self.seen) = (true, None);
                }
                () = stop.cancelled() => return Ok(()),
            }
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || read(&path)).await.map_err(PartFailure::failed)?;
            if let Some(text) = self.look(read) {
                self.load(text).await?;
            }
        }
    }

    /// Takes what a look found. Returns the text if it is to be loaded.
    fn look(&mut self, read: Result<String, ReadError>) -> Option<String> {
        let text = match read {
            Ok(text) => text,
            Err(error) => {
                self.seen = None;
                self.away = self.away.saturating_add(1);
                // Once; and not at the first look: a file that is replaced may be away for a moment.
                if self.away == 2 {
                    self.reject(None, &error.to_string());
                }
                return None;
            }
        };
        self.away = 0;
        // Also what is in force, if a signal has found something wrong beside the file.
        if !self.is_asked && self.rejected.as_ref() == Some(&text) {
            return None;
        }
        if !self.is_asked && text == self.text {
            self.seen = None;
            self.rejected = None;
            if self.store.config().error.is_some() {
                self.store.set_config_error(None);
            }
            return None;
        }
        if self.seen.as_ref() != Some(&text) {
            self.seen = Some(text);
            return None;
        }
        (self.is_asked, self.seen) = (false, None);
        Some(text)
    }

    async fn load(&mut self, text: String) -> Result<(), PartFailure> {
        let (load, given) = (Arc::clone(&self.load), text.clone());
        let loaded = tokio::task::spawn_blocking(move || load(&given)).await.map_err(PartFailure::failed)?;
        match loaded {
            Ok(loaded) => {
                let (sender, applied) = oneshot::channel();
                // At the end of the process nothing takes it any more.
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

    /// Notes what is wrong with a text, or with `None` that there is none.
    fn reject(&mut self, text: Option<String>, error: &str) {
        tracing::error!(error, "the configuration was not reloaded; the one before stays in force");
        self.store.set_config_error(Some(error.to_owned()));
        self.rejected = text;
    }
}

/// Why the file cannot be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("cannot read {}: {cause}", path.display())]
    Io { path: PathBuf, cause: std::io::Error },
    #[error("{} is not a regular file of at most 4 MiB", .0.display())]
    NotRegular(PathBuf),
}

fn read(path: &std::path::Path) -> Result<String, ReadError> {
    let failed = |cause| ReadError::Io { path: path.to_owned(), cause };
    // A pipe in its place would wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err(ReadError::NotRegular(path.to_owned()));
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Puts a configuration in force as far as that is possible while the server runs.
///
/// # Errors
/// A cluster cannot be read with its settings. Then nothing has changed.
pub(super) fn apply(members: &mut Members, before: &mut Vec<EffectiveValue>, loaded: Loaded) -> Result<(), AppError> {
    members.set(&loaded.config.clusters, &loaded.config.sources)?;
    for key in changed(before, &loaded.effective) {
        tracing::warn!(setting = key, "changed in the configuration; it is in force after a restart");
    }
    *before = loaded.effective;
    members.context.store.set_config_loaded();
    tracing::info!("the configuration was reloaded");
    Ok(())
}

/// The settings that changed, but for clusters and sources.
fn changed<'a>(before: &'a [EffectiveValue], after: &'a [EffectiveValue]) -> Vec<&'a str> {
    let is_other = |value: &&EffectiveValue| !value.key.starts_with("clusters.") && !value.key.starts_with("sources.");
    let same = |value: &EffectiveValue| before.iter().any(|of| of.key == value.key && of.value == value.value);
    after.iter().filter(is_other).filter(|value| !same(value)).map(|value| value.key.as_str()).collect()
}

#[cfg(test)]
mod tests;
