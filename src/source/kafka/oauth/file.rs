//! `file`: a token that something else writes to a file, and renews there.

use std::{fs::File, io::Read as _, path::Path};

use super::{
    error::TokenError,
    token::{LONGEST, Token},
};
use crate::model::Millis;

/// Lifetime of a token that does not say when it expires. It is read again long before.
const ELSE_LIFE: Millis = 60 * 60 * 1000;

/// Reads the token.
///
/// # Errors
/// There is none that can be used.
pub(super) fn token(path: &Path, now: Millis) -> Result<Token, TokenError> {
    Token::new(read(path)?.trim(), None, ELSE_LIFE, now)
}

/// Reads a small text.
///
/// # Errors
/// It cannot be read, or is not small.
pub(super) fn read(path: &Path) -> Result<String, TokenError> {
    let failed = |cause| TokenError::File { path: path.to_owned(), cause };
    let limit = LONGEST as u64;
    let mut text = String::new();
    File::open(path).map_err(failed)?.take(limit + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() > LONGEST {
        return Err(TokenError::LargeFile { path: path.to_owned(), limit });
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
