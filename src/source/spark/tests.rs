use crate::{config::LoadedConfig, source};

/// Loads a configuration with a source of kind spark.
pub(super) fn load(section: &str) -> Result<LoadedConfig, String> {
    source::tests::load("spark", section)
}

#[test]
fn conflicting_settings_are_refused_with_the_setting() {
    for (section, reason) in [
        ("", "expected file:///PATH"),
        ("checkpoints = \"hdfs://nn:8020/cp/{group}\"\n", "\"webhdfs://nn:9870/cp/{group}\""),
        ("checkpoints = \"file:///cp/{group}\"\ngroup = \"g\"\n", "{group} is given twice"),
        ("checkpoints = \"file:///cp/{group}\"\ntopic = \"t\"\n", "{topic} is given twice"),
    ] {
        let error = load(section).unwrap_err();
        assert!(error.contains("sources.spark.checkpoints") && error.contains(reason), "{section}{error}");
    }
    for section in ["checkpoints = \"file:///cp/{group}\"\n", "checkpoints = \"file:///cp/q\"\ngroup = \"g\"\n"] {
        assert!(load(section).is_ok(), "{section}");
    }
}

#[test]
fn a_query_without_a_group_has_its_id() {
    let loaded = load("checkpoints = \"file:///cp/q\"\noffset_is = \"last\"\n").unwrap();
    let layout = source::layout_of(&loaded.config.sources[0]).unwrap();
    let entries = layout.read(&["file:///cp/q"], br#"{"orders":{"1":41}}"#, None).unwrap();
    let entry = entries[0].as_ref().unwrap();
    assert_eq!(
        (&*entry.group, &*entry.topic, entry.partition, entry.committed_offset),
        (super::QUERY_ID, "orders", 1, 42)
    );
}
