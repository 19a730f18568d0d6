use super::*;

#[test]
fn urls_are_parsed_and_shown_without_user_and_parameters() {
    for (dialect, text, host, shown, tls) in [
        (
            Dialect::Postgres,
            "postgres://u@db:5433/etl?sslmode=verify-full",
            "db",
            "db:5433/etl",
            Some(TlsMode::VerifyFull),
        ),
        (Dialect::Postgres, "postgresql://u@[::1]/etl", "::1", "[::1]/etl", None),
        (
            Dialect::Postgres,
            "postgres://u@localhost/etl?host=/run/postgresql",
            "localhost",
            "/run/postgresql/etl",
            None,
        ),
        (Dialect::Mysql, "mysql://u%40x@db", "db", "db", None),
        (Dialect::Mysql, "mariadb://u@db/etl?ssl-mode=VERIFY_IDENTITY", "db", "db/etl", Some(TlsMode::VerifyFull)),
        (Dialect::Mysql, "mysql://u@localhost/etl?socket=/run/s.sock", "localhost", "/run/s.sock/etl", None),
    ] {
        let address = Address::parse(text, dialect).unwrap();
        assert_eq!((address.host(), address.to_string(), address.tls), (host, shown.to_owned(), tls), "{text}");
    }
}

#[test]
fn invalid_urls_are_refused_without_showing_a_password() {
    for (text, error) in [
        ("", "expected postgres://USER@HOST:PORT/DATABASE"),
        ("mysql://u@h", "expected postgres://"),
        ("postgres://u:secret@h:port", "expected postgres://"),
        ("postgres://u@", "expected postgres://"),
        ("postgres://u@h#secret", "expected postgres://"),
        ("postgres://h/db", "the user is missing"),
        ("postgres://u:secret@h", "a password in a URL"),
        ("postgres://u@h?password=secret", "a password in a URL"),
        ("postgres://u@h?sslmdoe=secret", "unknown parameter \"sslmdoe\"; allowed: sslmode, host"),
        ("postgres://u@h?sslmode=on", "unknown sslmode \"on\""),
    ] {
        let shown = Address::parse(text, Dialect::Postgres).unwrap_err().to_string();
        assert!(shown.contains(error) && !shown.contains("secret"), "{text}: {shown}");
    }
}
