//! Tests of token files and of the `authorization` header.

use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};

use super::*;

fn parse(file: &[u8], previous: Option<&Tokens>) -> Result<Tokens, FileError> {
    Tokens::parse(Path::new("tokens"), file, previous)
}

#[test]
fn a_file_holds_a_token_a_line_and_comments() {
    let file = b"# rotated in May\n\n  first-token-0123456\r\nsecond/token+=~!\"#:@ \n";
    let tokens = parse(file, None).unwrap();
    assert_eq!(format!("{tokens:?}"), "2 tokens");
    for good in [&b"first-token-0123456"[..], b"second/token+=~!\"#:@"] {
        assert!(tokens.accept(good).is_some());
    }
    for bad in [&b""[..], b"first-token-012345", b"first-token-01234567", b"# rotated in May", b"FIRST-TOKEN-0123456"] {
        assert!(tokens.accept(bad).is_none(), "{bad:?}");
    }
    assert!(parse(&[b'x'; 512], None).unwrap().accept(&[b'x'; 512]).is_some());
}

#[test]
fn a_token_that_is_in_the_file_no_more_is_revoked_and_no_other() {
    let [a, b, c] = ["first-token-0123456", "second-token-012345", "third-token-0123456"];
    let parse = |text: String, previous| parse(text.as_bytes(), previous);
    let first = parse(format!("{a}\n{b}\n{a}"), None).unwrap();
    let (of_a, of_b) = (first.accept(a.as_bytes()).unwrap(), first.accept(b.as_bytes()).unwrap());
    assert!(parse("short".to_owned(), Some(&first)).is_err());
    let second = parse(format!("{c}\n{b}"), Some(&first)).unwrap();
    assert!(of_a.is_cancelled() && !of_b.is_cancelled());
    assert!(second.accept(a.as_bytes()).is_none());
    parse(c.to_owned(), Some(&second)).unwrap();
    assert!(of_b.is_cancelled(), "a handle survives any number of reloads");
}

#[test]
fn a_bad_line_is_named_by_its_number_and_never_quoted() {
    for bad in ["hunter2", "hunter2 hunter2 hunter2", "hunter2-hunter2-hünter2", &"hunter2".repeat(100)] {
        let error = parse(format!("# one\ngood-token-good-token\n{bad}\n").as_bytes(), None).unwrap_err().to_string();
        assert!(error.starts_with("tokens: line 3: ") && !error.contains("hunter2"), "{error}");
    }
    for empty in ["", "\n\n", "# only-a-comment-here\n"] {
        assert_eq!(parse(empty.as_bytes(), None).unwrap_err().to_string(), "tokens: contains no token");
    }
}

#[test]
fn a_token_is_shown_as_bearer_or_as_the_password_of_anybody() {
    let of = |value: &str| {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
        presented(&headers).map(|token| String::from_utf8(token).unwrap())
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
    assert_eq!(presented(&HeaderMap::new()), None);
}
