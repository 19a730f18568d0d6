//! The commands of the prompt and of scripts, which start with `\`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::Format;
use crate::cli::text::Expanded;

pub(super) const HELP: &str = concat!(
    "  statement;           run it; it may take several lines\n",
    "  \\g [FILE]            run it, as ; does; the answer goes to FILE\n",
    "  \\gx                  run it and show rows as blocks, one line per column\n",
    "  \\watch [SECONDS]     run it every 2 s, or every SECONDS, until Ctrl-C\n",
    "  \\e                   edit it in $VISUAL or $EDITOR\n",
    "                       (\\g, \\gx, \\watch and \\e without a statement: the last one)\n",
    "  \\d                   tables and views\n",
    "  \\d TABLE             columns of a table or view, and what they mean\n",
    "  \\i FILE              run the statements and commands of FILE\n",
    "  \\o [FILE]            write answers to FILE; without FILE: to the terminal again\n",
    "  \\copy TABLE to FILE [FORMAT]\n",
    "  \\copy (STATEMENT) to FILE [FORMAT]\n",
    "                       write an answer to FILE as csv, json, ndjson, arrow, parquet or table;\n",
    "                       the default is that of the ending of FILE, or csv\n",
    "  \\x [on|off|auto]     expanded display (one line per column); auto: only when the table is too wide\n",
    "  \\timing [on|off]     turn timing on or off\n",
    "  \\pager [on|off]      turn the pager for long tables on or off ($PAGER, default: less)\n",
    "  \\q, exit, quit       leave (also Ctrl-D); Ctrl-C stops a statement; TAB completes\n",
    "\n",
    "Tables round numbers to 3 decimals and times in seconds to 0.1 s; other formats have all digits.\n",
);

/// The pause of `\watch`.
const WATCH: Duration = Duration::from_secs(2);

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `\q`
    Quit,
    /// `\d`
    Tables,
    /// `\d TABLE`
    Columns(String),
    /// `\x`, and the state that it names.
    Expanded(Option<Expanded>),
    /// `\timing`, and the state that it names.
    Timing(Option<bool>),
    /// `\pager`, and the state that it names.
    Pager(Option<bool>),
    /// `\?`
    Help,
    /// `\i FILE`
    Include(PathBuf),
    /// `\o`, and the file that it names.
    Output(Option<PathBuf>),
    /// `\copy`
    Copy(Copy),
    /// `\e`, with the statement to edit.
    Edit(String),
    /// `\g`, `\gx` and `\watch`: run the statement before it, or the last one.
    Go(How),
    /// Anything else, with what is wrong.
    Wrong(String),
}

/// How a statement is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// `;` or `\g`.
    Shown,
    /// `\g FILE`
    To(PathBuf),
    /// `\gx`
    Expanded,
    /// `\watch`
    Every(Duration),
}

/// What `\copy` writes, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) statement: String,
    pub(super) to: PathBuf,
    pub(super) format: Format,
}

/// A command, given without its `\`.
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
            switch(state).map_or_else(|| Command::Wrong("\\timing takes on or off".to_owned()), Command::Timing)
        }
        ("pager", state) => {
            switch(state).map_or_else(|| Command::Wrong("\\pager takes on or off".to_owned()), Command::Pager)
        }
        ("?" | "h" | "help", _) => Command::Help,
        ("i", "") => Command::Wrong("\\i needs a file".to_owned()),
        ("i", file) => Command::Include(file_name(file)),
        ("o", "") => Command::Output(None),
        ("o", file) => Command::Output(Some(file_name(file))),
        ("copy", what) => copy(what).map_or_else(Command::Wrong, Command::Copy),
        ("e", _) => Command::Edit(String::new()),
        ("g", "") => Command::Go(How::Shown),
        ("g", file) => Command::Go(How::To(file_name(file))),
        ("gx", _) => Command::Go(How::Expanded),
        ("watch", "") => Command::Go(How::Every(WATCH)),
        ("watch", every) => match pause(every) {
            Some(every) => Command::Go(How::Every(every)),
            None => Command::Wrong("\\watch takes seconds, as \\watch 5 or \\watch 0.5".to_owned()),
        },
        (name, _) => Command::Wrong(format!("no command \\{name}; \\? shows what there is")),
    }
}

/// `on`, `off`, or nothing, which is the other state. `None` for anything else.
fn switch(state: &str) -> Option<Option<bool>> {
    match state {
        "" => Some(None),
        "on" => Some(Some(true)),
        "off" => Some(Some(false)),
        _ => None,
    }
}

/// A pause in seconds, or with its unit; from 0.1 s to a day.
fn pause(text: &str) -> Option<Duration> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let pause = seconds.or_else(|| humantime::parse_duration(text).ok())?;
    (Duration::from_millis(100)..=Duration::from_secs(86_400)).contains(&pause).then_some(pause)
}

/// `TABLE to FILE [FORMAT]` or `(STATEMENT) to FILE [FORMAT]`.
fn copy(what: &str) -> Result<Copy, String> {
    let usage = || "usage: \\copy TABLE to FILE [FORMAT], or \\copy (STATEMENT) to FILE [FORMAT]".to_owned();
    let lower = what.to_ascii_lowercase();
    let (at, _) = lower.rmatch_indices(" to ").next().ok_or_else(usage)?;
    let (source, target) = (what.get(..at).unwrap_or_default().trim(), what.get(at + 4..).unwrap_or_default().trim());
    let last = target.rsplit_once(char::is_whitespace).filter(|(file, _)| !file.trim().is_empty());
    let (file, format) = match last.and_then(|(file, word)| Some((file, Format::of_name(word)?))) {
        Some((file, format)) => (file_name(file), format),
        None => (file_name(target), Format::of_file(&file_name(target))),
    };
    if source.is_empty() || file.as_os_str().is_empty() {
        return Err(usage());
    }
    let statement = match source.strip_prefix('(').and_then(|source| source.strip_suffix(')')) {
        Some(statement) => statement.trim().to_owned(),
        None if source.contains(char::is_whitespace) => return Err(usage()),
        None => format!("SELECT * FROM {source}"),
    };
    Ok(Copy { statement, to: file, format })
}

/// A file name as a user writes it: quoted where it has blanks.
fn file_name(text: &str) -> PathBuf {
    let text = text.trim();
    let quoted = ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    PathBuf::from(quoted.unwrap_or(text))
}

impl Format {
    fn of_name(name: &str) -> Option<Self> {
        clap::ValueEnum::from_str(name, true).ok()
    }

    /// By the ending of a file's name.
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
