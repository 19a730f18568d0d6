//! The tokens that are accepted, and how a request shows one.

use std::{fmt, path::Path};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use super::{
    LONGEST, SHORTEST,
    error::FileError,
    file::{Digest, digest},
};

/// Arrow's client in Go, and so ADBC, leaves out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The tokens of a file.
pub(super) struct Tokens(Vec<Token>);

/// As a digest: all are of one length, and none is kept.
struct Token {
    digest: Digest,
    /// Cancelled once it is accepted no more.
    revoked: CancellationToken,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

impl Tokens {
    /// Reads one token a line; empty lines and those that begin with # are skipped. Those of the previous tokens that are
    /// not among them are revoked.
    ///
    /// # Errors
    /// The line that is no token, by its number: it may be one with a typing error.
    pub(super) fn parse(path: &Path, file: &[u8], former: Option<&Self>) -> Result<Self, FileError> {
        let mut tokens = vec![];
        let path = || path.to_owned();
        for (number, line) in (1..).zip(file.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            if !(SHORTEST..=LONGEST).contains(&line.len()) || !line.iter().all(u8::is_ascii_graphic) {
                return Err(FileError::Token { path: path(), line: number });
            }
            let digest = digest(line);
            // Given twice it is one token all the same, which is revoked once.
            if !tokens.contains(&digest) {
                tokens.push(digest);
            }
        }
        if tokens.is_empty() {
            return Err(FileError::NoToken { path: path() });
        }
        let former = former.map_or(&[][..], |former| &former.0);
        let gone = former.iter().filter(|token| !tokens.contains(&token.digest));
        gone.for_each(|token| token.revoked.cancel());
        let token = |digest| {
            let known = former.iter().find(|token| token.digest == digest);
            Token { digest, revoked: known.map(|token| token.revoked.clone()).unwrap_or_default() }
        };
        Ok(Self(tokens.into_iter().map(token).collect()))
    }

    /// Returns the token's revocation handle, or `None`. Compares against every token in constant time.
    pub(super) fn accept(&self, token: &[u8]) -> Option<CancellationToken> {
        let given = digest(token);
        self.0.iter().fold(None, |found, known| {
            let equal = bool::from(known.digest.ct_eq(&given));
            if equal { Some(known.revoked.clone()) } else { found }
        })
    }
}

/// The token that a request shows: `Bearer TOKEN`, or `Basic` with any user and the token as password.
pub(super) fn shown(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.trim().split_once(' ')?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64.decode(credentials).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    decoded.get(colon + 1..).map(<[u8]>::to_vec)
}

/// A token that was accepted, in the one way that is looked for further in.
pub(super) fn bearer(token: &[u8]) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};

    use super::*;

    fn parse(file: &[u8], former: Option<&Tokens>) -> Result<Tokens, FileError> {
        Tokens::parse(Path::new("tokens"), file, former)
    }

    #[test]
    fn a_file_holds_a_token_a_line_and_comments() {
        let file = b"# rotated in May\n\n  first-token-0123456\r\nsecond/token+=~!\"#:@ \n";
        let tokens = parse(file, None).unwrap();
        assert_eq!(format!("{tokens:?}"), "2 tokens");
        for good in [&b"first-token-0123456"[..], b"second/token+=~!\"#:@"] {
            assert!(tokens.accept(good).is_some());
        }
        for bad in
            [&b""[..], b"first-token-012345", b"first-token-01234567", b"# rotated in May", b"FIRST-TOKEN-0123456"]
        {
            assert!(tokens.accept(bad).is_none(), "{bad:?}");
        }
        assert!(parse(&[b'x'; 512], None).unwrap().accept(&[b'x'; 512]).is_some());
    }

    #[test]
    fn a_token_that_is_in_the_file_no_more_is_revoked_and_no_other() {
        let [a, b, c] = ["first-token-0123456", "second-token-012345", "third-token-0123456"];
        let parse = |text: String, former| parse(text.as_bytes(), former);
        let first = parse(format!("{a}\n{b}\n{a}"), None).unwrap();
        let (of_a, of_b) = (first.accept(a.as_bytes()).unwrap(), first.accept(b.as_bytes()).unwrap());
        assert!(parse("short".to_owned(), Some(&first)).is_err());
        let second = parse(format!("{c}\n{b}"), Some(&first)).unwrap();
        assert!(of_a.is_cancelled() && !of_b.is_cancelled());
        assert!(second.accept(a.as_bytes()).is_none());
        parse(c.to_owned(), Some(&second)).unwrap();
        assert!(of_b.is_cancelled(), "through any number of files");
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_never_quoted() {
        for bad in ["hunter2", "hunter2 hunter2 hunter2", "hunter2-hunter2-hünter2", &"hunter2".repeat(100)] {
            let error =
                parse(format!("# one\ngood-token-good-token\n{bad}\n").as_bytes(), None).unwrap_err().to_string();
            assert!(error.starts_with("tokens: line 3: ") && !error.contains("hunter2"), "{error}");
        }
        for empty in ["", "\n\n", "# only-a-comment-here\n"] {
            assert_eq!(parse(empty.as_bytes(), None).unwrap_err().to_string(), "tokens: holds no token");
        }
    }

    #[test]
    fn a_token_is_shown_as_bearer_or_as_the_password_of_anybody() {
        let of = |value: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
            shown(&headers).map(|token| String::from_utf8(token).unwrap())
        };
        let basic = |text: &str| {
            let padded = of(&format!("bAsIc {}", BASE64_STANDARD.encode(text)));
            assert_eq!(of(&format!("Basic {}", BASE64_STANDARD_NO_PAD.encode(text))), padded);
            padded
        };
        assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer   abc ").as_deref(), Some("abc"));
        assert_eq!(basic("user:a:b").as_deref(), Some("a:b"));
        assert_eq!(basic(":abc").as_deref(), Some("abc"));
        for none in ["", "abc", "Bearer", "Digest abc", "Basic ???", "Basic"] {
            assert_eq!(of(none), None, "{none:?}");
        }
        assert_eq!(basic("no colon"), None);
        assert_eq!(shown(&HeaderMap::new()), None);
    }
}
