//! The method `file`: a token in a file that another program writes and renews.

use std::{fs::File, io::Read as _, path::Path};

use super::{
    error::TokenError,
    token::{MAX_TOKEN_BYTES, Token},
};
use crate::model::Millis;

/// Assumed lifetime, in milliseconds, of a token without an expiry. The file is read again long before it ends.
const DEFAULT_LIFETIME: Millis = 60 * 60 * 1000;

/// Reads the token.
///
/// # Errors
/// Returns an error if the file contains no usable token.
pub(super) fn token(path: &Path, now: Millis) -> Result<Token, TokenError> {
    Token::new(read(path)?.trim(), None, DEFAULT_LIFETIME, now)
}

/// Reads a small text file.
///
/// # Errors
/// Returns an error if the file cannot be read or is too large.
pub(super) fn read(path: &Path) -> Result<String, TokenError> {
    let failed = |cause| TokenError::File { path: path.to_owned(), cause };
    let limit = MAX_TOKEN_BYTES as u64;
    let mut text = String::new();
    File::open(path).map_err(failed)?.take(limit + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::LargeFile { path: path.to_owned(), limit });
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
