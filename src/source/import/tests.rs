use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
};

use super::*;
use crate::{
    clock::Clock,
    config::{Config, Flags, Layers, LoadContext, LoadedConfig},
    source::{self, kafka::Log},
    store::{Store, cut::Settings, latest::Scope},
};

struct Lab {
    dir: tempfile::TempDir,
    writer: SourceWriter,
    stop: CancellationToken,
    reading: Option<std::thread::JoinHandle<()>>,
}

impl Lab {
    /// Starts a source that follows a file with this content.
    fn new(content: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("offsets.ndjson");
        fs::write(&path, content).unwrap();
        let LoadedConfig { mut config, .. } = load(&path.display().to_string());
        let clock = Clock::system();
        let (cluster, _) = Log::open(config.clusters.remove(0), &clock);
        let settings = Settings { window: 1, active_within: 1, commits_kept: 10_000, watch_queue: 16 };
        let store = Arc::new(Store::new(vec![Arc::clone(&cluster)], clock, settings));
        let section = config.sources.remove(0);
        let reader = source::open(&section).unwrap();
        let writer = source::add((&store, &cluster), &section, &reader);
        let mut lab = Self { dir, writer, stop: CancellationToken::new(), reading: None };
        lab.run(reader);
        lab
    }

    fn run(&mut self, reader: source::AnySource) {
        let (writer, stop) = (self.writer.clone(), self.stop.clone());
        self.reading = Some(std::thread::spawn(move || reader.run(writer, &stop).unwrap()));
    }

    /// Restarts the reader, as the supervisor does after a failure.
    fn restart(&mut self) {
        self.stop.cancel();
        self.reading.take().unwrap().join().unwrap();
        self.stop = CancellationToken::new();
        let section = load(&self.path().display().to_string()).config.sources.remove(0);
        self.run(source::open(&section).unwrap());
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("offsets.ndjson")
    }

    fn append(&self, text: &str) {
        OpenOptions::new().append(true).create(true).open(self.path()).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the current content of the file is applied.
    async fn wait_until_read(&self) -> Result<(), SourceError> {
        let source = self.writer.source();
        for (number, revision) in source.latest().required_revisions(&Scope::All).await? {
            source.shard(number).unwrap().wait_applied(revision).await;
        }
        Ok(())
    }

    /// Returns the group and offset of each row.
    fn rows(&self) -> Vec<(String, i64)> {
        let view = self.writer.source().shard(SHARD).unwrap().pin();
        let mut rows = vec![];
        for group in view.groups.iter() {
            rows.extend(group.entries().map(|at| (group.id.to_string(), at.row.committed_offset)));
        }
        rows
    }

    /// Returns the group and offset of each commit since the load; a deletion has no offset.
    fn changes(&self) -> Vec<(String, Option<i64>)> {
        let view = self.writer.source().shard(SHARD).unwrap().pin();
        let mut events: Vec<_> = view.commits.iter().collect();
        events.sort_by_key(|event| event.revision);
        events.iter().map(|event| (event.group.to_string(), event.committed_offset)).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.reading.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

fn load(path: &str) -> LoadedConfig {
    load_section(&format!("file = '{path}'\ninterval = '365days'\n")).unwrap()
}

fn load_section(section: &str) -> Result<LoadedConfig, config::ConfigErrors> {
    let flags = Flags { config: Some("offsetd.toml".into()), ..Flags::default() };
    let cluster = "[clusters.a]\nbootstrap_servers = 'h:1'\ngroups.deny = '^hidden'\n";
    let file = format!("{cluster}[sources.import]\n{section}");
    let context = LoadContext { kinds: &source::kinds(), file: Some(&file), ..LoadContext::default() };
    Config::load_with(Layers { flags: &flags, env: &BTreeMap::new(), check_property: None }, context)
}

#[test]
fn a_source_without_input_and_writes_without_tokens_are_refused() {
    let refused = |section: &str| load_section(section).unwrap_err().to_string();
    let error = refused("interval = '1s'\n");
    assert!(error.contains("sources.import.file: missing; set it to a path, or set `http` to true"), "{error}");
    let error = refused("http = true\n");
    assert!(error.contains("sources.import.http: lets clients write offsets, which needs tokens"), "{error}");
    load_section("http = true\n[server.auth]\ntokens_file = 't'\n").unwrap();
}

fn line(group: &str, offset: i64) -> String {
    format!("{{\"group_id\":\"{group}\",\"topic\":\"t\",\"partition\":0,\"committed_offset\":{offset}}}\n")
}

fn deleted(group: &str) -> String {
    format!("{{\"group_id\":\"{group}\",\"topic\":\"t\",\"partition\":0,\"deleted\":true}}\n")
}

fn row(group: &str, offset: i64) -> (String, i64) {
    (group.to_owned(), offset)
}

#[tokio::test]
async fn initial_lines_are_replayed_and_appended_lines_are_events() {
    let lab = Lab::new(&(line("g", 1) + &line("h", 5) + &line("g", 2) + &line("hidden", 1)));
    lab.wait_until_read().await.unwrap();
    assert!(lab.writer.source().health().ready);
    assert_eq!((lab.rows(), lab.changes()), (vec![row("g", 2), row("h", 5)], vec![]));
    lab.append(&(line("g", 3) + &deleted("h") + &deleted("never")));
    lab.wait_until_read().await.unwrap();
    assert_eq!(lab.rows(), [row("g", 3)]);
    assert_eq!(lab.changes(), [("g".to_owned(), Some(3)), ("h".to_owned(), None)]);
}

#[tokio::test]
async fn a_replaced_or_truncated_file_deletes_no_rows() {
    let lab = Lab::new(&(line("g", 1) + &line("h", 5)));
    lab.wait_until_read().await.unwrap();
    fs::rename(lab.path(), lab.dir.path().join("old")).unwrap();
    lab.append(&line("g", 2));
    lab.wait_until_read().await.unwrap();
    assert_eq!((lab.rows(), lab.changes()), (vec![row("g", 2), row("h", 5)], vec![("g".to_owned(), Some(2))]));
    fs::write(lab.path(), line("i", 1)).unwrap();
    lab.wait_until_read().await.unwrap();
    assert_eq!(lab.rows(), [row("g", 2), row("h", 5), row("i", 1)]);
}

#[tokio::test]
async fn rejected_lines_are_counted_and_the_last_is_named_by_number() {
    let lab = Lab::new(&(line("g", 1) + "{\"password\":\"hunter2\"\n\n" + &line("h", 2) + "[]\n"));
    lab.wait_until_read().await.unwrap();
    let reading = lab.writer.source().last_read().unwrap();
    assert_eq!((reading.entries, reading.malformed), (2, 2));
    assert_eq!(reading.last_rejected.as_deref(), Some("line 5: not a JSON object (column 1)"));
    fs::write(lab.path(), line("g", 3)).unwrap();
    lab.wait_until_read().await.unwrap();
    let reading = lab.writer.source().last_read().unwrap();
    assert_eq!((reading.malformed, reading.last_rejected.as_deref()), (0, None), "the counters restart with each file");
}

#[tokio::test]
async fn rows_of_a_missing_file_stay_stale_with_the_reason() {
    let lab = Lab::new(&line("g", 1));
    lab.wait_until_read().await.unwrap();
    fs::remove_file(lab.path()).unwrap();
    let error = lab.wait_until_read().await.unwrap_err();
    let health = lab.writer.source().health();
    assert_eq!(health.last_error, Some(format!("import: {error}")));
    assert!(error.to_string().contains("cannot be read: No such file"), "{error}");
    assert!(health.ready && !health.reachable && health.stale_since.is_some());
    assert_eq!(lab.rows(), [row("g", 1)]);
    lab.append(&line("g", 2));
    lab.wait_until_read().await.unwrap();
    let health = lab.writer.source().health();
    assert_eq!((health.last_error.as_deref(), health.stale_since, lab.rows()), (None, None, vec![row("g", 2)]));
}

#[tokio::test]
async fn a_restarted_source_repeats_and_loses_no_events() {
    let mut lab = Lab::new(&line("g", 1));
    lab.wait_until_read().await.unwrap();
    lab.append(&line("g", 2));
    lab.wait_until_read().await.unwrap();
    let changes = lab.changes();
    lab.restart();
    lab.append(&deleted("g"));
    // Until the new reader runs, requests fail.
    while lab.wait_until_read().await.is_err() {
        tokio::task::yield_now().await;
    }
    lab.append(&line("h", 4));
    lab.wait_until_read().await.unwrap();
    assert_eq!(lab.rows(), [row("h", 4)]);
    assert_eq!(lab.changes()[..changes.len()], changes);
    let since: Vec<_> = lab.changes().split_off(changes.len());
    assert!(since.ends_with(&[("h".to_owned(), Some(4))]) && !since.contains(&("g".to_owned(), Some(1))), "{since:?}");
}
