use super::*;

#[test]
fn the_same_text_is_the_same_name() {
    let names = NameInterner::default();
    let (first, second) = (names.intern("orders"), names.intern("orders"));
    assert!(Name::ptr_eq(&first, &second));
}

#[test]
fn unused_names_are_released() {
    let names = NameInterner::default();
    let kept = names.intern("kept");
    for number in 0..100_000 {
        names.intern(&format!("console-consumer-{number}"));
    }
    assert!(names.len() <= 2 * FIRST_SWEEP, "{}", names.len());
    assert!(Name::ptr_eq(&kept, &names.intern("kept")));
}
