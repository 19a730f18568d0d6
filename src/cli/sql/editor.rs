//! The command `\e`: opens a statement in the user's editor.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::{self, Command},
};

use crate::cli::Failure;

/// The editor that is used if neither `$VISUAL` nor `$EDITOR` is set.
const EDITOR: &str = "vi";

/// Opens a text in the editor and returns the edited text.
///
/// # Errors
/// Returns [`Failure::Command`] if the temporary file cannot be written or read, or if the editor cannot be started or
/// fails.
pub(super) fn edit(text: &str) -> Result<String, Failure> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty())?.into_string().ok();
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| EDITOR.to_owned());
    let path = std::env::temp_dir().join(format!("offsetd-{}.sql", process::id()));
    let edited = edit_file(&path, text, &editor);
    // The file does not exist if it could not be created.
    let _ = fs::remove_file(&path);
    edited
}

fn edit_file(path: &Path, text: &str, editor: &str) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::Command(format!("cannot edit {}: {error}", path.display()));
    // A killed process with the same id may have left the file. An existing file is never written to, since it may be a
    // symbolic link of another user.
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    writeln!(file, "{text}").map_err(failed)?;
    drop(file);
    // The shell splits the editor's options.
    let ended = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(path).status();
    let ended = ended.map_err(failed)?;
    if !ended.success() {
        return Err(Failure::Command(format!("the editor {editor:?} failed ({ended}); set $VISUAL or $EDITOR")));
    }
    fs::read_to_string(path).map_err(failed)
}
