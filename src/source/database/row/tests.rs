use proptest::prelude::*;

use super::*;
use crate::config::value::OffsetIs;

fn common() -> config::Source {
    crate::source::tests::load("import", "file = \"f\"\n").unwrap().config.sources[0].clone()
}

const GOOD: Cells<'_> = [Some("g"), Some("t"), Some("0"), Some("42"), None, None];

fn with<'a>(index: usize, cell: Option<&'a str>) -> Cells<'a> {
    let mut cells: Cells<'a> = GOOD;
    cells[index] = cell;
    cells
}

#[test]
fn good_rows_are_parsed_and_settings_replace_missing_columns() {
    let mut common = common();
    let row = parse(&[Some("g"), Some("t"), Some(" 7\n"), Some("042"), Some("0"), Some("m")], &common).unwrap();
    assert_eq!((row.group, row.topic, row.partition, row.committed_offset, row.metadata), ("g", "t", 7, 42, "m"));
    (common.group, common.topic, common.offset_is) = ("fixed".to_owned(), "orders".to_owned(), OffsetIs::Last);
    let row = parse(&[None, None, Some("7"), Some("42"), None, None], &common).unwrap();
    assert_eq!((row.group, row.topic, row.committed_offset, row.committed_at), ("fixed", "orders", 43, None));
}

#[test]
fn bad_cells_are_malformed() {
    let common = common();
    assert!(parse(&GOOD, &common).is_some());
    let long = "1".repeat(MAX_CELL_CHARS + 1);
    for (index, cells) in [
        (0, vec![None, Some(""), Some("b\0i\0g\0"), Some("a\nb"), Some(&*long)]),
        (1, vec![None, Some(""), Some("a b"), Some("a/b"), Some(".."), Some(&*long)]),
        (2, vec![None, Some(""), Some("-1"), Some("x"), Some("2147483648"), Some("1.0"), Some("+1")]),
        (
            3,
            vec![
                None,
                Some(""),
                Some("-1"),
                Some("1.5e3"),
                Some("9223372036854775808"),
                Some("9223372036854775807"),
                Some("4 2"),
                Some("４２"),
                Some("4\0"),
            ],
        ),
        (
            4,
            vec![
                Some(""),
                Some("x"),
                Some("-1"),
                Some("1e3"),
                Some("."),
                Some("1.2.3"),
                Some("99999999999999999999"),
                Some("2026-13-01"),
                Some("300000-01-01 00:00:00"),
            ],
        ),
        (5, vec![Some(&*long)]),
    ] {
        for cell in cells {
            assert!(parse(&with(index, cell), &common).is_none(), "{index}: {cell:?}");
        }
    }
}

#[test]
fn times_are_read_as_databases_write_them() {
    const AT: Millis = 1_796_050_800_123;
    for (text, at) in [
        ("1796050800", AT - 123),
        ("1796050800.123", AT),
        ("1796050800123", AT),
        (" 1796050800123 ", AT),
        ("2026-11-30 15:00:00.123+00", AT),
        ("2026-11-30 20:30:00.123456+05:30", AT),
        ("2026-11-30 07:00:00-08", AT - 123),
        ("2026-11-30 15:00:00.123000", AT),
        ("2026-11-30 15:00:00", AT - 123),
        ("2026-11-30T15:00:00.123Z", AT),
        ("2026-11-30T15:00:00.123", AT),
        ("1970-01-02", 86_400_000),
    ] {
        assert_eq!(time(text), Some(Some(at)), "{text}");
    }
    for text in ["0000-00-00 00:00:00", "infinity", "-infinity", "0", "1970-01-01"] {
        assert_eq!(time(text), Some(None), "{text}");
    }
}

#[test]
fn the_shown_key_has_no_value() {
    let common = common();
    assert_eq!(shown_key(&with(3, Some("secret")), &common), "g/t/0");
    assert_eq!(shown_key(&with(2, Some("secret")), &common), "g/t");
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_rejected(cells in prop::array::uniform6(prop::option::of(".{0,40}|[-0-9.:+T ]{0,30}"))) {
        let cells = cells.each_ref().map(Option::as_deref);
        if let Some(row) = parse(&cells, &common()) {
            prop_assert!(row.partition >= 0 && row.committed_offset >= 0 && is_topic_name(row.topic));
        }
    }
}
