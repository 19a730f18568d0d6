//! The interactive prompt of `offsetd sql`.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use rustyline::{CompletionType, Config, Editor, error::ReadlineError, history::FileHistory};
use tokio::runtime::Runtime;

use super::{
    SqlArgs,
    command::{Command, RunMode},
    input::{Input, Step},
    session::{NextAction, Session},
};
use crate::cli::{
    Failure,
    connect::connect,
    text::{escape, escape_lines},
};

mod helper;

use helper::Completer;

const HISTORY_LINES: usize = 10_000;

/// Connects to the server and runs the prompt until the user leaves it.
///
/// # Errors
/// Returns an error if the connection or the terminal fails.
pub(super) fn run(args: &SqlArgs, runtime: &Runtime) -> Result<(), Failure> {
    let server = args.server.resolve()?;
    let client = runtime.block_on(connect(&server))?;
    let mut err = io::stderr();
    let name = server.server.as_deref().unwrap_or_default();
    writeln!(err, "Connected to {}. \\? or help lists the commands, \\q leaves the prompt.", escape(name))?;

    let config = Config::builder()
        .max_history_size(HISTORY_LINES)
        .map_err(terminal_failed)?
        .auto_add_history(false)
        .completion_type(CompletionType::List)
        .completion_show_all_if_ambiguous(true)
        .build();
    let mut editor = Editor::<Completer<'_>, FileHistory>::with_config(config).map_err(terminal_failed)?;
    editor.set_helper(Some(Completer::new(runtime, client.clone())));
    let mut session = Session::new(args, runtime, Some(client));
    let history = history_path();
    if let Some(path) = &history {
        // The file does not exist the first time.
        let _ = editor.load_history(path);
    }
    let mut input = Input::default();
    loop {
        if let Some(completer) = editor.helper_mut() {
            completer.set_lines_above(input.text());
        }
        match editor.readline(if input.is_open() { "      -> " } else { "offsetd> " }) {
            Ok(line) => {
                let mut lines = vec![line];
                while let Some(line) = lines.pop() {
                    for step in input.line(&line) {
                        if let Some(text) = history_text(&step) {
                            add_history(&mut editor, text, history.as_deref());
                        }
                        match report_error(session.step(step))? {
                            NextAction::Continue => {}
                            NextAction::Exit => return Ok(()),
                            NextAction::Edit(text) => {
                                err.write_all(escape_lines(&text).as_bytes())?;
                                lines = text.lines().rev().map(str::to_owned).collect();
                            }
                        }
                    }
                }
            }
            Err(ReadlineError::Interrupted) => input.clear(),
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(terminal_failed(error)),
        }
    }
}

/// Writes the error of a step, after which the prompt continues. Returns only the error of a closed terminal.
fn report_error(ended: Result<NextAction, Failure>) -> Result<NextAction, Failure> {
    match ended {
        Err(Failure::Output(error)) => Err(Failure::Output(error)),
        Err(failure) => {
            writeln!(io::stderr(), "{}", escape_lines(&failure.to_string()))?;
            Ok(NextAction::Continue)
        }
        ended => ended,
    }
}

fn terminal_failed(error: ReadlineError) -> Failure {
    Failure::Command(format!("the terminal failed: {error}"))
}

/// Returns the line that is added to the history for a step, if any.
fn history_text(step: &Step) -> Option<String> {
    match step {
        Step::Run(statement, RunMode::Expanded) => Some(format!("{statement} \\gx")),
        Step::Run(statement, RunMode::Watch(pause)) => Some(format!("{statement} \\watch {}", pause.as_secs_f64())),
        Step::Run(statement, RunMode::Show | RunMode::ToFile(_)) => Some(format!("{statement};")),
        Step::Command(Command::Columns(table)) => Some(format!("\\d {table}")),
        Step::Command(Command::Include(file)) => Some(format!("\\i {}", file.display())),
        Step::Command(_) => None,
    }
}

/// Adds a line to the history and appends it to the file immediately, since the terminal may be closed at any time and
/// several prompts may share the file. Errors are ignored: the prompt also works without a history file.
fn add_history(editor: &mut Editor<Completer<'_>, FileHistory>, text: String, history: Option<&Path>) {
    let _ = editor.add_history_entry(text);
    if let Some(path) = history
        && let Some(dir) = path.parent()
        && fs::create_dir_all(dir).is_ok()
    {
        let _ = editor.append_history(path);
    }
}

/// Returns `$XDG_STATE_HOME/offsetd/history`, or `~/.local/state/offsetd/history` if the variable is not set.
fn history_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("offsetd").join("history"))
}
