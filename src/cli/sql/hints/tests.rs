use super::*;

#[test]
fn a_caret_marks_the_position_of_an_error() {
    let expected = "no field nope\nLINE 2: \u{20}\u{20}消费者 nope\n                 ^";
    assert_eq!(with_caret("SELECT\n\t 消费者 nope\nFROM lag", "no field nope at Line: 2, Column: 7"), expected);
    let long = format!("SELECT {} nope, {}", "a, ".repeat(40), "b, ".repeat(40));
    let error = with_caret(&long, "no field nope at Line: 1, Column: 129");
    let lines: Vec<&str> = error.lines().collect();
    assert!(lines[1].starts_with("LINE 1: …") && lines[1].ends_with('…') && width(lines[1]) <= 90, "{error}");
    let at = width(lines[2]) - 1;
    assert_eq!(lines[1].chars().skip(at).take(4).collect::<String>(), "nope", "{error}");
}

#[test]
fn an_error_without_a_position_is_unchanged() {
    for error in ["time is up", "wrong at Line: 9, Column: 1", "wrong at Line: 0, Column: 0", "at Line: x"] {
        assert_eq!(with_caret("SELECT 1", error), error);
    }
}

#[test]
fn a_similar_table_is_suggested() {
    let tables = ["lag", "groups", "active_consumers"].map(str::to_owned);
    let error = |name: &str| {
        with_suggestion(&format!("table 'offsetd.public.{name}' not found at Line: 1, Column: 15"), &tables)
    };
    assert_eq!(error("lagg"), "no table or view lagg at Line: 1, Column: 15; did you mean lag?");
    assert!(error("gruops").ends_with("did you mean groups?"));
    assert!(error("activ_consumer").ends_with("did you mean active_consumers?"));
    assert!(error("nothing_like_it").ends_with("\\d lists tables and views"));
    assert_eq!(with_suggestion("another error", &tables), "another error");
    assert_eq!(missing_table("table 'x.y' not found"), Some("x.y"));
}

#[test]
fn swapped_letters_are_one_mistake() {
    for (a, b, expected) in
        [("lag", "lag", 0), ("lga", "lag", 1), ("", "lag", 3), ("LAG", "lags", 1), ("abcd", "dcba", 3)]
    {
        assert_eq!(distance(a, b), expected, "{a} {b}");
    }
}
