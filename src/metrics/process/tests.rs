use super::*;

#[test]
fn the_process_is_described_as_the_system_sees_it() {
    let process = Process::read();
    assert!(
        process.resident_bytes > Some(1_000_000.0) && process.resident_bytes <= process.virtual_bytes,
        "{process:?}"
    );
    assert!(process.threads >= Some(1.0) && process.open_files >= Some(3.0), "{process:?}");
    assert!(process.max_files.is_none_or(|most| most >= 3.0), "{process:?}");
    // The start of 2020.
    assert!(process.started_at > Some(1_577_836_800.0), "{process:?}");
    let since = process.cpu_seconds.unwrap();
    let mut sum = 0_u64;
    while Process::read().cpu_seconds.unwrap() <= since {
        sum = std::hint::black_box((0..1_000_000_u64).fold(sum, u64::wrapping_add));
    }
}

#[test]
fn a_name_of_the_program_with_blanks_and_brackets_changes_nothing() {
    let stat = "42 (a) b) c) S 1 42 42 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 7 0 123 1000 200";
    assert_eq!(stat_field(stat, 14), Some(250.0));
    assert_eq!(stat_field(stat, 22), Some(123.0));
    assert_eq!(stat_field("", 14), None);
}

#[test]
fn a_family_without_a_value_is_left_out() {
    let mut text = String::new();
    let mut send = |chunk: String| {
        text.push_str(&chunk);
        true
    };
    let mut page = Page::new(&mut send, false);
    write(&mut page);
    page.finish();
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples, text.lines().filter(|line| line.starts_with("# TYPE process_")).count());
    assert!(text.contains("process_cpu_seconds_total "), "{text}");
}
