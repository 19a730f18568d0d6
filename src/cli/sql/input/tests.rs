use std::time::Duration;

use super::*;
use crate::cli::text::Expanded;

fn run(statement: &str) -> Step {
    Step::Run(statement.to_owned(), RunMode::Show)
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
fn commands_start_with_a_backslash_and_leave_a_statement_as_it_is() {
    let mut input = Input::default();
    let mut command = |text: &str| match input.line(text).pop() {
        Some(Step::Command(command)) => command,
        other => panic!("{other:?}"),
    };
    assert_eq!(command("\\q"), Command::Quit);
    assert_eq!(command(" \\d "), Command::Tables);
    assert_eq!(command("\\d lag;"), Command::Columns("lag".to_owned()));
    assert_eq!(command("\\timing"), Command::Timing(None));
    assert_eq!(command("\\?"), Command::Help);
    assert_eq!(command("\\x"), Command::Expanded(None));
    assert_eq!(command("\\x auto;"), Command::Expanded(Some(Expanded::Auto)));
    assert_eq!(command("\\i it's; \\here.sql"), Command::Include("it's; \\here.sql".into()));
    for word in ["exit", "quit;", " EXIT "] {
        assert_eq!(command(word), Command::Quit);
    }
    assert_eq!(command("help"), Command::Help);
    assert!(!input.is_open());
    input.line("SELECT 1");
    assert_eq!(input.line("\\d"), [Step::Command(Command::Tables)]);
    assert!(input.line("exit").is_empty(), "inside a statement, exit is part of it");
    input.clear();
    input.line("SELECT 1");
    assert_eq!(input.line("+ 2; \\q"), [run("SELECT 1\n+ 2"), Step::Command(Command::Quit)]);
}

#[test]
fn a_statement_may_end_in_a_command_and_be_run_again() {
    let mut input = Input::default();
    assert_eq!(input.line("\\g"), [Step::Command(Command::Invalid("no statement has been given yet".to_owned()))]);
    assert_eq!(input.line("SELECT '\\g' \\gx"), [Step::Run("SELECT '\\g'".to_owned(), RunMode::Expanded)]);
    let every = RunMode::Watch(Duration::from_secs(3));
    assert_eq!(input.line("\\watch 3"), [Step::Run("SELECT '\\g'".to_owned(), every)]);
    assert_eq!(input.line("SELECT 2;"), [run("SELECT 2")]);
    assert_eq!(input.line("\\g out.txt"), [Step::Run("SELECT 2".to_owned(), RunMode::ToFile("out.txt".into()))]);
    assert_eq!(input.line("\\e"), [Step::Command(Command::Edit("SELECT 2".to_owned()))]);
    input.line("SELECT 3");
    assert_eq!(input.line("\\e"), [Step::Command(Command::Edit("SELECT 3".to_owned()))]);
    assert!(!input.is_open());
}

#[test]
fn the_last_statement_of_a_script_needs_no_semicolon() {
    let mut input = Input::default();
    assert_eq!(input.line("SELECT 1;"), [run("SELECT 1")]);
    assert_eq!(input.rest(), None);
    assert!(input.line("SELECT 2").is_empty());
    assert_eq!((input.rest(), input.is_open()), (Some(run("SELECT 2")), false));
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
