use crate::{config::LoadedConfig, source};

fn load(section: &str) -> Result<LoadedConfig, String> {
    source::tests::load("zookeeper", section)
}

#[test]
fn conflicting_settings_are_refused_with_the_setting() {
    let consumers = "servers = \"zk\"\nlayout = \"consumers\"\n";
    for (section, setting, reason) in [
        ("layout = \"consumers\"\n".to_owned(), "servers", "missing"),
        ("servers = \"zk\"\n".to_owned(), "path", "missing; set it to a template"),
        ("servers = \"zk\"\npath = \"/{topic}/{partition}\"\n".to_owned(), "path", "{group} is missing"),
        ("servers = \"zk\"\nlayout = \"gmall\"\n".to_owned(), "layout", "unknown layout \"gmall\""),
        (format!("{consumers}path = \"/x\"\n"), "layout", "replaces `path`"),
        ("servers = \"zk\"\nlayout = \"storm\"\nvalue = \"int64\"\n".to_owned(), "layout", "replaces `value`"),
        (format!("{consumers}value = \"int64\"\nlist = \",\"\n"), "value", "splits text values"),
        (format!("{consumers}auth.password = \"x\"\n"), "auth.digest", "set it to the user"),
        (format!("{consumers}ca = \"ca.pem\"\n"), "tls", "but `ca` is set"),
        (format!("{consumers}tls = true\ncert = \"c.pem\"\n"), "cert_key", "set both or neither"),
    ] {
        let error = load(&section).unwrap_err();
        assert!(error.contains(&format!("sources.zookeeper.{setting}")) && error.contains(reason), "{section}{error}");
    }
    let auth = format!("{consumers}auth = {{ digest = \"offsetd\", password = \"hidden\" }}\n");
    let loaded = load(&auth).unwrap();
    let settings = loaded.config.sources[0].kind_config.get::<super::ZooKeeper>().unwrap();
    assert_eq!((&*settings.auth.digest, &*settings.auth.password.0), ("offsetd", "hidden"));
    assert!(!format!("{settings:?}").contains("hidden"));
}

#[test]
fn the_settings_of_every_named_layout_are_complete() {
    for layout in ["consumers", "storm", "clickhouse"] {
        let loaded = load(&format!("servers = \"zk\"\nlayout = \"{layout}\"\n"));
        assert!(loaded.is_ok(), "{layout}: {:?}", loaded.err());
    }
}
