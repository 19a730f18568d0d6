//! Child processes of the tests: their output is written to a file, they end with the test, and their last lines are
//! printed when the test fails. This is also the only module in which tests wait.
#![allow(clippy::disallowed_methods, reason = "deadlines of tests are real time")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(50);
/// Runs a command without the descriptors that it would inherit. The servers of tests leave those of their Kafka clients
/// open, thousands in all, and PostgreSQL does not run with a descriptor above 1,023.
const WITHOUT_INHERITED: &str =
    r#"for at in /proc/self/fd/*; do at=${at##*/}; ((at < 3)) || eval "exec $at>&-"; done; exec "$@""#;

/// Calls `probe` until it returns `Ok`.
///
/// # Panics
/// After `limit`, with the last `Err`.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match probe() {
            Ok(answer) => return answer,
            Err(why) if Instant::now() > deadline => {
                panic!("waited {} s for {what}: {why}", limit.as_secs())
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command with a piped stdin. Its stderr, and its stdout unless `stdout` is given, are appended to
    /// `log`.
    pub(crate) fn spawn(name: &str, command: &Command, stdout: Option<Stdio>, log: PathBuf) -> Self {
        let open = || File::options().create(true).append(true).open(&log).unwrap();
        let child = without_inherited(command)
            .stdin(Stdio::piped())
            .stdout(stdout.unwrap_or_else(|| open().into()))
            .stderr(open())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        Self { name: name.to_owned(), child, log }
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Returns its peak resident memory in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Resets the peak memory to the current one.
    pub(crate) fn reset_peak_memory(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// Returns an error with the end of the log if the process has ended.
    pub(crate) fn check_alive(&mut self) -> Result<(), String> {
        match self.child.try_wait().unwrap() {
            None => Ok(()),
            Some(status) => Err(format!("{} ended with {status}\n{}", self.name, self.log_tail())),
        }
    }

    /// Returns the names of its threads.
    pub(crate) fn threads(&self) -> Vec<String> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        // A thread may end meanwhile.
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok()).collect()
    }

    /// Requests a clean stop with SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &script]).status().unwrap();
        assert!(status.success(), "cannot signal {}", self.name);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        drop(self.child.stdin.take());
        let what = format!("the end of {}", self.name);
        wait_for(&what, limit, || match self.child.try_wait().unwrap() {
            Some(status) => Ok(status),
            None => Err(format!("still running\n{}", tail(&self.log))),
        })
    }

    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- last output of {}:\n{}", self.name, self.log_tail());
        }
        // Fails only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a command that runs `command` without inherited descriptors.
fn without_inherited(command: &Command) -> Command {
    let mut outer = Command::new("bash");
    outer.args(["-c", WITHOUT_INHERITED, "bash"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    outer
}

fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
