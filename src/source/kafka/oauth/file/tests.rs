use super::*;

#[test]
fn a_token_file_is_trimmed_and_a_bad_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let error = token(&path, 1).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    std::fs::write(&path, "  abc\r\n").unwrap();
    assert_eq!(token(&path, 1).unwrap().value, "abc");
    std::fs::write(&path, "x".repeat(MAX_TOKEN_BYTES + 1)).unwrap();
    let error = token(&path, 1).unwrap_err().to_string();
    assert!(error.contains("larger than 65536 bytes"), "{error}");
}
