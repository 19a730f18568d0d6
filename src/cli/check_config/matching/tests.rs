// The examples are of sources of the kinds hbase, redis and zookeeper.
#![cfg(all(feature = "store-hbase", feature = "store-redis", feature = "store-zookeeper"))]

use std::collections::BTreeMap;

use super::super::{CheckConfigArgs, run};
use crate::cli::{Failure, serve::ClusterArgs};

const FILE: &str = "\
[clusters.east]
bootstrap_servers = '127.0.0.1:1'
[sources.strings]
kind = 'redis'
url = 'redis://127.0.0.1:1/0'
key = 'offset:{topic}:{partition}:{group}'
[sources.hashes]
kind = 'redis'
url = 'redis://127.0.0.1:1/0'
key = '{group}-{topic}'
offset_is = 'last'
[sources.cells]
kind = 'hbase'
servers = '127.0.0.1:1'
table = 't'
layout = 'cloudera'
[sources.file]
kind = 'import'
file = '/nowhere/offsets.ndjson'
[sources.znodes]
kind = 'zookeeper'
servers = 'zk:2181/kafka'
layout = 'consumers'
";

fn explain(texts: &[&str]) -> (String, Option<Failure>) {
    explain_in(FILE, texts)
}

fn explain_in(file: &str, texts: &[&str]) -> (String, Option<Failure>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("offsetd.toml");
    std::fs::write(&path, file).unwrap();
    let args = CheckConfigArgs {
        config: ClusterArgs { config: Some(path), ..ClusterArgs::default() },
        example: false,
        matches: texts.iter().map(|text| (*text).to_owned()).collect(),
    };
    let mut out = vec![];
    let failure = run(&args, &BTreeMap::new(), &mut out).err();
    (String::from_utf8(out).unwrap(), failure)
}

#[test]
fn the_parts_of_a_path_are_shown() {
    let (text, failure) = explain(&["znodes", "/consumers/billing/offsets/orders/3", "42"]);
    assert!(failure.is_none(), "{failure:?}");
    for line in ["  group: billing\n", "  → group billing, topic orders, partition 3, committed_offset 42\n"] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    let (text, failure) = explain(&["znodes", "/kafka/consumers/billing/offsets/orders/3"]);
    assert!(failure.is_some() && text.contains("does not match"), "{text}");
}

#[test]
fn the_parts_of_a_key_and_the_offset_of_its_value_are_shown() {
    let (text, failure) = explain(&["strings", "offset:orders:3:billing", "42"]);
    assert!(failure.is_none(), "{failure:?}");
    for line in [
        "offset:orders:3:billing\n",
        "  group: billing\n",
        "  topic: orders\n",
        "  partition: 3\n",
        "  → group billing, topic orders, partition 3, committed_offset 42\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
}

#[test]
fn the_row_and_the_column_of_a_cell_are_taken_apart() {
    let (text, failure) = explain(&["cells", "orders:billing:1490000000000", "offsets:3", "42"]);
    assert!(failure.is_none(), "{failure:?}");
    for line in [
        "  batch: 1490000000000\n",
        "offsets:3\n  partition: 3\n",
        "  → group billing, topic orders, partition 3, committed_offset 42\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
}

#[test]
fn a_key_with_several_readings_names_the_topics_that_decide() {
    let (text, failure) = explain(&["hashes", "a-b-c", "7", "99"]);
    assert!(failure.is_none(), "{failure:?}");
    assert!(text.contains("decides, else the longest: b-c, c\n"), "{text}");
    assert!(text.contains("  partition: 7\n") && text.contains("  offsets: 1\n"), "{text}");
}

#[test]
fn what_does_not_match_fails_with_the_text_that_is_at_fault() {
    let (text, failure) = explain(&["strings", "offsets:orders"]);
    assert!(text.contains("offsets:orders\n  does not match\n"), "{text}");
    assert_eq!(failure.map(|failure| failure.code()), Some(1));
    let (text, failure) = explain(&["strings", "offset:orders:3:billing", "-1"]);
    assert!(text.ends_with("-1\n  does not match\n"), "{text}");
    assert_eq!(failure.map(|failure| failure.code()), Some(1));
}

#[test]
fn a_source_without_layout_or_a_wrong_number_of_texts_is_a_usage_error() {
    for (texts, part) in [
        (&["nowhere", "key"][..], "the configuration has: cells, file, hashes, strings, znodes"),
        (&["file", "key"], "has no layout"),
        (&["hashes", "a-b"], "a key, a field and"),
        (&["strings", "a", "b", "c"], "a key and"),
    ] {
        let (_, failure) = explain(texts);
        let failure = failure.unwrap();
        assert_eq!(failure.code(), 64, "{failure}");
        assert!(failure.to_string().contains(part), "{failure}");
    }
}

#[cfg(feature = "store-spark")]
#[test]
fn the_url_of_a_checkpoint_gives_the_group_and_the_line_of_a_source_the_offsets() {
    let file = format!("{FILE}[sources.spark]\ncheckpoints = 's3://lake/cp/{{group}}/state'\n");
    let (text, failure) = explain_in(&file, &["spark", "s3://lake/cp/billing/state", r#"{"orders":{"3":42}}"#]);
    assert!(failure.is_none(), "{failure:?}");
    let line = "  → group billing, topic orders, partition 3, committed_offset 42\n";
    assert!(text.contains("  group: billing\n") && text.contains(line), "{text}");
    let (text, failure) = explain_in(&file, &["spark", "s3://lake/cp/billing"]);
    assert!(failure.is_some() && text.contains("does not match"), "{text}");
}
