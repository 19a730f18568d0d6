use crate::{config::LoadedConfig, source};

fn load(kind: &str, section: &str) -> Result<LoadedConfig, String> {
    source::tests::load("etl", &format!("kind = \"{kind}\"\n{section}"))
}

#[test]
fn conflicting_settings_are_refused_with_the_setting() {
    let url = "url = \"postgres://u@h/db\"\n";
    let query = "query = \"SELECT 1\"\n";
    for (kind, section, setting, reason) in [
        ("postgres", query.to_owned(), "url", "expected postgres://USER@HOST"),
        ("mysql", format!("{url}{query}"), "url", "expected mysql://USER@HOST"),
        ("postgres", url.to_owned(), "query", "missing; set it to a SELECT with the columns group_id"),
        ("postgres", format!("{url}query = \" ; \"\n"), "query", "missing"),
        ("mysql", format!("url = \"mysql://u@h\"\n{query}listen = \"c\"\n"), "listen", "MySQL has no notifications"),
        ("postgres", format!("url = \"postgres://u@h?sslmode=require\"\n{query}ca = \"c\"\n"), "ca", "sslmode=require"),
        ("postgres", format!("{url}{query}cert = \"c.pem\"\n"), "cert_key", "set both or neither"),
        ("postgres", format!("url = \"postgres://u:secret@h\"\n{query}"), "url", "a password in a URL"),
    ] {
        let error = load(kind, &section).unwrap_err();
        assert!(error.contains(&format!("sources.etl.{setting}")) && error.contains(reason), "{section}{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    for kind in ["postgres", "mysql"] {
        let url = format!("url = \"{kind}://u@h?sslmode=verify-ca\"\n");
        load(kind, &format!("{url}{query}ca = \"c.pem\"\n")).unwrap();
    }
}
