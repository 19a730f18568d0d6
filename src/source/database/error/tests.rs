use super::*;

#[test]
fn refusals_and_statements_that_are_no_select_are_told_apart() {
    for (code, expected) in [
        ("28P01", Meaning::Refused),
        ("42501", Meaning::Refused),
        ("57014", Meaning::TooSlow),
        ("25006", Meaning::Writes),
        ("42601", Meaning::Syntax),
        ("22P02", Meaning::Value),
        ("42P01", Meaning::Other),
        ("", Meaning::Other),
    ] {
        assert_eq!(postgres_meaning(code), expected, "{code}");
    }
    for (number, expected) in [
        (1045, Meaning::Refused),
        (1142, Meaning::Refused),
        (1969, Meaning::TooSlow),
        (3024, Meaning::TooSlow),
        (1792, Meaning::Writes),
        (1064, Meaning::Syntax),
        (1146, Meaning::Other),
    ] {
        assert_eq!(mysql_meaning(number), expected, "{number}");
    }
}

#[test]
fn an_error_names_the_place_but_no_user() {
    let address = Address::parse("postgres://u@db:5433/etl?sslmode=require", Dialect::Postgres).unwrap();
    let error = ReadError::Timeout(Duration::from_secs(10));
    let shown = error.into_source_error(Dialect::Postgres, &address, Duration::from_secs(1)).to_string();
    assert_eq!(shown, "PostgreSQL at db:5433/etl: no answer within 10 s");
}
