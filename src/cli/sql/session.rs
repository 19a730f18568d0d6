//! Runs the statements and commands of the prompt and of scripts.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Write},
    path::Path,
    time::Duration,
};

use serde::Deserialize;
use tokio::{runtime::Runtime, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use super::{
    Format, SqlArgs,
    command::{Command, Copy, HELP, RunMode},
    editor,
    execute::{OutputOptions, execute},
    hints,
    input::{Input, Step},
    output_file::{OutputFile, check_single_result},
    pager::PagedOutput,
    request,
};
use crate::{
    cli::{
        Failure,
        connect::{Client, connect},
        group::query_rows,
        output,
        text::{Expanded, TableLayout, count, escape, now},
    },
    rpc::proto::{SqlRequest, SqlValue, sql_value::Value},
};

/// Returns the tables and views, for `\d`.
const TABLES: &str = "SELECT DISTINCT table_name AS name, CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END AS kind, \
                      table_comment AS comment \
                      FROM columns JOIN information_schema.tables USING (table_name) \
                      WHERE table_schema = 'public' ORDER BY name";

/// Returns the columns of a table, for `\d TABLE`. Arrow types are shown with their SQL names.
const COLUMNS: &str = "SELECT column_name AS name, \
                       CASE WHEN data_type = 'Utf8' THEN 'text' WHEN data_type = 'Boolean' THEN 'boolean' \
                       WHEN data_type = 'Int32' THEN 'integer' WHEN data_type = 'Int64' THEN 'bigint' \
                       WHEN data_type = 'Float64' THEN 'double' WHEN data_type LIKE 'Timestamp%' THEN 'timestamp' \
                       WHEN data_type LIKE 'List%Utf8%' THEN 'text[]' WHEN data_type LIKE 'List%Int32%' THEN 'integer[]' \
                       ELSE data_type END AS type, \
                       CASE WHEN nullable THEN 'yes' ELSE 'no' END AS nullable, comment \
                       FROM columns WHERE table_name = $1 ORDER BY position";

/// Returns the names of all tables and views.
const NAMES: &str = "SELECT DISTINCT table_name FROM columns";

/// Maximum depth of scripts that include each other.
const MAX_DEPTH: usize = 16;

/// The action of the caller after a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextAction {
    Continue,
    /// End the prompt or the script.
    Exit,
    /// Take this edited text as the next input of the prompt.
    Edit(String),
}

/// A connection, with the display options that commands change.
pub(super) struct Session<'a> {
    args: &'a SqlArgs,
    runtime: &'a Runtime,
    client: Option<Client>,
    /// Whether the steps come from the prompt, which continues after an error and after Ctrl-C.
    is_prompt: bool,
    timing: bool,
    expanded: Expanded,
    pager: bool,
    /// The file to which results are written instead of standard output.
    file: Option<OutputFile>,
    /// Whether a result has been written to standard output.
    has_result: bool,
    /// Number of statements and commands so far.
    steps: usize,
    /// Number of scripts that include each other at this point.
    depth: usize,
}

impl<'a> Session<'a> {
    /// Returns the session of a prompt, or without a client that of scripts, which connects for the first statement.
    pub(super) fn new(args: &'a SqlArgs, runtime: &'a Runtime, prompt: Option<Client>) -> Self {
        Self {
            args,
            runtime,
            is_prompt: prompt.is_some(),
            client: prompt,
            timing: true,
            expanded: Expanded::Auto,
            pager: true,
            file: None,
            has_result: false,
            steps: 0,
            depth: 0,
        }
    }

    /// Returns whether any statement or command has been run.
    pub(super) fn has_run(&self) -> bool {
        self.steps > 0
    }

    /// Runs a script. Ends at the first error, which is returned with the name of the script and the line number.
    pub(super) fn script(&mut self, name: Option<&str>, script: impl BufRead) -> Result<NextAction, Failure> {
        let mut input = Input::default();
        let mut number = 0;
        let at = |number: usize, failure| match name {
            Some(name) => with_location(failure, &format!("{name}: line {number}: ")),
            None => failure,
        };
        for line in script.lines() {
            number += 1;
            let line = line.map_err(|error| {
                Failure::Command(format!(
                    "cannot read the statements from {}: {error}",
                    name.unwrap_or("standard input")
                ))
            })?;
            for step in input.line(&line) {
                if self.step(step).map_err(|failure| at(number, failure))? == NextAction::Exit {
                    return Ok(NextAction::Exit);
                }
            }
        }
        match input.rest() {
            Some(step) => self.step(step).map_err(|failure| at(number, failure)),
            None => Ok(NextAction::Continue),
        }
    }

    /// Runs the script in a file; `-` is standard input.
    pub(super) fn file(&mut self, path: &Path) -> Result<NextAction, Failure> {
        if path.as_os_str() == "-" {
            return self.script(None, io::stdin().lock());
        }
        let name = escape(&path.display().to_string()).into_owned();
        let file = File::open(path).map_err(|error| Failure::Command(format!("cannot read {name}: {error}")))?;
        if self.depth >= MAX_DEPTH {
            return Err(Failure::Command(format!("{name}: scripts include each other more than {MAX_DEPTH} deep")));
        }
        self.depth += 1;
        let ended = self.script(Some(&name), BufReader::new(file));
        self.depth -= 1;
        ended
    }

    pub(super) fn step(&mut self, step: Step) -> Result<NextAction, Failure> {
        self.steps += 1;
        match step {
            Step::Run(statement, how) => self.run(&statement, how)?,
            Step::Command(command) => return self.command(command),
        }
        Ok(NextAction::Continue)
    }

    fn command(&mut self, command: Command) -> Result<NextAction, Failure> {
        let mut err = io::stderr();
        match command {
            Command::Quit => return Ok(NextAction::Exit),
            Command::Tables => drop(self.show_result(request(TABLES, vec![]), self.expanded)?),
            Command::Columns(table) => self.columns(table)?,
            Command::Expanded(state) => {
                let other = if self.expanded == Expanded::On { Expanded::Auto } else { Expanded::On };
                self.expanded = state.unwrap_or(other);
                let state = match self.expanded {
                    Expanded::Auto => "auto: only if a table is too wide",
                    Expanded::On => "on",
                    Expanded::Off => "off",
                };
                writeln!(err, "expanded display is {state}")?;
            }
            Command::Timing(state) => {
                self.timing = state.unwrap_or(!self.timing);
                writeln!(err, "timing is {}", if self.timing { "on" } else { "off" })?;
            }
            Command::Pager(state) => {
                self.pager = state.unwrap_or(!self.pager);
                writeln!(err, "the pager is {}", if self.pager { "on" } else { "off" })?;
            }
            Command::Help => err.write_all(HELP.as_bytes())?,
            Command::Include(file) => {
                // `\q` in an included script ends only that script.
                self.file(&file)?;
            }
            Command::Output(None) => self.file = None,
            Command::Output(Some(path)) => self.file = Some(OutputFile::create(path)?),
            Command::Copy(copy) => self.copy(copy)?,
            Command::Edit(statement) if self.is_prompt => return Ok(NextAction::Edit(editor::edit(&statement)?)),
            Command::Edit(_) => return Err(Failure::Command("\\e works at the prompt only".to_owned())),
            Command::Run(_) => {}
            Command::Invalid(problem) => return Err(Failure::Command(problem)),
        }
        Ok(NextAction::Continue)
    }

    fn run(&mut self, statement: &str, how: RunMode) -> Result<(), Failure> {
        let ended = match how {
            RunMode::Show => self.show_result(self.args.request(statement), self.expanded).map(drop),
            RunMode::Expanded => self.show_result(self.args.request(statement), Expanded::On).map(drop),
            RunMode::ToFile(path) => {
                let format = self.args.format;
                self.write_to(OutputFile::create(path)?, format, statement)
            }
            RunMode::Watch(pause) => self.watch(statement, pause),
        };
        ended.map_err(|failure| self.with_hints(statement, failure))
    }

    /// Runs a statement at an interval, until Ctrl-C.
    fn watch(&mut self, statement: &str, pause: Duration) -> Result<(), Failure> {
        let is_screen = io::stdout().is_terminal() && self.file.is_none();
        let pager = std::mem::replace(&mut self.pager, false);
        let stop = CancellationToken::new();
        // In a script, Ctrl-C ends the process.
        let listener = self.is_prompt.then(|| {
            let stop = stop.clone();
            self.runtime.spawn(async move {
                // If the signal handler cannot be installed, the watch continues.
                if tokio::signal::ctrl_c().await.is_ok() {
                    stop.cancel();
                }
            })
        });
        let every = humantime::format_duration(pause);
        let ended = loop {
            if self.args.format == Format::Table {
                // On a terminal, each result replaces the one before it.
                let clear = if is_screen { "\u{1b}[2J\u{1b}[H" } else { "" };
                writeln!(io::stdout(), "{clear}{} (every {every}, until Ctrl-C)\n", now())?;
            }
            if let Err(failure) = self.show_result(self.args.request(statement), self.expanded) {
                break Err(failure);
            }
            let waited = self.runtime.block_on(async { tokio::time::timeout(pause, stop.cancelled()).await });
            if waited.is_ok() {
                break Ok(());
            }
        };
        listener.iter().for_each(JoinHandle::abort);
        self.pager = pager;
        ended
    }

    fn copy(&mut self, copy: Copy) -> Result<(), Failure> {
        let Copy { statement, to, format } = copy;
        let target = OutputFile::create(to)?;
        self.write_to(target, format, &statement).map_err(|failure| self.with_hints(&statement, failure))
    }

    /// Runs a statement and writes its result to a file of its own.
    fn write_to(&mut self, mut target: OutputFile, format: Format, statement: &str) -> Result<(), Failure> {
        let show = OutputOptions { format, layout: TableLayout::default(), timing: false, whole: "" };
        let (path, request) = (target.path.clone(), self.args.request(statement));
        let rows = self.execute(request, &mut target.file, &show, false).map_err(|failure| target.failed(failure))?;
        writeln!(io::stderr(), "{} written to {}", count(rows, "row"), escape(&path.display().to_string()))?;
        Ok(())
    }

    fn columns(&mut self, table: String) -> Result<(), Failure> {
        let name = SqlValue { value: Some(Value::StringValue(table.clone())) };
        let known = self.names()?;
        if !known.contains(&table) {
            let error = format!("table '{table}' not found");
            return Err(Failure::Command(hints::with_suggestion(&error, &known)));
        }
        self.show_result(request(COLUMNS, vec![name]), self.expanded).map(drop)
    }

    /// Runs a statement and shows its result, or writes it to the file of `\o`. Returns the number of rows.
    fn show_result(&mut self, request: Request<SqlRequest>, expanded: Expanded) -> Result<i64, Failure> {
        let format = self.args.format;
        if let Some(mut target) = self.file.take() {
            let layout = TableLayout { expanded, ..TableLayout::default() };
            let show = OutputOptions { format, layout, timing: self.timing, whole: "" };
            let answered = check_single_result(format, target.has_result).and_then(|()| {
                target.has_result = true;
                self.execute(request, &mut target.file, &show, false)
            });
            let answered = answered.map_err(|failure| target.failed(failure));
            self.file = Some(target);
            return answered;
        }
        if !self.is_prompt {
            check_single_result(format, self.has_result)?;
            self.has_result = true;
        }
        let whole = if self.is_prompt { "\\x" } else { "--format csv" };
        let show = OutputOptions { format, layout: TableLayout::of_output(expanded), timing: self.timing, whole };
        let paged = (self.pager && format == Format::Table).then(PagedOutput::of_output).flatten();
        let Some(mut paged) = paged else { return self.execute(request, output(), &show, false) };
        let answered = self.execute(request, &mut paged, &show, true);
        let is_closed = paged.is_closed();
        paged.finish()?;
        match answered {
            Err(Failure::Output(_)) if is_closed => Ok(0),
            answered => answered,
        }
    }

    fn execute(
        &mut self,
        request: Request<SqlRequest>,
        out: impl Write + Send,
        show: &OutputOptions,
        is_paged: bool,
    ) -> Result<i64, Failure> {
        // In a script, Ctrl-C ends the process, unless a pager is using the terminal.
        let handles_ctrl_c = self.is_prompt || is_paged;
        let runtime = self.runtime;
        let client = self.client()?;
        runtime.block_on(async {
            let stopped =
                async { if handles_ctrl_c { tokio::signal::ctrl_c().await } else { std::future::pending().await } };
            tokio::select! {
                result = execute(client, request, out, show) => result,
                _ = stopped => Err(Failure::Command("the statement was cancelled".to_owned())),
            }
        })
    }

    fn client(&mut self) -> Result<&mut Client, Failure> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.runtime.block_on(connect(&self.args.server))?,
        };
        Ok(self.client.insert(client))
    }

    /// Returns the error of a statement with its position, and with the table that was probably meant.
    fn with_hints(&mut self, statement: &str, failure: Failure) -> Failure {
        let Failure::Command(error) = failure else { return failure };
        let named = match hints::missing_table(&error) {
            // If the names cannot be requested, the error is shown without a suggestion.
            Some(_) => self.names().map_or_else(|_| error.clone(), |names| hints::with_suggestion(&error, &names)),
            None => error,
        };
        Failure::Command(hints::with_caret(statement, &named))
    }

    fn names(&mut self) -> Result<Vec<String>, Failure> {
        #[derive(Deserialize)]
        struct Named {
            table_name: String,
        }
        let runtime = self.runtime;
        let named: Vec<Named> = runtime.block_on(query_rows(self.client()?, request(NAMES, vec![]).into_inner()))?;
        Ok(named.into_iter().map(|named| named.table_name).collect())
    }
}

/// Returns the failure with its place in a script.
fn with_location(failure: Failure, place: &str) -> Failure {
    match failure {
        Failure::Command(text) => Failure::Command(format!("{place}{text}")),
        Failure::Usage(text) => Failure::Usage(format!("{place}{text}")),
        other => other,
    }
}
