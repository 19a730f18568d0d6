//! The pager: an answer that is longer than the terminal goes through `$PAGER`.

use std::{
    ffi::OsString,
    io::{self, BufWriter, Stdout, Write},
    process::{Child, Command, Stdio},
};

/// The pager where `$PAGER` does not say.
const PAGER: &str = "less";
/// Options of `less`, unless `$LESS` is set: colours, long lines cut off, nothing cleared at the end.
const LESS: &str = "RSX";

/// Standard output on a terminal: what fits it is written as it is, and the rest goes through a pager.
pub(super) struct Paged {
    /// Lines of the terminal.
    height: usize,
    command: String,
    state: State,
}

enum State {
    /// The first lines, which may be all.
    Held {
        text: Vec<u8>,
        lines: usize,
    },
    Paging(Child),
    /// Without a pager.
    Plain(BufWriter<Stdout>),
    /// The user has left the pager: nothing more is shown.
    Left,
}

impl Paged {
    /// `None` where standard output is no terminal, or `$PAGER` is empty.
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
        Self { height, command, state: State::Held { text: vec![], lines: 0 } }
    }

    /// Whether the user has left the pager before the end.
    pub(super) fn is_left(&self) -> bool {
        matches!(self.state, State::Left)
    }

    /// Writes what is held, and waits until the user leaves the pager.
    pub(super) fn finish(mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Left) {
            State::Held { text, .. } => {
                let mut out = io::stdout();
                out.write_all(&text)?;
                out.flush()
            }
            State::Paging(mut pager) => {
                drop(pager.stdin.take());
                pager.wait().map(drop)
            }
            State::Plain(mut out) => out.flush(),
            State::Left => Ok(()),
        }
    }

    /// Starts the pager with what is held. Without one, everything is written as it comes.
    fn start(&mut self, held: &[u8]) -> io::Result<()> {
        let program = self.command.split_whitespace().next().unwrap_or_default();
        let exists = Command::new("sh").args(["-c", "command -v -- \"$1\" >/dev/null", "sh", program]).status();
        if !exists.is_ok_and(|status| status.success()) {
            self.state = State::Plain(BufWriter::new(io::stdout()));
            return self.write_all(held);
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
        self.write_all(held)
    }
}

impl Write for Paged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Held { text, lines } => {
                text.extend_from_slice(bytes);
                *lines += bytes.iter().filter(|byte| **byte == b'\n').count();
                // The prompt takes a line below them.
                if *lines >= self.height {
                    let held = std::mem::take(text);
                    self.start(&held)?;
                }
            }
            State::Paging(pager) => {
                let written = pager.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(bytes));
                match written {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        pager.wait()?;
                        self.state = State::Left;
                        return Err(error);
                    }
                    other => other?,
                }
            }
            State::Plain(out) => out.write_all(bytes)?,
            State::Left => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.state {
            State::Plain(out) => out.flush(),
            State::Held { .. } | State::Paging(_) | State::Left => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
