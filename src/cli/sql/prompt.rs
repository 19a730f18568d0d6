//! The prompt of `offsetd sql` on a terminal.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use rustyline::{CompletionType, Config, Editor, error::ReadlineError, history::FileHistory};
use tokio::runtime::Runtime;

use super::{
    Show, SqlArgs, execute,
    input::{Command, Input, Step},
    request,
};
use crate::{
    cli::{
        Failure,
        connect::{Client, connect},
        output,
        text::{Expanded, Layout, escape, escape_lines},
    },
    rpc::proto::{SqlRequest, SqlValue, sql_value::Value},
};

mod helper;

use helper::Completer;

const HELP: &str = "\
  statement;       run it; it may take several lines
  \\d               tables and views
  \\d TABLE         columns of a table or view, and what they mean
  \\x [on|off|auto] show rows as blocks, a column a line; auto: where a table does not fit the terminal
  \\timing          show the time of statements, or do not
  \\q               leave (also Ctrl-D); Ctrl-C stops a statement; TAB completes
";

const TABLES: &str = "SELECT DISTINCT table_name AS name, CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END AS kind, \
                      table_comment AS comment \
                      FROM columns JOIN information_schema.tables USING (table_name) \
                      WHERE table_schema = 'public' ORDER BY name";

const COLUMNS: &str = "SELECT column_name AS name, data_type AS type, \
                       CASE WHEN nullable THEN 'yes' ELSE 'no' END AS nullable, comment \
                       FROM columns WHERE table_name = $1 ORDER BY position";

const HISTORY_LINES: usize = 10_000;

pub(super) fn run(args: &SqlArgs) -> Result<(), Failure> {
    // A thread of its own cancels statements and answers pings while the user types.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Internal(error.into()))?;
    let client = runtime.block_on(connect(&args.server))?;
    let mut err = io::stderr();
    writeln!(err, "Connected to {}. \\? shows commands, \\q leaves.", escape(&args.server.server))?;

    let config = Config::builder()
        .max_history_size(HISTORY_LINES)
        .map_err(terminal)?
        .auto_add_history(false)
        .completion_type(CompletionType::List)
        .completion_show_all_if_ambiguous(true)
        .build();
    let mut editor = Editor::<Completer<'_>, FileHistory>::with_config(config).map_err(terminal)?;
    editor.set_helper(Some(Completer::new(&runtime, client.clone())));
    let mut prompt = Prompt { args, runtime: &runtime, client, timing: true, expanded: Expanded::Auto };
    let history = history_path();
    if let Some(path) = &history {
        // There is none the first time.
        let _ = editor.load_history(path);
    }
    let mut input = Input::default();
    loop {
        if let Some(completer) = editor.helper_mut() {
            completer.edit_after(input.text());
        }
        match editor.readline(if input.is_open() { "      -> " } else { "offsetd> " }) {
            Ok(line) => {
                for step in input.line(&line) {
                    if let Some(text) = history_text(&step) {
                        keep(&mut editor, text, history.as_deref());
                    }
                    if prompt.step(step)? == Next::Leave {
                        return Ok(());
                    }
                }
            }
            Err(ReadlineError::Interrupted) => input.clear(),
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(terminal(error)),
        }
    }
}

fn terminal(error: ReadlineError) -> Failure {
    Failure::Command(format!("the terminal failed: {error}"))
}

fn history_text(step: &Step) -> Option<String> {
    match step {
        Step::Run(statement) => Some(format!("{statement};")),
        Step::Command(Command::Columns(table)) => Some(format!("\\d {table}")),
        Step::Command(_) => None,
    }
}

/// Keeps a line, at once: the terminal may be closed any moment, and there may be another prompt. Without a place for
/// the history there is none, which is not worth a failure.
fn keep(editor: &mut Editor<Completer<'_>, FileHistory>, text: String, history: Option<&Path>) {
    let _ = editor.add_history_entry(text);
    if let Some(path) = history
        && let Some(dir) = path.parent()
        && fs::create_dir_all(dir).is_ok()
    {
        let _ = editor.append_history(path);
    }
}

/// `$XDG_STATE_HOME/offsetd/history`, or below `~/.local/state`.
fn history_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("offsetd").join("history"))
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Go,
    Leave,
}

struct Prompt<'a> {
    args: &'a SqlArgs,
    runtime: &'a Runtime,
    client: Client,
    timing: bool,
    expanded: Expanded,
}

impl Prompt<'_> {
    fn step(&mut self, step: Step) -> Result<Next, Failure> {
        match step {
            Step::Run(statement) => drop(self.run(self.args.request(&statement))?),
            Step::Command(Command::Quit) => return Ok(Next::Leave),
            Step::Command(Command::Tables) => drop(self.run(request(TABLES, vec![]))?),
            Step::Command(Command::Columns(table)) => self.columns(table)?,
            Step::Command(Command::Expanded(state)) => {
                let other = if self.expanded == Expanded::On { Expanded::Auto } else { Expanded::On };
                self.expanded = state.unwrap_or(other);
                let state = match self.expanded {
                    Expanded::Auto => "where a table does not fit",
                    Expanded::On => "always",
                    Expanded::Off => "never",
                };
                writeln!(io::stderr(), "rows are shown as blocks: {state}")?;
            }
            Step::Command(Command::Timing) => {
                self.timing = !self.timing;
                writeln!(io::stderr(), "timing is {}", if self.timing { "on" } else { "off" })?;
            }
            Step::Command(Command::Help) => io::stderr().write_all(HELP.as_bytes())?,
            Step::Command(Command::Unknown(name)) => {
                writeln!(io::stderr(), "no command {}; \\? shows what there is", escape(&name))?;
            }
        }
        Ok(Next::Go)
    }

    fn columns(&mut self, table: String) -> Result<(), Failure> {
        let name = SqlValue { value: Some(Value::StringValue(table.clone())) };
        if self.run(request(COLUMNS, vec![name]))? == Some(0) {
            writeln!(io::stderr(), "no table or view {}; \\d shows what there is", escape(&table))?;
        }
        Ok(())
    }

    /// Runs a statement and returns the number of rows. Writes an error, after which the prompt goes on.
    fn run(&mut self, request: tonic::Request<SqlRequest>) -> Result<Option<i64>, Failure> {
        let layout = Layout::of_output(self.expanded);
        let show = Show { format: self.args.format, layout, timing: self.timing, whole: "\\x" };
        let client = &mut self.client;
        let result = self.runtime.block_on(async {
            tokio::select! {
                result = execute(client, request, output(), &show) => result,
                _ = tokio::signal::ctrl_c() => Err(Failure::Command("stopped".to_owned())),
            }
        });
        match result {
            Ok(rows) => Ok(Some(rows)),
            Err(Failure::Output(error)) => Err(Failure::Output(error)),
            Err(failure) => {
                writeln!(io::stderr(), "{}", escape_lines(&failure.to_string()))?;
                Ok(None)
            }
        }
    }
}
