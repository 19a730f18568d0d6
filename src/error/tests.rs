use super::*;

#[test]
fn a_text_fits_into_trailers() {
    for text in ["x", "é", "消", "\n", "x消"] {
        let shown = Error::Invalid(text.repeat(10_000)).to_string();
        let sent: usize = shown.bytes().map(|byte| if matches!(byte, b' '..=b'~') { 1 } else { 3 }).sum();
        assert!(sent <= MAX_TEXT_BYTES && sent > MAX_TEXT_BYTES - 64, "{text:?}: {sent}");
        assert!(shown.starts_with(text) && shown.ends_with(" …"));
    }
    let whole = "x".repeat(1000);
    assert_eq!(Error::NotFound(whole.clone()).to_string(), whole);
}
