use super::*;

fn run(statement: &str) -> Step {
    Step::Run(statement.to_owned())
}

#[test]
fn a_statement_ends_at_a_semicolon_on_any_line() {
    let mut input = Input::default();
    assert!(input.line("SELECT 1,").is_empty() && input.is_open());
    assert_eq!(input.line("  2;  "), [run("SELECT 1,\n  2")]);
    assert!(!input.is_open());
    assert_eq!(input.line("SELECT 1; SELECT 2; SELECT"), [run("SELECT 1"), run("SELECT 2")]);
    assert!(input.is_open());
    input.clear();
    assert!(input.line("  ").is_empty() && !input.is_open());
    assert!(input.line(";;").is_empty() && !input.is_open());
}

#[test]
fn semicolons_in_strings_names_and_comments_end_nothing() {
    for text in ["SELECT 'a;''b;'", "SELECT \"a;\"", "SELECT 1 -- it's; \n", "SELECT /* it's; */ 1", "SELECT 'grüp;消'"]
    {
        let mut input = Input::default();
        assert!(input.line(text).is_empty(), "{text}");
        assert_eq!(input.line(";"), [run(text.trim())], "{text}");
    }
}

#[test]
fn commands_start_with_a_backslash_outside_of_statements() {
    let mut input = Input::default();
    let mut command = |text: &str| match input.line(text).pop() {
        Some(Step::Command(command)) => command,
        other => panic!("{other:?}"),
    };
    assert_eq!(command("\\q"), Command::Quit);
    assert_eq!(command(" \\d "), Command::Tables);
    assert_eq!(command("\\d lag;"), Command::Columns("lag".to_owned()));
    assert_eq!(command("\\timing"), Command::Timing);
    assert_eq!(command("\\?"), Command::Help);
    assert_eq!(command("\\x"), Command::Expanded(None));
    assert_eq!(command("\\x auto;"), Command::Expanded(Some(Expanded::Auto)));
    assert_eq!(command("\\x y"), Command::Unknown("\\x".to_owned()));
    input.line("SELECT");
    assert!(input.line("\\q").is_empty(), "in a statement it is text");
}

#[test]
fn the_words_of_the_last_statement_are_known_but_not_those_of_comments() {
    let last = |text: &str| Some(words(text)?.join(" "));
    for (text, statement) in [
        ("SELECT 1; SELECT lag", "SELECT lag"),
        ("SELECT 'a;b', x", "SELECT 'a;b' , x"),
        ("SELECT l.lag,m.", "SELECT l.lag , m."),
        ("SELECT 1 -- it's\n+ 2", "SELECT 1 + 2"),
        ("SELECT /* ; */ 1 -", "SELECT 1 -"),
        ("", ""),
    ] {
        assert_eq!(last(text).as_deref(), Some(statement), "{text}");
    }
    for within in ["SELECT 'a", "SELECT 1 -- a", "SELECT /* a", "SELECT \"a", "SELECT 'it''s"] {
        assert_eq!(last(within), None, "{within}");
    }
}
