//! A value that is made of files, and made again when they change: orchestrators replace the files of secrets and
//! certificates under a running server.

use std::{
    fs::OpenOptions,
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::error::FileError;

/// Bytes of a file that are read at most: many thousand tokens, or a long chain of certificates.
const LONGEST: u64 = 4 * 1024 * 1024;

/// What stands for a secret where it is only to be recognised.
pub(super) type Digest = [u8; 32];

/// Makes the value of the content of the files, in their order, and of the previous value.
type Make<T> = Box<dyn Fn(&[Vec<u8>], Option<&T>) -> Result<T, FileError> + Send + Sync>;

/// A value and the files that it is made of.
pub(super) struct FromFiles<T> {
    what: &'static str,
    paths: Vec<PathBuf>,
    make: Make<T>,
    made: ArcSwap<T>,
    last: Mutex<Last>,
}

/// What the last check found.
struct Last {
    /// Of the files that the value is made of.
    digests: Vec<Digest>,
    /// Checks since then that could not make it.
    failed: u32,
}

impl<T> FromFiles<T> {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file cannot be read, or what is wrong with them.
    pub(super) fn new(
        what: &'static str,
        paths: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>], Option<&T>) -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let contents = read(&paths)?;
        let made = ArcSwap::from_pointee(make(&contents, None)?);
        let last = Mutex::new(Last { digests: digests(&contents), failed: 0 });
        Ok(Self { what, paths, make: Box::new(make), made, last })
    }

    pub(super) fn get(&self) -> Arc<T> {
        self.made.load_full()
    }

    /// Reads the files again. If they cannot be used, the previous value stays in force.
    pub(super) fn reload(&self) {
        let mut last = self.last.lock();
        let made = read(&self.paths).and_then(|contents| {
            let anew = || (self.make)(&contents, Some(&self.get()));
            let digests = digests(&contents);
            let made = if digests == last.digests { None } else { Some(anew()?) };
            Ok((digests, made))
        });
        match made {
            Ok((digests, made)) => {
                if let Some(made) = made {
                    self.made.store(Arc::new(made));
                    tracing::info!(what = self.what, "reloaded");
                }
                *last = Last { digests, failed: 0 };
            }
            Err(error) => {
                last.failed = last.failed.saturating_add(1);
                // Once; and not at the first check, which may see files half written.
                if last.failed == 2 {
                    tracing::warn!(what = self.what, %error, "reload failed; keeping the previous version");
                }
            }
        }
    }
}

pub(super) fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

fn digests(contents: &[Vec<u8>]) -> Vec<Digest> {
    contents.iter().map(|bytes| digest(bytes)).collect()
}

fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, FileError> {
    paths.iter().map(|path| read_file(path)).collect()
}

/// Reads a regular file. Opening never waits: a pipe in the place of the file would wait for a writer for ever.
fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |error| FileError::Read { path: path.to_owned(), error };
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(FileError::NotRegular { path: path.to_owned() });
    }
    let mut content = vec![];
    // One byte more tells that there are more.
    let length = file.take(LONGEST + 1).read_to_end(&mut content).map_err(failed)?;
    if length as u64 > LONGEST {
        return Err(FileError::TooLong { path: path.to_owned(), limit: LONGEST });
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    fn first(contents: &[Vec<u8>], _: Option<&Vec<u8>>) -> Result<Vec<u8>, FileError> {
        Ok(contents[0].clone())
    }

    #[test]
    fn only_regular_files_of_a_reasonable_length_are_read_and_reading_never_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("tokens"), "old").unwrap();
        let value = FromFiles::new("n", vec![path("tokens")], first).unwrap();
        let made = Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(made.success());
        fs::write(path("long"), vec![b'x'; usize::try_from(LONGEST).unwrap() + 1]).unwrap();
        fs::rename(path("pipe"), path("tokens")).unwrap();
        // Without a writer: this would wait for ever.
        value.reload();
        assert_eq!(*value.get(), b"old");
        let error = |name: &str| FromFiles::new("n", vec![path(name)], first).err().unwrap().to_string();
        assert!(error("tokens").ends_with("it is not a regular file"), "{}", error("tokens"));
        assert!(error("").ends_with("it is not a regular file"), "{}", error(""));
        assert!(error("long").ends_with("it is longer than 4194304 bytes"), "{}", error("long"));
    }

    #[test]
    fn a_file_that_cannot_be_used_leaves_the_previous_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("number");
        fs::write(&path, "1").unwrap();
        let parse = |contents: &[Vec<u8>], _: Option<&i32>| {
            let text = String::from_utf8_lossy(&contents[0]).into_owned();
            text.parse::<i32>().map_err(|_| FileError::NoToken { path: PathBuf::new() })
        };
        assert!(FromFiles::new("n", vec![dir.path().join("none")], parse).is_err());
        let number = FromFiles::new("n", vec![path.clone()], parse).unwrap();
        let reload = || {
            number.reload();
            *number.get()
        };
        assert_eq!(reload(), 1);
        fs::write(&path, "x").unwrap();
        assert_eq!((reload(), reload()), (1, 1));
        fs::write(&path, "2").unwrap();
        assert_eq!(reload(), 2);
        fs::remove_file(&path).unwrap();
        assert_eq!(reload(), 2);
        fs::write(&path, "3").unwrap();
        assert_eq!(reload(), 3);
    }
}
