use super::*;

/// Writes lines to a pager that copies its input to `FILE`, and returns the contents of the file.
fn paged(height: usize, lines: usize, command: &str) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("seen");
    let mut paged = PagedOutput::new(height, command.replace("FILE", file.to_str().unwrap()));
    for line in 0..lines {
        writeln!(paged, "{line}").unwrap();
    }
    paged.finish().unwrap();
    std::fs::read_to_string(file).ok()
}

#[test]
fn an_answer_that_is_longer_than_the_terminal_goes_through_the_pager() {
    let seen = paged(5, 100, "cat > 'FILE'").unwrap();
    assert_eq!((seen.lines().count(), seen.lines().last()), (100, Some("99")));
    assert_eq!(paged(0, 0, "cat > 'FILE'"), None);
}

#[test]
fn leaving_the_pager_early_is_not_an_error() {
    let mut paged = PagedOutput::new(1, "true".to_owned());
    while writeln!(paged, "{}", "x".repeat(1_000)).is_ok() {}
    assert!(paged.is_closed());
    paged.finish().unwrap();
}
