use super::*;

#[test]
fn a_text_is_never_longer_than_trailers_hold() {
    for text in ["x", "é", "消", "\n", "x消"] {
        let shown = Error::Invalid(text.repeat(10_000)).to_string();
        let sent: usize = shown.bytes().map(|byte| if matches!(byte, b' '..=b'~') { 1 } else { 3 }).sum();
        assert!(sent <= MAX_TEXT && sent > MAX_TEXT - 64, "{text:?}: {sent}");
        assert!(shown.starts_with(text) && shown.ends_with(" …"));
    }
    let whole = "x".repeat(1000);
    assert_eq!(Error::NotFound(whole.clone()).to_string(), whole);
}
