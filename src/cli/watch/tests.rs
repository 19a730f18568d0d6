use serde_json::Value;

use super::*;
use crate::rpc::proto::OffsetEntry;
use crate::rpc::proto::ShardPosition;

const NOW: &str = "2026-01-02T03:04:05.006Z";

fn entry(offset: i64) -> Option<OffsetEntry> {
    Some(OffsetEntry {
        cluster: "demo".to_owned(),
        group_id: "g\u{1b}[0m".to_owned(),
        topic: "t".to_owned(),
        partition: 3,
        committed_offset: offset,
        committed_at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        ..OffsetEntry::default()
    })
}

fn change(old: Option<OffsetEntry>, new: Option<OffsetEntry>, current: bool) -> OffsetChange {
    let position = ShardPosition { log_partition: 7, sequence: 9, ..ShardPosition::default() };
    OffsetChange { position: Some(position), old, new, current }
}

fn message() -> WatchResponse {
    WatchResponse {
        changes: vec![
            change(None, entry(5), true),
            change(entry(100), entry(150), false),
            change(entry(150), entry(20), false),
            change(None, entry(1), false),
            change(entry(1), None, false),
        ],
        resync: Some(Resync { position: None, missed: Some(2), full: false }),
        current_complete: true,
        status_changes: vec![],
    }
}

fn written(style: OutputFormat, clusters: bool) -> String {
    let mut out = Vec::new();
    ChangeWriter { style, shows_cluster: clusters }.write(&mut out, &message(), NOW).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn every_change_is_a_line() {
    let expected = "\
2026-01-02T03:04:05.006Z  -- resync: 2 changes missed; the current offsets of their keys follow
2023-11-14T22:13:20Z  g\\u{1b}[0m  t-3  5 (current)
2023-11-14T22:13:20Z  g\\u{1b}[0m  t-3  100 → 150 (+50)
2023-11-14T22:13:20Z  g\\u{1b}[0m  t-3  150 → 20 (-130)
2023-11-14T22:13:20Z  g\\u{1b}[0m  t-3  1 (new)
2026-01-02T03:04:05.006Z  g\\u{1b}[0m  t-3  1 → deleted
2026-01-02T03:04:05.006Z  -- end of the current offsets; changes follow
";
    assert_eq!(written(OutputFormat::Text, false), expected);
    assert!(written(OutputFormat::Text, true).contains("Z  demo  g"));
}

#[test]
fn every_change_is_an_object() {
    let lines: Vec<Value> =
        written(OutputFormat::Json, false).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], json!({"resync": {"position": null, "missed": 2, "full": false}}));
    let offset = |line: &Value, which: &str| line[which]["committed_offset"].as_i64();
    let offsets: Vec<_> = lines[1..6].iter().map(|line| (offset(line, "old"), offset(line, "new"))).collect();
    let expected = [(None, Some(5)), (Some(100), Some(150)), (Some(150), Some(20)), (None, Some(1)), (Some(1), None)];
    assert_eq!(offsets, expected);
    assert_eq!((&lines[1]["current"], &lines[2]["position"]["sequence"]), (&json!(true), &json!(9)));
    assert_eq!(lines[6], json!({"current_complete": true}));
}
