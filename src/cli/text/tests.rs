use super::*;

#[test]
fn names_cannot_control_a_terminal() {
    assert_eq!(escape("plain, grüp 消费者"), "plain, grüp 消费者");
    assert_eq!(escape("a\u{1b}[2Jb\n\t\u{9b}c\u{202e}d"), "a\\u{1b}[2Jb\\n\\t\\u{9b}c\\u{202e}d");
    assert_eq!(escape_lines("one\ntwo\r"), "one\ntwo\\r");
}

#[test]
fn widths_are_those_of_a_terminal() {
    for (text, columns) in [("orders", 6), ("消费者", 6), ("e\u{301}te", 3), ("🦀", 2), ("", 0)] {
        assert_eq!(width(text), columns, "{text}");
    }
}

#[test]
fn a_text_is_shortened_to_what_fits() {
    assert_eq!(shorten("orders", 6), "orders");
    assert_eq!(shorten("orders", 5), "orde…");
    assert_eq!(shorten("消费者", 5), "消费…");
    assert_eq!(shorten("消费者", 4), "消…");
    assert_eq!(shorten("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
}

#[test]
fn times_and_counts_read_well() {
    let at = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 };
    assert_eq!(time(Some(&at)).as_deref(), Some("2023-11-14T22:13:20.005Z"));
    assert_eq!(time(Some(&prost_types::Timestamp { seconds: i64::MAX, nanos: 0 })), None);
    assert_eq!(elapsed(Duration::from_millis(3)), "3 ms");
    assert_eq!(elapsed(Duration::from_millis(1250)), "1.25 s");
    assert_eq!((count(1, "row"), count(0, "row")), ("1 row".to_owned(), "0 rows".to_owned()));
}
