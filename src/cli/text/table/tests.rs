use super::*;

/// Returns the lines of a table of three columns, and whether values were shortened.
fn table(layout: TableLayout, rows: &[[&str; 3]]) -> (String, bool) {
    let mut out = vec![];
    let columns = vec![
        Column::new(ColumnKind::Text, "group_id"),
        Column::new(ColumnKind::Number, "lag"),
        Column::new(ColumnKind::Text, "topic"),
    ];
    let mut table = Table::new(columns, layout);
    for row in rows {
        table.row(&mut out, row.iter().map(|cell| (*cell).to_owned()).collect()).unwrap();
    }
    table.finish(&mut out).unwrap();
    (String::from_utf8(out).unwrap(), table.shortened())
}

fn fit(width: usize, expanded: Expanded) -> TableLayout {
    TableLayout { width: Some(width), expanded, colour: false }
}

#[test]
fn tables_align_names_left_and_numbers_right() {
    let expected = "\
group_id   lag  topic
────────  ────  ───────
orders       1  a
消费者    1000  bcdefgh
";
    let rows = [["orders", "1", "a"], ["消费者", "1000", "bcdefgh"]];
    for layout in [TableLayout::default(), fit(24, Expanded::Auto), fit(23, Expanded::Off)] {
        assert_eq!(table(layout, &rows), (expected.to_owned(), false));
    }
    assert_eq!(table(TableLayout::default(), &[]).0.lines().count(), 2);
}

#[test]
fn control_characters_are_escaped_in_every_form() {
    let row = [["x\u{1b}]0;y\u{7}", "1", "t"]];
    for expanded in [Expanded::Off, Expanded::On] {
        let (text, _) = table(fit(80, expanded), &row);
        assert!(text.contains("x\\u{1b}]0;y\\u{7}") && !text.contains('\u{1b}'), "{text}");
    }
}

#[test]
fn the_widest_texts_are_shortened_until_the_table_fits_and_numbers_never() {
    let long = "a-group-with-a-long-name-indeed";
    let rows = [[long, "1234567890123456789", "orders"], ["short", "-1", "payments"]];
    let (text, shortened) = table(fit(50, Expanded::Auto), &rows);
    assert!(shortened);
    assert!(text.lines().all(|line| width(line) <= 50), "{text}");
    assert!(text.contains("a-group-with-a-lon…  1234567890123456789  orders\n"), "{text}");
    let whole = table(TableLayout::default(), &rows);
    assert!(whole.0.contains(long) && !whole.1, "nothing is shortened in a pipe");
}

#[test]
fn a_table_that_cannot_fit_is_shown_as_records() {
    let rows = [["a-group-with-a-long-name-indeed", "1234567890123456789", "消费者"]];
    let expected = "\
─[ 1 ]──────────────
group_id  a-group-with-a-long-name-indeed
lag       1234567890123456789
topic     消费者
";
    assert_eq!(table(fit(20, Expanded::Auto), &rows), (expected.to_owned(), false));
    assert_eq!(table(fit(20, Expanded::On), &rows).0, expected);
    let (text, shortened) = table(fit(20, Expanded::Off), &rows);
    assert!(shortened && text.contains("a-group-wit…  1234567890123456789  消费者"), "{text}");
    assert_eq!(table(fit(10, Expanded::Auto), &[]).0, "");
}

#[test]
fn times_are_not_shortened() {
    let mut table = Table::new(
        vec![Column::new(ColumnKind::Unshortened, "at"), Column::new(ColumnKind::Text, "what")],
        fit(40, Expanded::Auto),
    );
    let mut out = vec![];
    table.row(&mut out, vec!["2026-01-01T00:00:00Z".to_owned(), "x".repeat(100)]).unwrap();
    table.finish(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().last(), Some("2026-01-01T00:00:00Z  xxxxxxxxxxxxxxxxx…"));
}

#[test]
fn a_long_table_is_not_held_in_memory() {
    for (layout, lines) in
        [(TableLayout::default(), MEASURED_ROWS + 4), (fit(80, Expanded::On), 2 * (MEASURED_ROWS + 2))]
    {
        let mut table = Table::new(vec![Column::new(ColumnKind::Text, "n")], layout);
        let mut out = vec![];
        for row in 0..MEASURED_ROWS + 2 {
            table.row(&mut out, vec![format!("{row}")]).unwrap();
        }
        assert!(!matches!(table.state, TableState::Measuring(_)));
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), lines);
    }
}

#[test]
fn a_later_row_that_is_wider_may_fill_the_terminal() {
    let mut table = Table::new(
        vec![Column::new(ColumnKind::Text, "a"), Column::new(ColumnKind::Text, "b")],
        fit(40, Expanded::Auto),
    );
    let mut out = vec![];
    for _ in 0..MEASURED_ROWS {
        table.row(&mut out, vec!["x".to_owned(), "y".to_owned()]).unwrap();
    }
    out.clear();
    table.row(&mut out, vec!["x".to_owned(), "y".repeat(37)]).unwrap();
    assert!(!table.shortened());
    table.row(&mut out, vec!["x".to_owned(), "y".repeat(38)]).unwrap();
    assert!(table.shortened());
    assert!(String::from_utf8(out).unwrap().lines().all(|line| width(line) == 40));
}
