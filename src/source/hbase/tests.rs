use super::*;
use crate::{config::LoadedConfig, source};

fn load(section: &str) -> Result<LoadedConfig, String> {
    source::tests::load("hbase", section)
}

#[test]
fn conflicting_settings_are_refused_with_the_setting() {
    let place = "servers = \"h\"\ntable = \"ns:t\"\n";
    let with = |more: &str| format!("{place}{more}");
    for (section, setting, reason) in [
        ("table = \"t\"\nlayout = \"cloudera\"\n".to_owned(), "servers", ""),
        ("servers = \"h\"\nlayout = \"cloudera\"\n".to_owned(), "table", "expected TABLE or NAMESPACE:TABLE"),
        ("servers = \"h\"\ntable = \"a:b:c\"\nlayout = \"cloudera\"\n".to_owned(), "table", "expected TABLE"),
        (with(""), "row", "missing; set it to a template such as \"{topic}:{group}\""),
        (with("row = \"{topic}:{group}\"\n"), "column", "such as \"offsets:{partition}\""),
        (with("row = \"{topic}:{group}\"\ncolumn = \"{partition}\"\n"), "column", "expected FAMILY:QUALIFIER"),
        (with("row = \"{topic}:{group}\"\ncolumn = \"{group}:{partition}\"\n"), "column", "only in the qualifier"),
        (with("row = \"{topic}\"\ncolumn = \"o:{partition}\"\n"), "row", "{group} is missing"),
        (with("layout = \"gmall\"\n"), "layout", "unknown layout \"gmall\"; allowed: cloudera, streampark"),
        (with("layout = \"cloudera\"\nrow = \"x\"\n"), "layout", "replaces `row` and `column`"),
        (with("layout = \"cloudera\"\nvalue = \"{group}\"\n"), "row", "{group} is given twice"),
    ] {
        let error = load(&section).unwrap_err();
        assert!(error.contains(&format!("sources.hbase.{setting}")) && error.contains(reason), "{section}{error}");
    }
}

fn selection(section: &str) -> Selection {
    let loaded = load(&format!("servers = \"h\"\ntable = \"t\"\n{section}")).unwrap();
    let source = &loaded.config.sources[0];
    source.kind_config.get::<Hbase>().unwrap().read_layout(source).unwrap().1
}

#[test]
fn only_the_rows_and_columns_that_can_match_are_selected() {
    let cloudera = selection("layout = \"cloudera\"\n");
    assert_eq!((&*cloudera.family, cloudera.qualifier, &*cloudera.prefix), (&b"offsets"[..], None, &b""[..]));
    let park = selection("layout = \"streampark\"\n");
    assert_eq!((&*park.family, park.qualifier.as_deref()), (&b"tpo"[..], Some(&b"offset"[..])));
    let prefix = selection("row = \"app:{topic}:{group}\"\ncolumn = \"o:p{partition}\"\n");
    assert_eq!((prefix.qualifier, &*prefix.prefix), (None, &b"app:"[..]));
    // A brace that stands for itself.
    let brace = selection("row = \"{topic}:{group}:{partition}\"\ncolumn = \"o:{{x}}\"\n");
    assert_eq!(brace.qualifier, None);
}

#[test]
fn the_greatest_batch_of_an_offset_counts() {
    let mut seen = SeenCells::default();
    let row = |topic: &str, batch| OffsetParts {
        group: Some("g".to_owned()),
        topic: Some(topic.to_owned()),
        batch,
        ..OffsetParts::default()
    };
    let column = |partition| OffsetParts { partition: Some(partition), ..OffsetParts::default() };
    for (topic, batch, partition, expected) in [
        ("orders", Some(5), 0, true),
        ("orders", Some(4), 0, false),
        ("orders", Some(5), 0, true),
        ("orders", Some(4), 1, true),
        ("clicks", Some(1), 0, true),
        ("orders", Some(6), 0, true),
        ("orders", None, 0, true),
    ] {
        assert_eq!(seen.is_newest_batch(&row(topic, batch), &column(partition)), expected, "{topic} {batch:?}");
    }
}

#[test]
fn the_overlap_of_scans_shrinks_while_no_newer_cell_appears() {
    let seen = SeenCells { newest: 1_000_000, newest_seen_at: 50, ..SeenCells::default() };
    for (now, from) in [(50, 940_000), (150, 950_000), (650, 1_000_000), (10_000, 1_000_000)] {
        assert_eq!(seen.next_from(now), from, "{now}");
    }
    assert_eq!(SeenCells::default().next_from(0), 0);
}
