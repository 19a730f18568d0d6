//! The backslash commands of the prompt and of scripts, and their help.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::Format;
use crate::cli::text::Expanded;

pub(super) const HELP: &str = concat!(
    "  STATEMENT;           run a statement; it may span several lines\n",
    "  \\g [FILE]            run the statement, like ; and write the result to FILE if given\n",
    "  \\gx                  run the statement and show rows as blocks, one line per column\n",
    "  \\watch [SECONDS]     run the statement every SECONDS (default: 2) until Ctrl-C\n",
    "  \\e                   edit the statement in $VISUAL or $EDITOR\n",
    "                       (without a statement, \\g, \\gx, \\watch and \\e use the last one)\n",
    "  \\d                   list tables and views\n",
    "  \\d TABLE             list the columns of a table or view, with their meaning\n",
    "  \\i FILE              run the statements and commands of FILE\n",
    "  \\o [FILE]            write results to FILE; without FILE, to the terminal\n",
    "  \\copy TABLE to FILE [FORMAT]\n",
    "  \\copy (STATEMENT) to FILE [FORMAT]\n",
    "                       write a result to FILE as csv, json, ndjson, arrow, parquet or table;\n",
    "                       the default follows the extension of FILE, or is csv\n",
    "  \\x [on|off|auto]     expanded display (one line per column); auto: only if the table is too wide\n",
    "  \\timing [on|off]     turn timing on or off\n",
    "  \\pager [on|off]      turn the pager for long tables on or off ($PAGER, default: less)\n",
    "  \\q, exit, quit       leave the prompt (or Ctrl-D); Ctrl-C cancels a statement; TAB completes\n",
    "\n",
    "Tables show numbers with at most 3 decimals, and seconds with 1; the other formats have all digits.\n",
);

/// The default interval of `\watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// A backslash command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `\q`
    Quit,
    /// `\d`
    Tables,
    /// `\d TABLE`
    Columns(String),
    /// `\x`, with the new state; `None` toggles it.
    Expanded(Option<Expanded>),
    /// `\timing`, with the new state; `None` toggles it.
    Timing(Option<bool>),
    /// `\pager`, with the new state; `None` toggles it.
    Pager(Option<bool>),
    /// `\?`
    Help,
    /// `\i FILE`
    Include(PathBuf),
    /// `\o`, with the file; `None` means standard output.
    Output(Option<PathBuf>),
    /// `\copy`
    Copy(Copy),
    /// `\e`, with the statement to edit.
    Edit(String),
    /// `\g`, `\gx` or `\watch`: runs the statement before the command, or the last statement.
    Run(RunMode),
    /// An unknown or malformed command, with the error text.
    Invalid(String),
}

/// The mode in which a statement is run and its result is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RunMode {
    /// `;` or `\g`.
    Show,
    /// `\g FILE`
    ToFile(PathBuf),
    /// `\gx`
    Expanded,
    /// `\watch`
    Watch(Duration),
}

/// The arguments of `\copy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) statement: String,
    pub(super) to: PathBuf,
    pub(super) format: Format,
}

/// Parses a command, which is given without its `\`.
pub(super) fn parse(command: &str) -> Command {
    let command = command.trim_end();
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim().trim_end_matches(';').trim_end();
    match (name.trim_end_matches(';'), rest) {
        ("q" | "quit", _) => Command::Quit,
        ("d" | "dt", "") => Command::Tables,
        ("d", table) => Command::Columns(table.to_owned()),
        ("x", "") => Command::Expanded(None),
        ("x", "on") => Command::Expanded(Some(Expanded::On)),
        ("x", "off") => Command::Expanded(Some(Expanded::Off)),
        ("x", "auto") => Command::Expanded(Some(Expanded::Auto)),
        ("timing", state) => {
            on_or_off(state).map_or_else(|| Command::Invalid("\\timing takes on or off".to_owned()), Command::Timing)
        }
        ("pager", state) => {
            on_or_off(state).map_or_else(|| Command::Invalid("\\pager takes on or off".to_owned()), Command::Pager)
        }
        ("?" | "h" | "help", _) => Command::Help,
        ("i", "") => Command::Invalid("\\i needs a file".to_owned()),
        ("i", file) => Command::Include(file_name(file)),
        ("o", "") => Command::Output(None),
        ("o", file) => Command::Output(Some(file_name(file))),
        ("copy", what) => copy(what).map_or_else(|| Command::Invalid(COPY_USAGE.to_owned()), Command::Copy),
        ("e", _) => Command::Edit(String::new()),
        ("g", "") => Command::Run(RunMode::Show),
        ("g", file) => Command::Run(RunMode::ToFile(file_name(file))),
        ("gx", _) => Command::Run(RunMode::Expanded),
        ("watch", "") => Command::Run(RunMode::Watch(WATCH_INTERVAL)),
        ("watch", every) => match interval(every) {
            Some(every) => Command::Run(RunMode::Watch(every)),
            None => Command::Invalid("\\watch takes seconds, for example \\watch 5 or \\watch 0.5".to_owned()),
        },
        (name, _) => Command::Invalid(format!("unknown command \\{name}; \\? lists the commands")),
    }
}

/// Parses `on`, `off` or nothing, which toggles the state (`Some(None)`). Returns `None` for any other text.
fn on_or_off(state: &str) -> Option<Option<bool>> {
    match state {
        "" => Some(None),
        "on" => Some(Some(true)),
        "off" => Some(Some(false)),
        _ => None,
    }
}

/// Parses an interval in seconds or with a unit, from 0.1 s to one day.
fn interval(text: &str) -> Option<Duration> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let pause = seconds.or_else(|| humantime::parse_duration(text).ok())?;
    (Duration::from_millis(100)..=Duration::from_secs(86_400)).contains(&pause).then_some(pause)
}

/// The error of a `\copy` that cannot be parsed.
const COPY_USAGE: &str = "usage: \\copy TABLE to FILE [FORMAT], or \\copy (STATEMENT) to FILE [FORMAT]";

/// Parses `TABLE to FILE [FORMAT]` or `(STATEMENT) to FILE [FORMAT]`. Returns `None` for any other text.
fn copy(what: &str) -> Option<Copy> {
    let lower = what.to_ascii_lowercase();
    let (at, _) = lower.rmatch_indices(" to ").next()?;
    let (source, target) = (what.get(..at).unwrap_or_default().trim(), what.get(at + 4..).unwrap_or_default().trim());
    let last = target.rsplit_once(char::is_whitespace).filter(|(file, _)| !file.trim().is_empty());
    let (file, format) = match last.and_then(|(file, word)| Some((file, Format::of_name(word)?))) {
        Some((file, format)) => (file_name(file), format),
        None => (file_name(target), Format::of_file(&file_name(target))),
    };
    if source.is_empty() || file.as_os_str().is_empty() {
        return None;
    }
    let statement = match source.strip_prefix('(').and_then(|source| source.strip_suffix(')')) {
        Some(statement) => statement.trim().to_owned(),
        None if source.contains(char::is_whitespace) => return None,
        None => format!("SELECT * FROM {source}"),
    };
    Some(Copy { statement, to: file, format })
}

/// Returns a file name without the quotes that a name with blanks needs.
fn file_name(text: &str) -> PathBuf {
    let text = text.trim();
    let quoted = ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    PathBuf::from(quoted.unwrap_or(text))
}

impl Format {
    fn of_name(name: &str) -> Option<Self> {
        clap::ValueEnum::from_str(name, true).ok()
    }

    /// Returns the format that the extension of a file name stands for; CSV if it is unknown.
    fn of_file(file: &Path) -> Self {
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        match ending.as_str() {
            "jsonl" => Self::Ndjson,
            "txt" => Self::Table,
            other => Self::of_name(other).unwrap_or(Self::Csv),
        }
    }
}

#[cfg(test)]
mod tests;
