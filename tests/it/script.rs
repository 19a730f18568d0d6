//! Statements from the command line, files and pipes; `offsetd group`; profiles of the client commands.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    program::{offsetd, stdout},
    support::{Lab, Setup, kafka, stable_group, until},
};

/// Starts a server with a group that owns partitions 0 and 2 of a topic, and has committed on 0 and 1.
fn lab() -> Lab {
    let kafka = kafka(1);
    kafka.create_topic("orders", 3).unwrap();
    let lab = Setup::default().ready(&kafka);
    lab.writer.produce("orders", 0, 10).unwrap();
    lab.writer.write_group(&stable_group("billing", 2, &[("c1", &[("orders", &[0, 2])])]), 1).unwrap();
    lab.commit("billing", "orders", 0, 7);
    lab.commit("billing", "orders", 1, 0);
    lab.settle();
    lab
}

/// Runs `offsetd sql` on the lab.
fn sql(lab: &Lab, args: &[&str], input: &str) -> Output {
    let url = lab.url("");
    offsetd(&[&["sql", "--server", &url], args].concat(), input)
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn several_statements_run_in_order_from_every_input() {
    let (lab, dir) = (lab(), TempDir::new().unwrap());
    let file = dir.path().join("report.sql");
    let script = "-- First.\nSELECT 1 AS n; SELECT 2\n AS n;\n\nSELECT ';' AS n";
    fs::write(&file, script).unwrap();
    let expected = "{\"n\":1}\n{\"n\":2}\n{\"n\":\";\"}\n";
    let path = file.to_str().unwrap();
    for (args, input) in [
        (&["--format", "ndjson"][..], script),
        (&["--format", "ndjson", script], ""),
        (&["--format", "ndjson", "-f", path], ""),
        (&["--format", "ndjson", "-f", "-"], script),
        (&["--format", "ndjson", "-c", "SELECT 1 AS n", "-c", "SELECT 2 AS n; SELECT ';' AS n"], ""),
    ] {
        assert_eq!(stdout(&sql(&lab, args, input)), expected, "{args:?}");
    }
    let table = stdout(&sql(&lab, &[], "SELECT 1 AS one;\nSELECT 2 AS two;\\q\nSELECT 3 AS three;"));
    assert!(table.contains("one") && table.contains("two") && !table.contains("three"), "{table}");
}

#[test]
fn a_script_stops_at_its_first_error_and_names_file_line_and_place() {
    let (lab, dir) = (lab(), TempDir::new().unwrap());
    let (inner, outer) = (dir.path().join("inner.sql"), dir.path().join("outer.sql"));
    fs::write(&inner, "SELECT 1 AS before;\nSELECT lagg\n  FROM lag;\nSELECT 2 AS after;\n").unwrap();
    fs::write(&outer, format!("\\i {}\nSELECT 3 AS outer;", inner.display())).unwrap();
    let output = sql(&lab, &["-f", outer.to_str().unwrap()], "");
    let said = error(&output);
    assert!(said.contains(&format!("{}: line 3: ", inner.display())), "{said}");
    assert!(said.contains("\nLINE 1: SELECT lagg\n               ^"), "{said}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("before") && !shown.contains("after") && !shown.contains("outer"), "{shown}");
    fs::write(&inner, format!("\\i {}", inner.display())).unwrap();
    assert!(error(&sql(&lab, &["-f", inner.to_str().unwrap()], "")).contains("include each other"));
    assert!(error(&sql(&lab, &["SELECT * FROM lagg"], "")).contains("did you mean lag?"));
    assert!(error(&sql(&lab, &["-f", "/nonexistent.sql"], "")).contains("cannot read /nonexistent.sql"));
}

#[test]
fn commands_of_the_prompt_work_in_scripts() {
    let (lab, dir) = (lab(), TempDir::new().unwrap());
    assert!(stdout(&sql(&lab, &["\\d lag"], "")).contains("bigint"));
    let copy = dir.path().join("a b.parquet");
    stdout(&sql(&lab, &[], &format!("\\copy lag to '{}'", copy.display())));
    assert!(fs::read(&copy).unwrap().starts_with(b"PAR1"));
    let (first, second) = (dir.path().join("1"), dir.path().join("2"));
    let script = format!("\\o {}\nSELECT 1 AS n;\n\\o {}\nSELECT 2 AS n;", first.display(), second.display());
    assert_eq!(stdout(&sql(&lab, &["--format", "csv"], &script)), "");
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    assert_eq!((read(&first), read(&second)), ("n\n1\n".to_owned(), "n\n2\n".to_owned()));
    let output = sql(&lab, &["--format", "csv"], "SELECT 1 AS n; SELECT 2 AS m;");
    assert_eq!((output.status.code(), output.stdout), (Some(64), b"n\n1\n".to_vec()));
    assert!(error(&sql(&lab, &["\\e"], "")).contains("prompt only"));
    assert!(error(&sql(&lab, &[], "\\o /nonexistent/file")).contains("cannot write /nonexistent/file"));
    let output = sql(&lab, &["  ;  "], "");
    assert_eq!(output.status.code(), Some(64), "{output:?}");
}

#[test]
fn nulls_come_last_in_either_direction_and_columns_are_named_by_their_text() {
    let lab = lab();
    let csv = |statement: &str| stdout(&sql(&lab, &["--format", "csv", statement], ""));
    let values = "(VALUES (1), (NULL), (2)) AS t(n)";
    assert_eq!(csv(&format!("SELECT n FROM {values} ORDER BY n DESC")), "n\n2\n1\n\n");
    assert_eq!(csv(&format!("SELECT n FROM {values} ORDER BY n")), "n\n1\n2\n\n");
    let sums = "SELECT sum(lag), max(lag) *  2, 1 FROM lag WHERE partition = 0 ORDER BY sum(lag)";
    assert_eq!(csv(sums).lines().next(), Some("sum(lag),max(lag) * 2,1"));
    assert_eq!(csv("SELECT sum(n) FROM (SELECT 1 AS n UNION ALL SELECT 2) HAVING sum(n) > 1"), "sum(n)\n3\n");
}

#[test]
fn a_group_is_shown_as_kafkas_tool_does() {
    let lab = lab();
    let url = lab.url("");
    let group = |more: &[&str]| offsetd(&[&["group", "billing", "--server", &url], more].concat(), "");
    until("the log ends", || stdout(&group(&[])).contains("lag 3)"));
    let text = stdout(&group(&["--latest"]));
    assert!(text.starts_with("billing on cluster default\nclassic group, Stable, 1 member"), "{text}");
    let words = |line: usize| text.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(words(3)[..5], ["topic", "partition", "committed_offset", "log_end_offset", "lag"]);
    assert_eq!(words(5)[..5], ["orders", "0", "7", "10", "3"]);
    assert_eq!(words(7)[..3], ["orders", "2", "-"], "an owned partition without a commit: {text}");
    assert!(words(5).contains(&"c1") && words(7).contains(&"c1") && !words(6).contains(&"c1"), "{text}");
    assert_eq!(text.lines().last(), Some("(3 partitions of 1 topic, lag 3)"));
    let json: Value = serde_json::from_str(&stdout(&group(&["--format", "json", "--topic", "orders"]))).unwrap();
    assert_eq!(json["partitions"][0]["committed_offset"], json!(7));
    assert_eq!(json["groups"][0]["state"], "Stable");
    let output = offsetd(&["group", "biling", "--server", &url], "");
    assert!(error(&output).contains("no group \"biling\"; `offsetd groups --search TEXT`"), "{output:?}");
}

#[test]
fn a_profile_names_the_server_and_a_flag_another_one() {
    let (lab, home) = (lab(), TempDir::new().unwrap());
    fs::create_dir(home.path().join("offsetd")).unwrap();
    let file = home.path().join("offsetd/config.toml");
    fs::write(&file, format!("[profiles.default]\nserver = \"{}\"\n", lab.url(""))).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offsetd"));
        command.args(args).env("XDG_CONFIG_HOME", home.path()).env_remove("OFFSETD_SERVER").output().unwrap()
    };
    assert!(stdout(&run(&["groups"])).contains("billing"));
    assert_eq!(run(&["groups", "--server", "127.0.0.1:1"]).status.code(), Some(1));
    let output = run(&["groups", "--profile", "lab"]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no profile \"lab\""), "{output:?}");
}

/// Returns the output of a command on a terminal of this width.
fn on_terminal(lab: &Lab, columns: &str, args: &[&str], env: &[(&str, &str)]) -> String {
    let relay = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/terminal.py");
    let mut command = Command::new("python3");
    command.args([relay, columns, env!("CARGO_BIN_EXE_offsetd")]).args(args).args(["--server", &lab.url("")]);
    command.env("TERM", "xterm").env("PAGER", "").env_remove("NO_COLOR").envs(env.iter().copied());
    stdout(&command.output().unwrap()).replace('\r', "")
}

#[test]
fn every_table_fits_the_terminal() {
    let lab = lab();
    let member = "a-member-with-a-name-that-is-longer-than-many-terminals-are-wide-which-is-common-in-practice";
    lab.commit("a-group-with-a-long-name-indeed", "orders", 0, 7);
    lab.writer.write_group(&stable_group("payments", 2, &[(member, &[("orders", &[0])])]), 1).unwrap();
    lab.settle();
    for columns in ["80", "120"] {
        for args in [
            &["groups"][..],
            &["groups", "--active"],
            &["group", "billing"],
            &["group", "payments"],
            &["status", "--partitions"],
            &["sql", "SELECT group_id, topic, lag, status, client_id FROM lag"],
            &["sql", "\\d lag"],
        ] {
            let shown = on_terminal(&lab, columns, args, &[("NO_COLOR", "1")]);
            // Lines of `name: value` belong to no table.
            let lines = shown.lines().filter(|line| !line.contains(":  "));
            let longest = lines.map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= columns.parse().unwrap(), "{args:?}: {longest} columns\n{shown}");
        }
    }
}

#[test]
fn status_has_a_colour_on_a_terminal_unless_no_color_is_set() {
    let lab = lab();
    let status = "SELECT 'stopped' AS status";
    assert!(on_terminal(&lab, "80", &["sql", status], &[]).contains("\u{1b}[31mstopped\u{1b}[0m"));
    assert!(!on_terminal(&lab, "80", &["sql", status], &[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(!on_terminal(&lab, "80", &["sql", status], &[("TERM", "dumb")]).contains('\u{1b}'));
    assert!(!stdout(&sql(&lab, &[status], "")).contains('\u{1b}'), "output to a pipe has no colours");
}
