//! Stores of the tests that are run by a program of the tests, which also fills them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;

use crate::process::Process;

/// A store, and the program that runs it and takes commands.
pub(crate) struct Helper {
    process: Process,
    answers: BufReader<ChildStdout>,
    _folder: TempDir,
}

impl Helper {
    /// Starts the program; returns once the store is ready.
    pub(crate) fn start(name: &str, command: Command) -> Self {
        let folder = TempDir::new().unwrap();
        let mut process = Process::spawn(name, &command, Some(Stdio::piped()), folder.path().join("log"));
        let answers = BufReader::new(process.child().stdout.take().unwrap());
        let mut helper = Self { process, answers, _folder: folder };
        helper.wait("start");
        helper
    }

    /// Runs a command.
    pub(crate) fn ask(&mut self, command: &str) {
        let stdin = self.process.child().stdin.as_mut().unwrap();
        writeln!(stdin, "{command}").unwrap();
        self.wait(command);
    }

    /// Kills the store with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    fn wait(&mut self, command: &str) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ok", "{command}\n{}", self.process.log_tail());
    }
}

/// Returns the folder of the prepared stores. It lies in cargo's target folder, which is derived from `OUT_DIR`
/// (`TARGET/PROFILE/build/PACKAGE/out`).
pub(crate) fn stores_dir() -> PathBuf {
    let target = Path::new(env!("OUT_DIR")).ancestors().nth(4);
    target.expect("OUT_DIR lies in cargo's target folder").join("stores")
}

/// Fetches what a store needs, if it is missing.
pub(crate) fn prepare(store: &str) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores").join(store).join("prepare");
    let out = Command::new(&script).env("STORES_DIR", stores_dir()).output();
    let out = out.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
