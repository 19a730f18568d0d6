//! Something that is made of files, and made anew when they change: orchestrators replace the files of secrets and
//! certificates under a running server.

use std::{fs, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// What stands for a secret where it is only to be recognised.
pub(super) type Digest = [u8; 32];

/// Makes the thing of what the files hold, in their order, and of the former one; or says why not. Must quote nothing: the
/// files are secrets.
type Make<T> = Box<dyn Fn(&[Vec<u8>], Option<&T>) -> Result<T, String> + Send + Sync>;

/// See the module.
pub(super) struct FromFiles<T> {
    what: &'static str,
    paths: Vec<PathBuf>,
    make: Make<T>,
    made: ArcSwap<T>,
    last: Mutex<Last>,
}

/// What the last look found.
struct Last {
    /// Of the files that the thing is made of.
    digests: Vec<Digest>,
    /// Looks since then that could not make it.
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
        make: impl Fn(&[Vec<u8>], Option<&T>) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let contents = read(&paths)?;
        let made = ArcSwap::from_pointee(make(&contents, None)?);
        let last = Mutex::new(Last { digests: digests(&contents), failed: 0 });
        Ok(Self { what, paths, make: Box::new(make), made, last })
    }

    pub(super) fn get(&self) -> Arc<T> {
        self.made.load_full()
    }

    /// Reads the files again. What cannot be read leaves the former in force.
    pub(super) fn look(&self) {
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
                    tracing::info!(what = self.what, "read anew");
                }
                *last = Last { digests, failed: 0 };
            }
            Err(error) => {
                last.failed = last.failed.saturating_add(1);
                // Once; and not at the first look, which may see files half written.
                if last.failed == 2 {
                    tracing::warn!(what = self.what, error, "cannot be read anew; the former go on");
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

fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let read = |path: &PathBuf| fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    paths.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_leaves_the_former_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("number");
        fs::write(&path, "1").unwrap();
        let parse = |contents: &[Vec<u8>], _: Option<&i32>| {
            let text = String::from_utf8_lossy(&contents[0]).into_owned();
            text.parse::<i32>().map_err(|error| error.to_string())
        };
        assert!(FromFiles::new("n", vec![dir.path().join("none")], parse).is_err());
        let number = FromFiles::new("n", vec![path.clone()], parse).unwrap();
        let look = || {
            number.look();
            *number.get()
        };
        assert_eq!(look(), 1);
        fs::write(&path, "x").unwrap();
        assert_eq!((look(), look()), (1, 1));
        fs::write(&path, "2").unwrap();
        assert_eq!(look(), 2);
        fs::remove_file(&path).unwrap();
        assert_eq!(look(), 2);
        fs::write(&path, "3").unwrap();
        assert_eq!(look(), 3);
    }
}
