use super::*;

fn copied(text: &str) -> Option<(String, PathBuf, Format)> {
    match parse(text) {
        Command::Copy(Copy { statement, to, format }) => Some((statement, to, format)),
        _ => None,
    }
}

#[test]
fn a_copy_names_a_table_or_a_statement_and_a_file() {
    let copy = |statement: &str, to: &str, format| Some((statement.to_owned(), PathBuf::from(to), format));
    assert_eq!(copied("copy lag to /tmp/lag.csv"), copy("SELECT * FROM lag", "/tmp/lag.csv", Format::Csv));
    assert_eq!(
        copied("copy (SELECT ' to ' AS x FROM lag) TO 'a b.parquet';"),
        copy("SELECT ' to ' AS x FROM lag", "a b.parquet", Format::Parquet)
    );
    assert_eq!(copied("copy lag to file json"), copy("SELECT * FROM lag", "file", Format::Json));
    assert_eq!(copied("copy lag to file.jsonl"), copy("SELECT * FROM lag", "file.jsonl", Format::Ndjson));
    assert_eq!(copied("copy lag to file"), copy("SELECT * FROM lag", "file", Format::Csv));
    for wrong in ["copy", "copy lag", "copy to x", "copy SELECT 1 to x"] {
        assert_eq!(copied(wrong), None, "{wrong}");
    }
}

#[test]
fn the_interval_of_a_watch_is_in_seconds_unless_it_has_a_unit() {
    let every = |text: &str| match parse(text) {
        Command::Run(RunMode::Watch(every)) => Some(every.as_millis()),
        _ => None,
    };
    assert_eq!(every("watch"), Some(2_000));
    assert_eq!(every("watch 5"), Some(5_000));
    assert_eq!(every("watch 0.5"), Some(500));
    assert_eq!(every("watch 1min"), Some(60_000));
    for wrong in ["watch 0", "watch -1", "watch soon", "watch nan", "watch 1e20"] {
        assert_eq!(every(wrong), None, "{wrong}");
    }
}

#[test]
fn every_command_is_in_the_help_and_errors_name_the_problem() {
    for name in ["g", "gx", "watch", "e", "d", "i", "o", "copy", "x", "timing", "pager", "q"] {
        assert!(HELP.contains(&format!("\\{name}")), "{name}");
        let is_known = !matches!(parse(name), Command::Invalid(problem) if problem.contains("unknown command"));
        assert!(is_known, "{name}");
    }
    assert!(HELP.lines().all(|line| line.is_empty() || line.starts_with("  ") || line.starts_with("Tables")));
    let cases = [("y", "unknown command \\y"), ("timing maybe", "on or off"), ("i", "needs a file"), ("x y", "\\x")];
    for (wrong, says) in cases {
        assert!(matches!(parse(wrong), Command::Invalid(problem) if problem.contains(says)), "{wrong}");
    }
}
