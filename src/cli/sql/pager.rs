//! Shows results that are longer than the terminal through `$PAGER`.

use std::{
    ffi::OsString,
    io::{self, BufWriter, Stdout, Write},
    process::{Child, Command, Stdio},
};

/// The pager that is used if `$PAGER` is not set.
const PAGER: &str = "less";
/// The options of `less`, unless `$LESS` is set: show colours (R), chop long lines (S), keep the screen at the end (X).
const LESS: &str = "RSX";

/// A writer to a terminal. Output that fits the terminal is written directly; longer output goes through a pager.
pub(super) struct PagedOutput {
    /// Number of lines of the terminal.
    height: usize,
    command: String,
    state: State,
}

enum State {
    /// The output is buffered, since it still fits the terminal.
    Buffered { text: Vec<u8>, lines: usize },
    /// The output goes to the pager.
    Paging(Child),
    /// The pager could not be started; the output goes to the terminal.
    Plain(BufWriter<Stdout>),
    /// The user has left the pager; the rest of the output is dropped.
    Closed,
}

impl PagedOutput {
    /// Returns a writer; `None` if standard output is not a terminal or `$PAGER` is empty.
    pub(super) fn of_output() -> Option<Self> {
        let (_, height) = terminal_size::terminal_size_of(io::stdout())?;
        let command = match std::env::var_os("PAGER").map(OsString::into_string) {
            Some(Ok(pager)) if pager.trim().is_empty() => return None,
            Some(Ok(pager)) => pager,
            None | Some(Err(_)) => PAGER.to_owned(),
        };
        Some(Self::new(height.0.into(), command))
    }

    fn new(height: usize, command: String) -> Self {
        Self { height, command, state: State::Buffered { text: vec![], lines: 0 } }
    }

    /// Returns whether the user has left the pager before the end of the output.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Writes the buffered output, or waits until the user leaves the pager.
    pub(super) fn finish(mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Buffered { text, .. } => {
                let mut out = io::stdout();
                out.write_all(&text)?;
                out.flush()
            }
            State::Paging(mut pager) => {
                drop(pager.stdin.take());
                pager.wait().map(drop)
            }
            State::Plain(mut out) => out.flush(),
            State::Closed => Ok(()),
        }
    }

    /// Starts the pager with the buffered output. If there is no pager, all output goes to the terminal.
    fn start(&mut self, buffered: &[u8]) -> io::Result<()> {
        let program = self.command.split_whitespace().next().unwrap_or_default();
        let exists = Command::new("sh").args(["-c", "command -v -- \"$1\" >/dev/null", "sh", program]).status();
        if !exists.is_ok_and(|status| status.success()) {
            self.state = State::Plain(BufWriter::new(io::stdout()));
            return self.write_all(buffered);
        }
        let mut command = Command::new("sh");
        command.args(["-c", &self.command]).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            command.env("LESS", LESS);
        }
        self.state = match command.spawn() {
            Ok(pager) => State::Paging(pager),
            Err(_) => State::Plain(BufWriter::new(io::stdout())),
        };
        self.write_all(buffered)
    }
}

impl Write for PagedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Buffered { text, lines } => {
                text.extend_from_slice(bytes);
                *lines += bytes.iter().filter(|byte| **byte == b'\n').count();
                // The prompt needs one line below the output.
                if *lines >= self.height {
                    let buffered = std::mem::take(text);
                    self.start(&buffered)?;
                }
            }
            State::Paging(pager) => {
                let written = pager.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(bytes));
                match written {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        pager.wait()?;
                        self.state = State::Closed;
                        return Err(error);
                    }
                    other => other?,
                }
            }
            State::Plain(out) => out.write_all(bytes)?,
            State::Closed => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.state {
            State::Plain(out) => out.flush(),
            State::Buffered { .. } | State::Paging(_) | State::Closed => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
