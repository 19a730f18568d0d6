//! The prompt of `offsetd sql` on a terminal.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use rustyline::{Config, Editor, error::ReadlineError, history::FileHistory};
use tokio::runtime::Runtime;

use super::{
    Notes, SqlArgs, execute,
    input::{Command, Input, Step},
};
use crate::{
    cli::{
        Failure,
        connect::{Client, connect},
        output,
        text::{escape, escape_lines},
    },
    rpc::proto::{SqlValue, sql_value::Value},
};

const HELP: &str = "\
  statement;       run it; it may take several lines
  \\d               tables
  \\d TABLE         columns of a table
  \\timing          show the time of statements, or do not
  \\q               leave (also Ctrl-D); Ctrl-C stops a statement
";

const TABLES: &str = "SELECT table_name FROM information_schema.tables \
                      WHERE table_schema = 'public' ORDER BY table_name";

const COLUMNS: &str = "SELECT column_name, data_type, is_nullable FROM information_schema.columns \
                       WHERE table_schema = 'public' AND table_name = $1 ORDER BY ordinal_position";

const HISTORY_LINES: usize = 10_000;

pub(super) fn run(args: &SqlArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Internal(error.into()))?;
    let client = runtime.block_on(connect(&args.server))?;
    let mut prompt = Prompt { args, runtime, client, notes: Notes { timing: true } };
    let mut err = io::stderr();
    writeln!(err, "Connected to {}. \\? shows commands, \\q leaves.", escape(&args.server.server))?;

    let config = Config::builder().max_history_size(HISTORY_LINES).map_err(terminal)?.auto_add_history(false).build();
    let mut editor = Editor::<(), FileHistory>::with_config(config).map_err(terminal)?;
    let history = history_path();
    if let Some(path) = &history {
        // There is none the first time.
        let _ = editor.load_history(path);
    }
    let mut input = Input::default();
    loop {
        match editor.readline(if input.is_open() { "      -> " } else { "offsetd> " }) {
            Ok(line) => {
                let steps = input.line(&line);
                for step in steps {
                    if let Some(text) = history_text(&step) {
                        let _ = editor.add_history_entry(text);
                    }
                    if prompt.step(step)? == Next::Leave {
                        return leave(editor, history.as_deref());
                    }
                }
            }
            Err(ReadlineError::Interrupted) => input.clear(),
            Err(ReadlineError::Eof) => return leave(editor, history.as_deref()),
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

/// Without a place for the history, there is none: not worth a failure.
fn leave(mut editor: Editor<(), FileHistory>, history: Option<&Path>) -> Result<(), Failure> {
    if let Some(path) = history
        && let Some(dir) = path.parent()
        && fs::create_dir_all(dir).is_ok()
    {
        let _ = editor.save_history(path);
    }
    Ok(())
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
    runtime: Runtime,
    client: Client,
    notes: Notes,
}

impl Prompt<'_> {
    fn step(&mut self, step: Step) -> Result<Next, Failure> {
        match step {
            Step::Run(statement) => self.statement(&statement, None)?,
            Step::Command(Command::Quit) => return Ok(Next::Leave),
            Step::Command(Command::Tables) => self.statement(TABLES, Some(Vec::new()))?,
            Step::Command(Command::Columns(table)) => {
                let table = SqlValue { value: Some(Value::StringValue(table)) };
                self.statement(COLUMNS, Some(vec![table]))?;
            }
            Step::Command(Command::Timing) => {
                self.notes.timing = !self.notes.timing;
                writeln!(io::stderr(), "timing is {}", if self.notes.timing { "on" } else { "off" })?;
            }
            Step::Command(Command::Help) => io::stderr().write_all(HELP.as_bytes())?,
            Step::Command(Command::Unknown(name)) => {
                writeln!(io::stderr(), "no command {}; \\? shows what there is", escape(&name))?;
            }
        }
        Ok(Next::Go)
    }

    /// A statement that fails is told of, and the prompt goes on.
    fn statement(&mut self, statement: &str, parameters: Option<Vec<SqlValue>>) -> Result<(), Failure> {
        let request = self.args.request(statement, parameters);
        let (client, notes, format) = (&mut self.client, &self.notes, self.args.format);
        let result = self.runtime.block_on(async {
            tokio::select! {
                result = execute(client, request, format, output(), notes) => result,
                _ = tokio::signal::ctrl_c() => Err(Failure::Command("stopped".to_owned())),
            }
        });
        match result {
            Err(Failure::Output(error)) => Err(Failure::Output(error)),
            Err(failure) => Ok(writeln!(io::stderr(), "{}", escape_lines(&failure.to_string()))?),
            Ok(()) => Ok(()),
        }
    }
}
