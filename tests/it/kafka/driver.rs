//! Kafka's own clients, controlled by the tests: the Rust side of `tests/broker/Driver.java`.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdout, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::broker::{Broker, Release};
use crate::process::{Process, wait_for};

pub(crate) struct Driver {
    process: Process,
    answers: BufReader<ChildStdout>,
    /// Number of log partitions over which brokers hash group ids, if it is not the current one.
    pub(crate) hashed_over: Option<i32>,
    _dir: TempDir,
}

impl Driver {
    pub(crate) fn of(broker: &Broker) -> Self {
        Self::at(broker.release, &broker.bootstrap_servers())
    }

    pub(crate) fn at(release: Release, bootstrap_servers: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let mut command = release.java("Driver");
        command.arg(bootstrap_servers);
        let mut process = Process::spawn("driver", &command, Some(Stdio::piped()), dir.path().join("log"));
        let answers = BufReader::new(process.child().stdout.take().unwrap());
        Self { process, answers, hashed_over: None, _dir: dir }
    }

    /// Sends a command and returns the answer.
    ///
    /// # Errors
    /// The error message of Kafka's client.
    pub(crate) fn try_ask(&mut self, command: &Value) -> Result<Value, String> {
        let stdin = self.process.child().stdin.as_mut().unwrap();
        writeln!(stdin, "{command}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("the driver answered {line:?}: {e}\n{}", self.process.log_tail()));
        match answer.get("error") {
            None => Ok(answer),
            Some(error) => Err(format!("{command}: {error}")),
        }
    }

    pub(crate) fn ask(&mut self, command: &Value) -> Value {
        self.try_ask(command).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Returns everything that AdminClient knows.
    pub(crate) fn state(&mut self) -> Result<Value, String> {
        self.try_ask(&json!({"do": "state", "log_partitions": self.hashed_over.unwrap_or(0)}))
    }

    /// Creates a topic with this number of records in each partition.
    pub(crate) fn topic(&mut self, topic: &str, partitions: i32, records: i32) {
        self.ask(&json!({"do": "create", "topic": topic, "partitions": partitions}));
        self.ask(&json!({"do": "produce", "topic": topic, "records": records}));
    }

    /// Commits an offset as an administrator does.
    pub(crate) fn alter(&mut self, group: &str, topic: &str, partition: i32, offset: i64, metadata: &str) {
        self.ask(&json!({"do": "alter", "group": group, "offsets": [
            {"topic": topic, "partition": partition, "offset": offset, "metadata": metadata}]}));
    }

    /// Commits an offset in a hand-written request, for offsets that Kafka's clients refuse to send.
    pub(crate) fn raw_commit(&mut self, group: &str, topic: &str, partition: i32, offset: i64) {
        self.ask(&json!({"do": "raw_commit", "group": group, "offsets": [
            {"topic": topic, "partition": partition, "offset": offset}]}));
    }

    pub(crate) fn stop(&mut self, name: &str) {
        self.ask(&json!({"do": "stop", "name": name}));
    }

    /// Waits until each of these groups has this number of members, all partitions of its topics are assigned, and all
    /// records are read and committed.
    pub(crate) fn wait_caught_up(&mut self, groups: &[(&str, usize)]) {
        wait_for("the consumers to catch up", Duration::from_secs(90), || {
            let state = self.state()?;
            for (group, members) in groups {
                caught_up(&state, group, *members).map_err(|why| format!("{group}: {why}"))?;
            }
            Ok(())
        });
    }
}

fn caught_up(state: &Value, group_id: &str, members: usize) -> Result<(), String> {
    let group = rows(state, "groups").iter().find(|g| g["group_id"] == group_id).ok_or("no such group")?;
    let assigned: usize = rows(group, "members").iter().map(|m| rows(m, "assignment").len()).sum();
    let offsets = rows(group, "offsets");
    let at_end = |offset: &&Value| {
        rows(state, "partitions").iter().any(|p| {
            p["topic"] == offset["topic"]
                && p["partition"] == offset["partition"]
                && p["log_end_offset"] == offset["committed_offset"]
        })
    };
    let found = (&group["state"], rows(group, "members").len(), offsets.iter().filter(at_end).count());
    if found.0 == "Stable" && found.1 == members && found.2 == assigned && assigned > 0 {
        Ok(())
    } else {
        Err(format!("state, members, partitions at their end of {assigned} assigned: {found:?}"))
    }
}

/// Returns the array in a field; empty if there is none.
pub(crate) fn rows<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}
