use super::*;

fn text(write: impl FnOnce(&mut Page<'_>)) -> Vec<String> {
    let mut pieces = vec![];
    let mut send = |piece| {
        pieces.push(piece);
        true
    };
    let mut page = Page::new(&mut send, false);
    write(&mut page);
    page.finish();
    pieces
}

#[test]
fn label_values_are_escaped() {
    let written = text(|page| page.sample("m", &[("a", "x\"y\\z\nw")], 1.0));
    assert_eq!(written, ["m{a=\"x\\\"y\\\\z\\nw\"} 1\n"]);
}

#[test]
fn a_continued_sample_is_written_as_any_other() {
    let labels = [("a", "x\ny"), ("partition", "7")];
    for (float, value) in [(-3.0, Value::Integer(-3)), (0.25, Value::Float(0.25))] {
        let mut begun = String::new();
        start("m", &labels[..1], &mut begun);
        let continued = text(|page| page.continued(&begun, labels[1..].iter().copied(), value));
        assert_eq!(continued, text(|page| page.sample("m", &labels, float)));
    }
}

#[test]
fn a_long_page_comes_in_pieces_until_nobody_reads() {
    let many = |page: &mut Page<'_>| (0..10_000).for_each(|_| page.sample("metric_name", &[("a", "value")], 1.0));
    let pieces = text(many);
    assert!(pieces.len() > 3 && pieces.iter().all(|piece| piece.len() < PIECE + 100));
    assert_eq!(pieces.concat(), "metric_name{a=\"value\"} 1\n".repeat(10_000));
    let mut sent = 0;
    let mut send = |_| {
        sent += 1;
        false
    };
    let mut page = Page::new(&mut send, false);
    many(&mut page);
    assert!(!page.is_read());
    page.finish();
    assert_eq!(sent, 1);
}
