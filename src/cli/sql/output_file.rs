//! The files to which `\o`, `\g` and `\copy` write results.

use std::{fs::File, io::BufWriter, path::PathBuf};

use super::Format;
use crate::cli::{Failure, text::escape};

/// A file to which results are written.
pub(super) struct OutputFile {
    pub(super) path: PathBuf,
    pub(super) file: BufWriter<File>,
    /// Whether a result has been written to the file.
    pub(super) has_result: bool,
}

impl OutputFile {
    /// Creates the file, or truncates an existing one.
    pub(super) fn create(path: PathBuf) -> Result<Self, Failure> {
        let failed = |error| Failure::Command(format!("cannot write {}: {error}", escape(&path.display().to_string())));
        let file = BufWriter::new(File::create(&path).map_err(failed)?);
        Ok(Self { path, file, has_result: false })
    }

    /// Returns the failure of a result. A write error is one of this file, not of standard output.
    pub(super) fn failed(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Output(error) => {
                Failure::Command(format!("cannot write {}: {error}", escape(&self.path.display().to_string())))
            }
            failure => failure,
        }
    }
}

/// Returns an error for a second result in an output format that holds only one table.
pub(super) fn check_single_result(format: Format, has_result: bool) -> Result<(), Failure> {
    match format {
        Format::Csv | Format::Arrow | Format::Parquet if has_result => Err(Failure::Usage(
            "this format holds one result only; use --format ndjson, or \\o FILE or \\copy for each result".to_owned(),
        )),
        Format::Csv | Format::Arrow | Format::Parquet | Format::Table | Format::Json | Format::Ndjson => Ok(()),
    }
}
