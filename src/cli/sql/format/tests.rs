use super::*;

#[test]
fn numbers_are_rounded_to_what_is_known() {
    for (number, expected) in [
        (824.015_198_107_628_6, "824.015"),
        (0.5, "0.5"),
        (-7.0, "-7.0"),
        (0.0, "0.0"),
        (-0.0, "0.0"),
        (1.0 / 3.0, "0.333"),
        (0.001_234_567, "0.00123"),
        (-0.000_1, "-0.0001"),
        (123_456_789.123_45, "123456789.123"),
    ] {
        assert_eq!(rounded(number, 3).as_deref(), Some(expected));
    }
    for (number, expected) in [(904.626_5, "904.6"), (22.0, "22.0"), (0.04, "0.0"), (0.0, "0.0")] {
        assert_eq!(rounded(number, 1).as_deref(), Some(expected));
    }
    for number in [1e15, -1e300, 1.5e-9, f64::NAN, f64::INFINITY] {
        assert_eq!(rounded(number, 3), None);
    }
}
