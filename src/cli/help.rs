//! `offsetd help`, `completions` and `man`: the help of commands, longer guides, shell completions and man pages.

use std::{fs, io::Write, path::PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;

use super::{Failure, text::count};

pub(super) const EXAMPLES: &str = "\
Guides: sources (where offsets come from), sizing (memory, CPU and disk), permissions (Kafka ACLs).

Examples:
  offsetd help
  offsetd help sql
  offsetd help permissions";

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  offsetd completions bash > ~/.local/share/bash-completion/completions/offsetd
  offsetd completions zsh > \"${fpath[1]}/_offsetd\"
  offsetd completions fish > ~/.config/fish/completions/offsetd.fish";

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  offsetd man ~/.local/share/man/man1";

/// The guides: their names and texts.
const GUIDES: [(&str, &str); 3] = [
    ("sources", include_str!("help/sources.txt")),
    ("sizing", include_str!("help/sizing.txt")),
    ("permissions", include_str!("help/permissions.txt")),
];

/// Arguments of `help`.
#[derive(Debug, Args)]
pub struct HelpArgs {
    /// Name of a command or of a guide: sources, sizing, permissions.
    #[arg(value_name = "COMMAND|GUIDE")]
    pub name: Option<String>,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Name of the shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory to write the pages to; it is created if it does not exist.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Writes a guide or the help of a command.
///
/// # Errors
/// Returns [`Failure::Usage`] if there is no command or guide of this name.
pub(super) fn run(args: &HelpArgs, out: &mut impl Write) -> Result<(), Failure> {
    let mut command = command_line();
    let text = match &args.name {
        None => command.render_long_help().to_string(),
        Some(name) => match GUIDES.iter().find(|(guide, _)| guide == name) {
            Some((_, text)) => (*text).to_owned(),
            None => {
                let unknown = || {
                    Failure::Usage(format!("no command or guide {name:?}; guides are sources, sizing and permissions"))
                };
                command.find_subcommand_mut(name).ok_or_else(unknown)?.render_long_help().to_string()
            }
        },
    };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes the completions for a shell.
///
/// # Errors
/// Returns [`Failure::Output`] if the script cannot be written.
pub(super) fn completions(args: &CompletionsArgs, out: &mut impl Write) -> Result<(), Failure> {
    // The generator panics if it cannot write, so it writes to memory.
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut super::Args::command(), "offsetd", &mut script);
    out.write_all(&script)?;
    out.flush()?;
    Ok(())
}

/// Writes a man page for the program and one for each command.
///
/// # Errors
/// Returns [`Failure::Command`] with the directory that cannot be written to.
pub(super) fn man(args: &ManArgs, out: &mut impl Write) -> Result<(), Failure> {
    let cannot =
        |error: std::io::Error| Failure::Command(format!("cannot write man pages to {}: {error}", args.dir.display()));
    fs::create_dir_all(&args.dir).map_err(cannot)?;
    let command = command_line();
    let pages: Vec<&Command> = std::iter::once(&command).chain(command.get_subcommands()).collect();
    for page in &pages {
        let man = clap_mangen::Man::new((*page).clone());
        let mut text = vec![];
        man.render(&mut text).map_err(cannot)?;
        fs::write(args.dir.join(man.get_filename()), text).map_err(cannot)?;
    }
    writeln!(out, "{} in {}", count(i128::try_from(pages.len()).unwrap_or(i128::MAX), "page"), args.dir.display())?;
    out.flush()?;
    Ok(())
}

/// Returns the definition of the command line, in which each command has its full name (`offsetd sql`).
fn command_line() -> Command {
    let mut command = super::Args::command();
    command.build();
    command
}

#[cfg(test)]
mod tests;
