//! The server as a process of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::used::Used;
use crate::process::{Process, wait_for};

const LIMIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(2);
/// Longer than the other interval, because each poll uses CPU time of the measured process.
const POLL_READY: Duration = Duration::from_millis(10);

pub(crate) struct Served {
    process: Process,
    _dir: TempDir,
    pub(crate) address: String,
    /// Time since the start of the process.
    pub(crate) listening_after: Duration,
    pub(crate) ready_after: Duration,
    /// Usage at the time of readiness.
    pub(crate) used: Used,
}

pub(crate) fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

impl Served {
    /// Starts the server with additional settings, and waits until it is ready.
    pub(crate) fn start(bootstrap_servers: &str, settings: &[(&str, &str)]) -> Self {
        let started = Instant::now();
        let mut served = Self::launch(bootstrap_servers, settings);
        poll(POLL_READY, || (get(&served.address, "/readyz", |_| ()).0 == 200).then_some(()));
        (served.ready_after, served.used) = (started.elapsed(), served.used());
        served
    }

    /// Starts the server with additional settings, and waits until it listens.
    pub(crate) fn launch(bootstrap_servers: &str, settings: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("address");
        let mut command = Command::new(this_program());
        command.args(["offsetd", "serve", "--listen", "127.0.0.1:0", "--bootstrap-servers", bootstrap_servers]);
        command.arg("--address-file").arg(&file).env("OFFSETD_HISTORY_MAX_BYTES", "1B").envs(settings.iter().copied());
        let started = Instant::now();
        let mut process = Process::spawn("offsetd", &command, None, dir.path().join("log"));
        let pid = process.child().id();
        let address = poll(POLL, || std::fs::read_to_string(&file).ok().filter(|text| text.contains(':')));
        let listening_after = started.elapsed();
        let address = address.trim().to_owned();
        Self { process, _dir: dir, address, listening_after, ready_after: Duration::ZERO, used: Used::of(pid) }
    }

    pub(crate) fn used(&mut self) -> Used {
        Used::of(self.process.child().id())
    }

    pub(crate) fn stop(mut self) {
        self.process.terminate();
        self.process.wait_exit(Duration::from_secs(30));
    }
}

fn poll<T>(every: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "the server does not become ready");
        std::thread::sleep(every);
    }
}

/// Returns status and length of a response; `each` is called with the length so far.
pub(crate) fn get(address: &str, path: &str, mut each: impl FnMut(usize)) -> (u16, usize) {
    let mut stream = wait_for("a connection", LIMIT, || TcpStream::connect(address).map_err(|e| e.to_string()));
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let (mut status, mut length) = (0, 0);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            return (status, length);
        }
        if length == 0 {
            let line = String::from_utf8_lossy(&buffer[..count.min(64)]).into_owned();
            status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        }
        length += count;
        each(length);
    }
}
