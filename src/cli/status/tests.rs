use super::*;

fn status() -> GetStatusResponse {
    let partition = |number, state: &str, position, end_offset| LogPartitionStatus {
        log_partition: number,
        state: state.to_owned(),
        position,
        end_offset,
        records: 10,
        ..LogPartitionStatus::default()
    };
    let cluster = ClusterStatus {
        cluster: "demo".to_owned(),
        progress: Some(0.425),
        phase: "42 % of the log read".to_owned(),
        remaining: Some(prost_types::Duration { seconds: 61, nanos: 5 }),
        log_partitions: vec![
            partition(0, "live", Some(5), Some(8)),
            partition(1, "live", Some(9), Some(8)),
            partition(2, "loading", None, Some(8)),
        ],
        last_error: Some("broker\rdown".to_owned()),
        ..ClusterStatus::default()
    };
    GetStatusResponse {
        awaited: vec!["demo: 42 %".to_owned()],
        clusters: vec![cluster],
        ..GetStatusResponse::default()
    }
}

#[test]
fn a_loading_cluster_shows_its_progress() {
    let mut out = Vec::new();
    write_text(&mut out, &status(), false).unwrap();
    let text = String::from_utf8(out).unwrap();
    for part in [
        "ready:    no\n",
        "awaited:  demo: 42 %\n",
        "no: 42 % of the log read, about 1m 1s left\n",
        "2 live, 1 loading\n",
        "3 records, unknown of 1 partition\n",
        "30 records, 0 tombstones, 0 decode errors, 0 of unknown types\n",
        "broker\\rdown\n",
    ] {
        assert!(text.contains(part), "{part}\nnot in\n{text}");
    }
}

#[test]
fn the_backlog_of_an_unreadable_log_is_unknown_and_an_empty_log_is_reported() {
    let text = |cluster: ClusterStatus| {
        let mut out = Vec::new();
        write_cluster(&mut out, &cluster).unwrap();
        String::from_utf8(out).unwrap()
    };
    let reason = "not authorized to read __consumer_offsets";
    let failing = LogPartitionStatus { state: "failing".to_owned(), ..LogPartitionStatus::default() };
    let refused = text(ClusterStatus {
        reachable: true,
        last_error: Some(reason.to_owned()),
        log_partitions: vec![failing.clone(), failing],
        ..ClusterStatus::default()
    });
    for part in ["2 failing\n", "behind:             unknown\n", reason] {
        assert!(refused.contains(part), "{part}\nnot in\n{refused}");
    }
    assert!(!refused.contains("no group has committed yet"));
    let not_listed = text(ClusterStatus { reachable: true, ..ClusterStatus::default() });
    assert!(
        not_listed.contains("log_partitions:     unknown\n") && not_listed.contains("behind:             unknown\n")
    );
    let fresh = text(ClusterStatus { ready: true, reachable: true, ..ClusterStatus::default() });
    assert!(fresh.contains("0: no group has committed yet\n"), "{fresh}");
}

#[test]
fn the_mode_and_every_source_of_a_cluster_are_shown() {
    let reason = Some("may not read".to_owned());
    let own = SourceStatus {
        source: "kafka".to_owned(),
        mode: Some("admin".to_owned()),
        mode_reason: reason,
        ..<_>::default()
    };
    let (source, kind, state) = ("cache".to_owned(), "redis".to_owned(), "failing".to_owned());
    let (malformed, last_error) = (Some(3), Some("cache: connection refused".to_owned()));
    let cache = SourceStatus { source, kind, state, offsets: 42, malformed, last_error, ..<_>::default() };
    let text = |sources: Vec<SourceStatus>| {
        let (mut out, mut status) = (Vec::new(), status());
        status.clusters[0].sources = sources;
        write_text(&mut out, &status, false).unwrap();
        String::from_utf8(out).unwrap()
    };
    let both = text(vec![own.clone(), cache]);
    assert!(both.contains("admin: may not read\n"), "{both}");
    let words: Vec<&str> = both.lines().last().unwrap().split_whitespace().collect();
    let counts = ["0", "42", "-", "3", "-", "-", "-", "-"];
    assert_eq!(words, [&["cache", "redis", "failing"][..], &counts, &["cache:", "connection", "refused"]].concat());
    assert!(!text(vec![own]).contains("malformed"), "a cluster without other sources has no table of sources");
}

#[test]
fn partitions_are_shown_with_the_option() {
    let mut out = Vec::new();
    write_text(&mut out, &status(), true).unwrap();
    let text = String::from_utf8(out).unwrap();
    let words: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(words, ["2", "loading", "-", "-", "8", "-", "10", "0", "0", "0", "-", "-"]);
}
