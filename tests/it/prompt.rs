//! The prompt of `offsetd sql` on a terminal, controlled by key presses.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use offsetd::rpc::proto::SqlRequest;
use regex::Regex;
use tempfile::TempDir;

use crate::process::{Process, wait_for};
use crate::support::{LIMIT, Lab, Setup, kafka, until};

const TAB: &str = "\t";
const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";
const UP: &str = "\u{1b}[A";

/// A terminal with the prompt on it.
struct Terminal {
    process: Process,
    log: std::path::PathBuf,
    /// Length of the output that was already consumed.
    seen: usize,
    _dir: TempDir,
}

impl Terminal {
    /// Opens a terminal with this number of columns; `home` stores the history.
    fn open(lab: &Lab, home: &Path, columns: u16) -> Self {
        Self::with(lab, home, columns, &[("PAGER", "")])
    }

    /// Opens a terminal with additional environment variables.
    fn with(lab: &Lab, home: &Path, columns: u16, env: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        let log = dir.path().join("shown");
        let relay = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terminal.py");
        let mut command = Command::new("python3");
        command.arg(relay).arg(columns.to_string()).arg(env!("CARGO_BIN_EXE_offsetd"));
        command.args(["sql", "--server", &lab.url("")]).env("TERM", "xterm").env("XDG_STATE_HOME", home);
        command.env("NO_COLOR", "1").envs(env.iter().copied());
        let process = Process::spawn("the prompt", &command, None, log.clone());
        let mut terminal = Self { process, log, seen: 0, _dir: dir };
        terminal.shows("offsetd> ");
        terminal
    }

    fn press(&mut self, keys: &str) {
        let stdin = self.process.child().stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
    }

    /// Returns all output, without the sequences that move the cursor.
    fn screen(&self) -> String {
        let shown = String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned();
        Regex::new("\u{1b}\\[[0-9;?]*[A-Za-z]|\r|\u{7}").unwrap().replace_all(&shown, "").into_owned()
    }

    /// Waits until the text appears after the output consumed before; returns the output up to the end of the text.
    fn shows(&mut self, text: &str) -> String {
        let (from, end) = wait_for(&format!("{text:?}"), LIMIT, || {
            let new = self.screen().split_off(self.seen);
            let Some(at) = new.find(text) else {
                self.process.check_alive().unwrap_or_else(|ended| panic!("{ended}"));
                return Err(new);
            };
            Ok((self.seen, self.seen + at + text.len()))
        });
        self.seen = end;
        self.screen().get(from..end).unwrap().to_owned()
    }

    /// Presses TAB until the word ends with the text: a TAB gives up on a slow server, and the next one finds the
    /// answer.
    fn completes(&mut self, text: &str) {
        wait_for(&format!("{text:?}"), LIMIT, || {
            let screen = self.screen();
            if screen.ends_with(text) {
                return Ok(());
            }
            self.press(TAB);
            Err(screen)
        });
    }

    /// Types a line, and returns the output until the next prompt.
    fn line(&mut self, line: &str) -> String {
        self.press(line);
        // The echo may be redrawn, but its last words are complete.
        self.press("\r");
        self.shows("\noffsetd> ")
    }

    fn leave(mut self, keys: &str) {
        self.press(keys);
        assert_eq!(self.process.wait_exit(LIMIT).code(), Some(0));
    }
}

/// Starts a server with one offset, which runs one statement at a time while others wait.
fn lab(group: &str) -> Lab {
    let setup = Setup::default().with("SQL_CONCURRENCY", "1").with("SQL_TIMEOUT", "10min");
    let lab = setup.ready(&kafka(1));
    lab.commit(group, "orders", 0, 4_711);
    lab.settle();
    lab
}

#[test]
fn tab_completes_tables_columns_and_keywords_from_the_server() {
    let (lab, home) = (lab("billing"), TempDir::new().unwrap());
    let mut terminal = Terminal::open(&lab, home.path(), 100);
    terminal.press(&format!("sel{TAB} committed_o"));
    terminal.shows("select committed_o");
    terminal.completes("ffset");
    terminal.press(&format!(" from off{TAB} where part{TAB}"));
    terminal.shows("offsetd> select committed_offset from offsets where partition");
    let answer = terminal.line(" = 0;");
    assert!(answer.contains("4711"), "{answer}");
    // The alias of the table above selects its columns; an ambiguous prefix lists all of them.
    terminal.press("SELECT count(*)\r");
    terminal.shows("      -> ");
    terminal.press("FROM active_consumers a\r");
    terminal.shows("      -> ");
    terminal.press(&format!("WHERE a.client_{TAB}"));
    let list = terminal.shows("client_id");
    assert!(list.contains("client_host"), "{list}");
    terminal.press(&format!("ho{TAB}"));
    terminal.shows("WHERE a.client_host");
    let answer = terminal.line(" IS NULL;");
    assert!(answer.contains("(1 row"), "{answer}");
    terminal.press(&format!("\\d mem{TAB}"));
    terminal.shows("\\d members");
    let answer = terminal.line("");
    assert!(answer.contains("instance_id") && answer.contains("group.instance.id of a static"), "{answer}");
    terminal.leave(CTRL_D);
}

#[test]
fn completion_does_without_a_server_that_does_not_answer() {
    let (lab, home) = (lab("billing"), TempDir::new().unwrap());
    let mut terminal = Terminal::open(&lab, home.path(), 100);
    drop(lab);
    terminal.press(&format!("SEL{TAB} 1 FROM off{TAB} LIM{TAB}"));
    terminal.shows("SELECT 1 FROM off LIMIT");
    terminal.press(CTRL_C);
    terminal.shows("offsetd> ");
    terminal.leave("\\q\r");
}

#[test]
fn tables_fit_the_terminal_or_become_records() {
    let group = "a-group-with-a-name-that-is-longer-than-the-terminal-is-wide";
    let (lab, home) = (lab(group), TempDir::new().unwrap());
    let mut terminal = Terminal::open(&lab, home.path(), 50);
    let narrow = "SELECT group_id, topic, committed_offset FROM offsets;";
    let answer = terminal.line(narrow);
    assert!(answer.contains("a-group-with-a-name-tha…  orders"), "{answer}");
    assert!(answer.contains("; values are shortened; \\x shows them in full"), "{answer}");
    let answer = terminal.line("\\x");
    assert!(answer.contains("expanded display is on"), "{answer}");
    let answer = terminal.line(narrow);
    assert!(answer.contains("─[ 1 ]──") && answer.contains(&format!("group_id          {group}")), "{answer}");
    assert!(!answer.contains("shortened"), "{answer}");
    assert!(terminal.line("\\x").contains("expanded display is auto"));
    let answer = terminal.line("SELECT * FROM lag;");
    assert!(answer.contains("─[ 1 ]──") && answer.contains("lag_unknown"), "a table that cannot fit: {answer}");
    assert!(terminal.line("\\x off").contains("expanded display is off"));
    assert!(terminal.line("SELECT * FROM lag;").contains("group_id      topic"));
    let answer = terminal.line("\\d");
    assert!(answer.contains("consumers           view   One row per g"), "{answer}");
    assert!(terminal.line("\\d nowhere").contains("no table or view nowhere; \\d lists tables and views"));
    assert!(!terminal.line("\\timing").is_empty());
    assert!(terminal.line("SELECT 1;").contains("(1 row)\n"));
    terminal.leave("\\q\r");
}

#[test]
fn ctrl_c_stops_a_statement_and_the_history_outlives_the_prompt() {
    let (lab, home) = (lab("billing"), TempDir::new().unwrap());
    let mut terminal = Terminal::open(&lab, home.path(), 100);
    terminal.press("SELECT count(*) FROM columns a, columns b, columns c, (SELECT * FROM columns LIMIT 20) d\r");
    terminal.shows("      -> ");
    terminal.press("WHERE a.position + b.position + c.position + d.position < 0;\r");
    let is_busy = || {
        let mut next = tonic::Request::new(SqlRequest { statement: "SELECT 1".into(), ..SqlRequest::default() });
        next.set_timeout(Duration::from_secs(2));
        lab.block_on(lab.client().sql(next)).is_err()
    };
    until("the statement to run", is_busy);
    terminal.press(CTRL_C);
    terminal.shows("the statement was cancelled");
    terminal.shows("offsetd> ");
    until("the server to stop it too", || !is_busy());
    // Ctrl-C discards an incomplete statement.
    terminal.press("SELECT 'never\r");
    terminal.shows("      -> ");
    terminal.press(CTRL_C);
    terminal.shows("offsetd> ");
    terminal.press("SELECT 40\r");
    terminal.shows("      -> ");
    let answer = terminal.line("+ 2 AS answer;");
    assert!(answer.contains("42"), "{answer}");
    // The terminal is closed without a clean exit, so the history must have been saved before.
    drop(terminal);
    let mut terminal = Terminal::open(&lab, home.path(), 100);
    terminal.press(UP);
    terminal.shows("+ 2 AS answer;");
    assert!(terminal.line("").contains("42"));
    terminal.leave(CTRL_D);
}

#[test]
fn words_that_people_type_are_understood() {
    let (lab, home) = (lab("billing"), TempDir::new().unwrap());
    let mut terminal = Terminal::open(&lab, home.path(), 100);
    let help = terminal.line("help");
    assert!(help.contains("\n  STATEMENT; ") && help.contains("\\watch [SECONDS]"), "{help}");
    let answer = terminal.line("SELECT committed_offset FROM ofsets;");
    let place =
        "did you mean offsets?\nLINE 1: SELECT committed_offset FROM ofsets\n                                     ^";
    assert!(answer.contains("no table or view ofsets") && answer.contains(place), "{answer}");
    let answer = terminal.line("\\d offsets");
    assert!(answer.contains("bigint") && answer.contains("timestamp") && !answer.contains("Utf8"), "{answer}");
    let answer = terminal.line("SELECT 1 AS one, 2 AS two \\gx");
    assert!(answer.contains("─[ 1 ]─") && answer.contains("one  1"), "{answer}");
    assert!(terminal.line("\\y").contains("unknown command \\y"));
    terminal.leave("exit\r");
    let terminal = Terminal::open(&lab, home.path(), 100);
    terminal.leave("quit;\r");
}

#[test]
fn a_watched_statement_shows_new_commits_until_ctrl_c() {
    let (lab, home) = (lab("billing"), TempDir::new().unwrap());
    let mut terminal = Terminal::open(&lab, home.path(), 100);
    terminal.press("SELECT committed_offset FROM offsets \\watch 0.2\r");
    terminal.shows("(every 200ms, until Ctrl-C)");
    terminal.shows("4711");
    lab.commit("billing", "orders", 0, 5_000);
    terminal.shows("5000");
    terminal.press(CTRL_C);
    terminal.shows("offsetd> ");
    assert!(terminal.line("SELECT 40 + 2 AS answer;").contains("42"));
    terminal.leave(CTRL_D);
}

#[test]
fn a_long_table_goes_through_the_pager_and_a_short_one_does_not() {
    let (lab, home) = (lab("billing"), TempDir::new().unwrap());
    let mut terminal = Terminal::with(&lab, home.path(), 100, &[("PAGER", "sed 's/^/paged: /'")]);
    let long = "SELECT column_name FROM columns WHERE table_name IN ('lag', 'groups') ORDER BY 1;";
    let answer = terminal.line(long);
    assert!(answer.contains("paged: committed_offset") && answer.contains("paged: ("), "{answer}");
    assert!(!terminal.line("SELECT 1 AS one;").contains("paged: "));
    assert!(terminal.line("\\pager off").contains("the pager is off"));
    assert!(!terminal.line(long).contains("paged: "));
    terminal.leave(CTRL_D);
    // With a pager that does not exist.
    let mut terminal = Terminal::with(&lab, home.path(), 100, &[("PAGER", "no-such-pager")]);
    assert!(terminal.line(long).contains("\ncommitted_offset"));
    terminal.leave(CTRL_D);
}

#[test]
fn a_statement_can_be_edited_and_answers_go_to_files() {
    let (lab, home) = (lab("billing"), TempDir::new().unwrap());
    let editor = [("PAGER", ""), ("VISUAL", "sed -i 's/4711/40 + 2/; s/$/;/'")];
    let mut terminal = Terminal::with(&lab, home.path(), 100, &editor);
    assert!(terminal.line("SELECT 4711 AS answer;").contains("4711"));
    let answer = terminal.line("\\e");
    assert!(answer.contains("SELECT 40 + 2 AS answer;") && answer.contains("42"), "{answer}");
    let (csv, table) = (home.path().join("lag.csv"), home.path().join("out.txt"));
    let answer = terminal.line(&format!("\\copy (SELECT group_id FROM offsets) to {}", csv.display()));
    assert!(answer.contains("1 row written to"), "{answer}");
    assert_eq!(fs::read_to_string(&csv).unwrap(), "group_id\nbilling\n");
    terminal.line(&format!("\\o {}", table.display()));
    assert!(!terminal.line("SELECT group_id FROM offsets;").contains("billing\n"));
    terminal.line("\\o");
    let written = fs::read_to_string(&table).unwrap();
    assert!(written.contains("billing\n(1 row"), "{written}");
    fs::write(home.path().join("report.sql"), "SELECT 'of the script' AS text\n;").unwrap();
    let answer = terminal.line(&format!("\\i {}", home.path().join("report.sql").display()));
    assert!(answer.contains("of the script"), "{answer}");
    terminal.leave(CTRL_D);
}
