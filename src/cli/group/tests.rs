use serde_json::json;

use super::*;

fn args() -> GroupArgs {
    let (topic, cluster, server) = Default::default();
    GroupArgs {
        group: "orders\u{7}".to_owned(),
        topic,
        cluster,
        latest: false,
        wide: false,
        format: OutputFormat::Text,
        server,
    }
}

fn rows() -> Vec<GroupRow> {
    let group = GroupRow {
        cluster: "demo".to_owned(),
        source: "kafka".to_owned(),
        kind: Some("classic".to_owned()),
        state: Some("Stable".to_owned()),
        members: Some(1),
        coordinator: Some(2),
        status: Some("stalled".to_owned()),
        ..GroupRow::default()
    };
    let of = |topic: &str, partition| GroupRow {
        cluster: "demo".to_owned(),
        source: "kafka".to_owned(),
        topic: Some(topic.to_owned()),
        partition: Some(partition),
        ..GroupRow::default()
    };
    let behind = GroupRow {
        committed_offset: Some(json!("9007199254740993")),
        log_end_offset: Some(json!("9007199254740999")),
        lag: Some(json!(6)),
        lag_seconds: Some(1.25),
        status: Some("stalled".to_owned()),
        member_id: Some("consumer-1-6f1e0b5c-0f0e-4f5a-9c53-3a1d1a0f0f0f".to_owned()),
        client_id: Some("consumer-1".to_owned()),
        client_host: Some("/10.0.0.1".to_owned()),
        ..of("events", 0)
    };
    let unknown =
        GroupRow { committed_offset: Some(json!(3)), lag_unknown: Some("topic_deleted".to_owned()), ..of("gone", 1) };
    vec![group, behind, of("events", 1), unknown]
}

fn shown(layout: TableLayout) -> String {
    let mut out = vec![];
    write_text(&mut out, &args(), &rows(), layout).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_group_is_shown_with_each_partition_its_lag_and_its_owner() {
    let text = shown(TableLayout::default());
    let words = |line: usize| text.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>();
    assert!(
        text.starts_with(
            "orders\\u{7} on cluster demo\nclassic group, Stable, 1 member, coordinator 2, status stalled\n"
        )
    );
    assert_eq!(words(5)[..7], ["events", "0", "9007199254740993", "9007199254740999", "6", "1.2", "stalled"]);
    assert_eq!(words(6), ["events", "1", "-", "-", "-", "-", "-", "-", "-", "-"]);
    assert!(words(7).contains(&"(topic_deleted)"), "{text}");
    assert_eq!(text.lines().last(), Some("(3 partitions of 2 topics, lag ≥6)"));
}

#[test]
fn a_narrow_terminal_loses_columns_and_no_lag() {
    for width in [80, 100] {
        let text = shown(TableLayout { width: Some(width), ..TableLayout::default() });
        assert!(text.lines().all(|line| super::super::text::width(line) <= width), "{text}");
        assert!(text.contains("committed_offset") && text.contains("stalled") && !text.contains("member_id"), "{text}");
    }
    assert!(
        shown(TableLayout { width: Some(80), expanded: Expanded::Off, ..TableLayout::default() }).contains("member_id")
    );
}

#[test]
fn the_status_is_coloured_on_a_terminal() {
    let text = shown(TableLayout { colour: true, ..TableLayout::default() });
    assert!(text.contains("\u{1b}[31mstalled\u{1b}[0m"), "{text}");
    assert!(!shown(TableLayout::default()).contains('\u{1b}'));
}

#[test]
fn the_json_of_a_group_lists_partitions_separately() {
    let json = to_json(&args(), &rows());
    assert_eq!(json["groups"][0]["state"], "Stable");
    assert_eq!((json["partitions"].as_array().unwrap().len(), &json["partitions"][0]["lag"]), (3, &json!(6)));
}
