//! The tested binary as a process, queried over HTTP as a user would.

use std::fs;
use std::io::Read as _;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, wait_for};

/// Generous, for a debug build next to a broker on two cores.
const LIMIT: Duration = Duration::from_secs(90);

pub(crate) struct Server {
    process: Process,
    http: ureq::Agent,
    address: String,
    _dir: TempDir,
}

/// Status and body of a response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

fn unpacked(mut answer: ureq::http::Response<ureq::Body>) -> Answer {
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let mut body = String::new();
    flate2::read::GzDecoder::new(answer.body_mut().as_reader()).read_to_string(&mut body).unwrap();
    Answer { status: answer.status().as_u16(), body }
}

impl Server {
    /// Runs `offsetd ARGS… --listen 127.0.0.1:0 --address-file …` and waits until it accepts connections.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offsetd"));
        command.args(args);
        Self::launch(command)
    }

    /// Runs a command that takes further arguments of offsetd, and waits until it accepts connections.
    pub(crate) fn launch(mut command: Command) -> Self {
        let dir = TempDir::new().unwrap();
        let address_file = dir.path().join("address");
        command.args(["--listen", "127.0.0.1:0", "--address-file"]).arg(&address_file);
        let mut process = Process::spawn("offsetd", &command, None, dir.path().join("log"));
        let address = wait_for("offsetd's address", LIMIT, || {
            process.check_alive().unwrap();
            match fs::read_to_string(&address_file) {
                Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
                other => Err(format!("{other:?}")),
            }
        });
        let http =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(LIMIT)).build().new_agent();
        Self { process, http, address, _dir: dir }
    }

    /// Starts `serve` on one cluster, and waits until it has loaded.
    pub(crate) fn serve(bootstrap_servers: &str) -> Self {
        let mut server = Self::start(&["serve", "--bootstrap-servers", bootstrap_servers]);
        server.wait_ready();
        server
    }

    /// Returns `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        let answer = self.http.get(format!("http://{}{path}", self.address())).call();
        Answer::read(answer)
    }

    /// Requests a page with gzip encoding; returns the decompressed body.
    pub(crate) fn get_packed(&self, path: &str) -> Answer {
        let request = self.http.get(format!("http://{}{path}", self.address())).header("accept-encoding", "gzip");
        unpacked(request.call().unwrap())
    }

    pub(crate) fn post_packed(&self, path: &str, accept: &str, body: &str) -> Answer {
        let request = self.http.post(format!("http://{}{path}", self.address()));
        unpacked(request.header("accept", accept).header("accept-encoding", "gzip").send(body).unwrap())
    }

    pub(crate) fn post(&self, path: &str, accept: &str, body: &str) -> Answer {
        let request = self.http.post(format!("http://{}{path}", self.address()));
        Answer::read(request.header("accept", accept).send(body))
    }

    pub(crate) fn wait_ready(&mut self) {
        wait_for("/readyz to return 200", LIMIT, || {
            self.process.check_alive().unwrap();
            let answer = self.get("/readyz");
            if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }

    /// Returns the rows of a statement as JSON objects.
    ///
    /// # Errors
    /// The server's error message.
    pub(crate) fn try_sql(&self, statement: &str) -> Result<Vec<Value>, String> {
        let request = self.http.post(format!("http://{}/v1/sql", self.address()));
        let answer = Answer::read(request.header("accept", "application/json").send(statement));
        let rows = serde_json::from_str(&answer.body);
        match rows {
            Ok(rows) if answer.status == 200 => Ok(rows),
            _ => Err(format!("{statement}\n{answer:?}")),
        }
    }

    pub(crate) fn sql(&self, statement: &str) -> Vec<Value> {
        self.try_sql(statement).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Returns the only value of the only row.
    pub(crate) fn sql_value(&self, statement: &str) -> Value {
        let rows = self.sql(statement);
        match rows.as_slice() {
            [Value::Object(row)] if row.len() == 1 => row.values().next().cloned().unwrap(),
            _ => panic!("not one value: {statement}\n{rows:?}"),
        }
    }

    /// Returns the names of its threads.
    pub(crate) fn threads(&self) -> Vec<String> {
        self.process.threads()
    }

    /// Returns the end of its log.
    pub(crate) fn log(&self) -> String {
        self.process.log_tail()
    }

    /// Returns its peak resident memory in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.process.peak_memory()
    }

    /// Resets the peak memory to the current one.
    pub(crate) fn reset_peak_memory(&self) {
        self.process.reset_peak_memory();
    }

    /// Suspends the process until [`Server::resume`].
    pub(crate) fn pause(&self) {
        self.process.signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.process.signal("CONT");
    }

    /// Sends a signal, such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits until the process has ended.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        self.process.wait_exit(LIMIT)
    }

    /// Stops it with SIGTERM, as an operator would.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.process.terminate();
        self.process.wait_exit(LIMIT)
    }

    /// Stops it, and asserts that the stop was clean.
    pub(crate) fn stop_cleanly(self) {
        let status = self.stop();
        assert_eq!(status.code(), Some(0), "exit status after SIGTERM");
    }
}

impl Answer {
    fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Self {
        let mut answer = answer.unwrap_or_else(|e| panic!("no answer from offsetd: {e}"));
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(64 << 20).read_to_string();
        // A response that fails in the middle has no regular end.
        let body = body.unwrap_or_else(|error| format!("broken off: {error}"));
        Self { status, body }
    }
}
