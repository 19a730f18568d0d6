use proptest::prelude::*;

use super::*;

mod golden;

const NO_TOPICS: Topics<'static> = Some(&|_| false);

fn template(template: &str) -> Template {
    Template::parse(template).unwrap()
}

fn read(template: &str, text: &str) -> Option<(Option<String>, Option<String>, Option<i32>)> {
    let parts = Template::parse(template).unwrap().read(text, NO_TOPICS).ok()?;
    Some((parts.group, parts.topic, parts.partition))
}

#[test]
fn an_incomplete_or_ambiguous_layout_is_refused_with_the_reason() {
    let refused = |template: &str| Template::parse(template).unwrap_err().to_string();
    assert_eq!(
        refused("offset:{topics}"),
        "unknown placeholder {topics}; allowed: {group} {topic} {partition} {offset} {batch} {at_ms} {at_s} {at} {metadata} {*}"
    );
    assert_eq!(refused("offset:{topic"), "unbalanced brace in \"offset:{topic\"; write {{ or }} for a literal brace");
    assert_eq!(refused("offset:}"), "unbalanced brace in \"offset:}\"; write {{ or }} for a literal brace");
    assert_eq!(
        refused("{topic}{group}"),
        "{topic} and {group} are adjacent, so the end of the first is unknown; put a separator between them"
    );

    let layout = |names: &[&str], value: &str, fixed: FixedParts| {
        let names = names.iter().map(|name| template(name)).collect();
        Layout::new(names, Value::parse(value, None).unwrap(), fixed).unwrap_err().to_string()
    };
    assert_eq!(
        layout(&["{topic}:{group}"], "text", FixedParts::default()),
        "{partition} is missing; add it to a template"
    );
    assert_eq!(
        layout(&["{topic}:{partition}"], "text", FixedParts::default()),
        "{group} is missing; add it to a template, or set it to a fixed value"
    );
    let fixed = FixedParts { group: Some("g".into()), ..FixedParts::default() };
    assert_eq!(layout(&["{topic}:{group}", "{partition}"], "text", fixed), "{group} is given twice; remove one");
    assert_eq!(
        layout(&["{topic}:{group}", "{topic}-{partition}"], "text", FixedParts::default()),
        "{topic} is given twice; remove one"
    );

    let value = |value: &str, list: Option<&str>| Value::parse(value, list).unwrap_err();
    assert_eq!(value(r#"{"offset":5}"#, None), LayoutError::NoPlaceholder);
    assert_eq!(value(r#"["{offset}","{partition}"]"#, None), LayoutError::SeveralLists);
    assert_eq!(value(r#"{"a":["{offset}"],"b":{"{partition}":"{*}"}}"#, None), LayoutError::SeveralLists);
    assert_eq!(value("int64", Some(",")), LayoutError::ListOfNonText);
    assert_eq!(value(r#"["{offset}"]"#, Some(",")), LayoutError::ListOfNonText);
    assert_eq!(value("{partition}:{offset}", Some("")), LayoutError::NoSeparator);
}

#[test]
fn the_whole_text_must_match() {
    let some = |group: &str, topic: &str| Some((Some(group.to_owned()), Some(topic.to_owned()), None));
    assert_eq!(read("offset:{topic}:{group}", "offset:orders:billing"), some("billing", "orders"));
    assert_eq!(read("offset:{topic}:{group}", "offset:orders:a:b"), some("a:b", "orders"));
    assert_eq!(read("offset:{topic}:{group}", "xoffset:orders:billing"), None);
    assert_eq!(read("offset:{topic}:{group}", "offset:orders:"), None);
    assert_eq!(read("offset:{topic}:{group}", "offset:or ders:billing"), None);
    assert_eq!(read("offset:{topic}:{group}", "offset:orders:bil\nling"), None);
    assert_eq!(read("{{{topic}}}:{group}", "{orders}:billing"), some("billing", "orders"));
}

#[test]
fn a_placeholder_in_a_path_matches_one_name() {
    let path = Template::parse_path("/consumers/{group}/offsets/{topic}/{partition}").unwrap();
    assert_eq!(path.prefix(), "/consumers/");
    let parts = path.read("/consumers/g 1/offsets/t.x/7", NO_TOPICS).unwrap();
    assert_eq!((parts.group.as_deref(), parts.topic.as_deref(), parts.partition), (Some("g 1"), Some("t.x"), Some(7)));
    assert_eq!(path.read("/consumers/g/h/offsets/t/7", NO_TOPICS), Err(Mismatch::NoMatch));
    assert_eq!(path.read("/consumers/g/offsets/t", NO_TOPICS), Err(Mismatch::NoMatch));
}

#[test]
fn partitions_and_offsets_outside_of_kafkas_range_do_not_match() {
    for text in ["", "-1", "1.5e3", "2147483648", "99999999999999999999", "\u{660}", "0x1", "１", " 1"] {
        assert_eq!(template("{partition}").read(text, NO_TOPICS), Err(Mismatch::NoMatch), "{text:?}");
    }
    let value = Value::parse("text", None).unwrap();
    for text in ["", "null", "-1", "1.5e3", "9223372036854775808", "1\u{0}", "\"1\"", "1 2"] {
        assert_eq!(value.read(text.as_bytes(), NO_TOPICS), [Err(Mismatch::NoMatch)], "{text:?}");
    }
    assert_eq!(
        value.read("7".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>().as_slice(), NO_TOPICS),
        [Err(Mismatch::NoMatch)]
    );
    let offset = |offset| [Ok(OffsetParts { offset: Some(offset), ..OffsetParts::default() })];
    assert_eq!(value.read(b" 9223372036854775807\r\n", NO_TOPICS), offset(i64::MAX));
    let eight = Value::parse("int64", None).unwrap();
    assert_eq!(eight.read(&[0, 0, 0, 0, 0, 0, 1, 2], NO_TOPICS), offset(258));
    assert_eq!(eight.read(&[255; 8], NO_TOPICS), [Err(Mismatch::NoMatch)]);
    assert_eq!(eight.read(b"258", NO_TOPICS), [Err(Mismatch::NoMatch)]);
    assert_eq!(Value::parse("int32", None).unwrap().read(&[0, 0, 1, 2], NO_TOPICS), offset(258));
}

#[test]
fn the_glob_pattern_covers_the_template() {
    assert_eq!(template("offset:{topic}:{group}").glob(), "offset:*:*");
    assert_eq!(template("a*[{topic}]").glob(), r"a\*\[*\]");
}

#[test]
fn times_are_read_in_all_three_forms() {
    let at = |text: &str, value: &str| template(text).read(value, NO_TOPICS).ok().and_then(|parts| parts.at);
    assert_eq!(at("{at_ms}", "1700000000123"), Some(1_700_000_000_123));
    assert_eq!(at("{at_s}", "1700000000"), Some(1_700_000_000_000));
    assert_eq!(at("{at}", "2023-11-14T22:13:20.5Z"), Some(1_700_000_000_500));
    assert_eq!(at("{at}", "2023-11-14T23:13:20+01:00"), Some(1_700_000_000_000));
    assert_eq!(at("{at}", "yesterday"), None);
    assert_eq!(at("{at_s}", "9223372036854775807"), None);
}

#[test]
fn topics_of_the_cluster_resolve_ambiguous_texts() {
    let chosen = |text: &str, topics: &[&str]| {
        let parts = template("{group}-{topic}").read(text, Some(&|topic| topics.contains(&topic)))?;
        Ok((parts.group.unwrap(), parts.topic.unwrap()))
    };
    let is = |group: &str, topic: &str| Ok((group.to_owned(), topic.to_owned()));
    assert_eq!(chosen("a-b-c", &["c"]), is("a-b", "c"));
    assert_eq!(chosen("a-b-c", &["b-c"]), is("a", "b-c"));
    // The cluster has none of the topics, so the longest topic name is chosen.
    assert_eq!(chosen("a-b-c", &["x"]), is("a", "b-c"));
    assert_eq!(chosen("a-b-c", &["c", "b-c"]), Err(Mismatch::Ambiguous));
    // A text with one reading needs no topics.
    assert_eq!(chosen("a-b", &[]), is("a", "b"));
    assert_eq!(template("{group}-{*}").read("a-b-c", NO_TOPICS), Err(Mismatch::Ambiguous));
    // The topics are not known yet.
    assert_eq!(template("{group}-{topic}").read("a-b-c", None), Err(Mismatch::Ambiguous));
    assert!(template("{group}-{topic}").read("a-b", None).is_ok());
}

#[test]
fn a_text_with_many_readings_is_ambiguous_within_the_step_limit() {
    let text = "-".repeat(100_000);
    assert_eq!(template("{group}-{*}-{topic}-{metadata}").read(&text, NO_TOPICS), Err(Mismatch::Ambiguous));
    let text = "a-".repeat(100);
    assert_eq!(template("{group}-{topic}-{*}").read(&text, NO_TOPICS), Err(Mismatch::Ambiguous));
}

#[test]
fn a_malformed_list_element_does_not_affect_others() {
    let value = Value::parse("{partition}:{offset}", Some(",")).unwrap();
    let read = value.read(b"0:1,1:x, 2:3 ", NO_TOPICS);
    let offsets: Vec<Option<i64>> = read.into_iter().map(|parts| parts.ok().and_then(|parts| parts.offset)).collect();
    assert_eq!(offsets, [Some(1), None, Some(3)]);
    assert_eq!(value.read(b"", NO_TOPICS), []);

    let value = Value::parse(r#"{"topics":[{"topic":"{topic}","p":{"{partition}":"{offset}"}}]}"#, None).unwrap();
    let read = value.read(
        br#"{"topics":[{"topic":"a","p":{"0":5,"x":6}},{"topic":"b"},{"topic":"c","p":{"1":"7"}}],"more":{}}"#,
        NO_TOPICS,
    );
    let found: Vec<_> = read
        .iter()
        .map(|parts| {
            parts
                .as_ref()
                .ok()
                .map(|parts| (parts.topic.clone().unwrap(), parts.partition.unwrap(), parts.offset.unwrap()))
        })
        .collect();
    assert_eq!(found, [Some(("a".into(), 0, 5)), None, None, Some(("c".into(), 1, 7))]);
}

#[test]
fn a_json_value_must_contain_the_fields_of_the_example() {
    let value = Value::parse(r#"{"type":"kafka","offset":"{offset}"}"#, None).unwrap();
    let offset = |text: &str| value.read(text.as_bytes(), NO_TOPICS).pop().unwrap().ok().and_then(|parts| parts.offset);
    assert_eq!(offset(r#"{"type":"kafka","offset":5,"other":null}"#), Some(5));
    assert_eq!(offset(r#"{"offset":"5","type":"kafka"}"#), Some(5));
    for other in [
        r#"{"type":"kinesis","offset":5}"#,
        r#"{"offset":5}"#,
        r#"{"type":"kafka","offset":-1}"#,
        r#"{"type":"kafka","offset":1.5e3}"#,
        r#"{"type":"kafka","offset":null}"#,
        "[]",
        "{",
        "",
    ] {
        assert_eq!(offset(other), None, "{other}");
    }
}

#[test]
fn the_offset_of_the_last_record_is_incremented() {
    let fixed = FixedParts { group: Some("g".into()), topic: Some("t".into()), offset_is: OffsetIs::Last };
    let layout = Layout::new(vec![template("{partition}")], Value::parse("text", None).unwrap(), fixed).unwrap();
    let read = |value: &str| layout.read(&["0"], value.as_bytes(), NO_TOPICS).unwrap().pop().unwrap();
    assert_eq!(read("41").unwrap().committed_offset, 42);
    assert_eq!(read("9223372036854775807"), Err(Mismatch::NoMatch));
}

#[test]
fn the_greatest_batch_wins_in_any_order() {
    let entry = |partition, batch, committed_offset| {
        let (group, topic, committed_at, metadata) = ("g".to_owned(), "t".to_owned(), None, String::new());
        Entry { group, topic, partition, committed_offset, committed_at, first_seen_at: None, metadata, batch }
    };
    let mut newest = NewestBatches::default();
    assert_eq!(newest.add(entry(1, None, 1)), Some(entry(1, None, 1)));
    let batches = [(0, 5, 50), (0, 4, 40), (0, 6, 60), (1, 1, 10)];
    assert!(
        batches.iter().all(|(partition, batch, offset)| newest.add(entry(*partition, Some(*batch), *offset)).is_none())
    );
    let mut kept: Vec<_> = newest.into_entries().map(|entry| (entry.partition, entry.committed_offset)).collect();
    kept.sort_unstable();
    assert_eq!(kept, [(0, 60), (1, 10)]);
}

#[test]
fn every_preset_is_a_layout() {
    for preset in &preset::PRESETS {
        let names = preset.settings.iter().filter(|(setting, _)| *setting != "value");
        let names = names.map(|(setting, text)| match *setting {
            "path" => Template::parse_path(text).unwrap(),
            _ => template(text),
        });
        let value = preset.settings.iter().find(|(setting, _)| *setting == "value").map_or("text", |(_, value)| *value);
        let made = Layout::new(names.collect(), Value::parse(value, None).unwrap(), FixedParts::default());
        assert!(made.is_ok(), "{}: {made:?}", preset.name);
    }
}

/// Generates templates, and texts that nearly match them.
fn near_matches() -> impl Strategy<Value = (String, String)> {
    let piece = prop::sample::select(vec![
        "{group}",
        "{topic}",
        "{partition}",
        "{offset}",
        "{*}",
        "{metadata}",
        "{at}",
        "-",
        ":",
        "_",
        "/",
        "a",
        "{{",
        "é",
    ]);
    let text = prop::collection::vec(
        prop::sample::select(vec!["a", "-", ":", "_", "/", "7", "2147483648", "{", "\n", "é", "topic", " "]),
        0..24,
    );
    (prop::collection::vec(piece, 1..8), text).prop_map(|(pieces, text)| (pieces.concat(), text.concat()))
}

proptest! {
    #[test]
    fn arbitrary_templates_and_texts_do_not_panic((template, text) in near_matches(), bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        for template in [Template::parse(&template), Template::parse_path(&template)].into_iter().flatten() {
            let _ = template.read(&text, NO_TOPICS);
        }
        for value in [Value::parse(&template, None), Value::parse(&template, Some("-")), Value::parse(&text, None)].into_iter().flatten() {
            let _ = value.read(text.as_bytes(), NO_TOPICS);
            let _ = value.read(&bytes, NO_TOPICS);
        }
    }

    #[test]
    fn a_text_written_by_a_template_is_read_back_or_ambiguous(
        group in "[a-zA-Z0-9:_-]{1,12}", topic in "[a-z_-]{1,12}", partition in 0..i32::MAX,
        form in prop::sample::select(vec!["{group}-{topic}-{partition}", "{topic}_{group}:{partition}", "x{group}:{partition}:{topic}", "{partition}{{{group}}}{topic}"]),
        knows in any::<bool>(),
    ) {
        let text = form
            .replace("{partition}", &partition.to_string()).replace("{topic}", &topic).replace("{group}", &group)
            .replace("{{", "{").replace("}}", "}");
        let is_topic = |name: &str| knows && name == topic;
        match template(form).read(&text, Some(&is_topic)) {
            Ok(parts) if knows => prop_assert_eq!((parts.group, parts.topic, parts.partition), (Some(group), Some(topic), Some(partition))),
            // Without the topics of the cluster, the longest topic name is chosen.
            Ok(parts) => prop_assert!(parts.topic.is_some_and(|read| read.len() >= topic.len())),
            Err(mismatch) => prop_assert_eq!(mismatch, Mismatch::Ambiguous),
        }
    }

    #[test]
    fn arbitrary_json_does_not_panic(example in json(), document in json()) {
        if let Ok(value) = Value::parse(&example.to_string(), None) {
            let _ = value.read(document.to_string().as_bytes(), NO_TOPICS);
            let _ = value.read(example.to_string().as_bytes(), NO_TOPICS);
        }
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let text = prop::sample::select(vec!["{offset}", "{partition}", "{topic}", "{*}", "a", "7", "{topic}-{partition}"]);
    let leaf = prop_oneof![
        text.clone().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let keys = text.clone().prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(serde_json::Value::from),
            prop::collection::btree_map(keys, inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn a_list_with_too_many_offsets_is_malformed_as_a_whole() {
    let text = |count: usize| vec!["0:1"; count].join(",");
    let value = Value::parse("{partition}:{offset}", Some(",")).unwrap();
    assert_eq!(value.read(text(100_000).as_bytes(), NO_TOPICS).iter().filter(|parts| parts.is_ok()).count(), 100_000);
    assert_eq!(value.read(text(100_001).as_bytes(), NO_TOPICS), [Err(Mismatch::NoMatch)]);

    let json = |count: usize| {
        let entries: Vec<String> = (0..count).map(|partition| format!("\"{partition}\":1")).collect();
        format!("{{{}}}", entries.join(","))
    };
    let value = Value::parse(r#"{"{partition}":"{offset}"}"#, None).unwrap();
    assert_eq!(value.read(json(100_000).as_bytes(), NO_TOPICS).iter().filter(|parts| parts.is_ok()).count(), 100_000);
    assert_eq!(value.read(json(100_001).as_bytes(), NO_TOPICS), [Err(Mismatch::NoMatch)]);
}
