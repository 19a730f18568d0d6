use super::*;

fn text(write: impl FnOnce(&mut Page<'_>)) -> Vec<String> {
    let mut chunks = vec![];
    let mut send = |chunk| {
        chunks.push(chunk);
        true
    };
    let mut page = Page::new(&mut send, false);
    write(&mut page);
    page.finish();
    chunks
}

#[test]
fn label_values_are_escaped() {
    let written = text(|page| page.sample("m", &[("a", "x\"y\\z\nw")], 1.0));
    assert_eq!(written, ["m{a=\"x\\\"y\\\\z\\nw\"} 1\n"]);
}

#[test]
fn a_sample_with_a_start_is_written_like_any_other() {
    let labels = [("a", "x\ny"), ("partition", "7")];
    for (float, value) in [(-3.0, Value::Integer(-3)), (0.25, Value::Float(0.25))] {
        let mut begun = String::new();
        start("m", &labels[..1], &mut begun);
        let sample_with_start = text(|page| page.sample_with_start(&begun, labels[1..].iter().copied(), value));
        assert_eq!(sample_with_start, text(|page| page.sample("m", &labels, float)));
    }
}

#[test]
fn a_long_page_is_sent_in_chunks_until_the_client_stops_reading() {
    let many = |page: &mut Page<'_>| (0..10_000).for_each(|_| page.sample("metric_name", &[("a", "value")], 1.0));
    let chunks = text(many);
    assert!(chunks.len() > 3 && chunks.iter().all(|chunk| chunk.len() < CHUNK_BYTES + 100));
    assert_eq!(chunks.concat(), "metric_name{a=\"value\"} 1\n".repeat(10_000));
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
