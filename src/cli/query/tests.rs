use super::*;
use crate::rpc::proto::{LagUnknown, Owner, Snapshot};

fn text(entry: OffsetEntry, style: OutputFormat) -> String {
    let mut out = Vec::new();
    let answer =
        QueryResponse { entry: Some(entry), snapshot: Some(Snapshot { id: "s1".to_owned(), ..Snapshot::default() }) };
    show(&mut out, style, &answer, |out| write(out, &answer)).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn known_fields_are_aligned() {
    let entry = OffsetEntry {
        cluster: "demo".to_owned(),
        group_id: "a\nb".to_owned(),
        topic: "t".to_owned(),
        partition: 3,
        committed_offset: 42,
        lag: Some(0),
        lag_seconds: Some(0.25),
        owner: Some(Owner {
            client_id: "c".to_owned(),
            client_host: "/h".to_owned(),
            member_id: "m".to_owned(),
            ..Owner::default()
        }),
        ..OffsetEntry::default()
    };
    let expected = "\
cluster:           demo
group_id:          a\\nb
topic:             t
partition:         3
committed_offset:  42
lag:               0
lag_seconds:       0.2
owner:             c on /h (member m)
";
    assert_eq!(text(entry, OutputFormat::Text), expected);
}

#[test]
fn an_unknown_lag_has_a_reason() {
    let entry = OffsetEntry { lag_unknown: LagUnknown::AheadOfLog.into(), ..OffsetEntry::default() };
    assert!(text(entry.clone(), OutputFormat::Text).contains("unknown (ahead_of_log)"));
    let json: serde_json::Value = serde_json::from_str(&text(entry, OutputFormat::Json)).unwrap();
    assert_eq!((&json["lag"], &json["snapshot"]["id"]), (&serde_json::Value::Null, &serde_json::json!("s1")));
}
