use crate::{config::LoadedConfig, source};

fn load(section: &str) -> Result<LoadedConfig, String> {
    source::tests::load("redis", section)
}

#[test]
fn conflicting_settings_are_refused_with_the_setting() {
    let url = "url = \"redis://h\"\n";
    for (section, setting, reason) in [
        ("key = \"offset:{topic}:{group}\"\n".to_owned(), "url", "expected redis://"),
        (url.to_owned(), "key", "missing; set it to a template"),
        (format!("{url}key = \"{{topic}}\"\n"), "key", "{group} is missing"),
        (format!("{url}key = \"{{tpic}}\"\n"), "key", "unknown placeholder {tpic}"),
        (format!("{url}key = \"{{topic}}:{{group}}\"\ngroup = \"g\"\n"), "key", "{group} is given twice"),
        (format!("{url}layout = \"storm\"\n"), "layout", "unknown layout \"storm\""),
        (format!("{url}layout = \"gmall\"\nkey = \"x\"\n"), "layout", "replaces `key` and `field`"),
        (format!("{url}layout = \"gmall\"\nvalue = \"int64\"\nlist = \",\"\n"), "value", "splits text values"),
        (format!("{url}layout = \"gmall\"\ncert = \"c.pem\"\n"), "cert_key", "set both or neither"),
        ("url = \"redis://u:secret@h\"\nlayout = \"gmall\"\n".to_owned(), "url", "a password in a URL"),
    ] {
        let error = load(&section).unwrap_err();
        assert!(error.contains(&format!("sources.redis.{setting}")) && error.contains(reason), "{section}{error}");
    }
    assert!(load(&format!("{url}layout = \"gmall\"\n")).is_ok());
}

#[test]
fn a_key_with_the_partition_is_a_string() {
    use super::scan::RedisType;
    for (layout, redis_type) in [
        ("key = \"{topic}:{group}\"", RedisType::Hash),
        ("key = \"{topic}:{group}:{partition}\"", RedisType::String),
        ("key = \"{group}\"\nfield = \"{topic}-{partition}\"", RedisType::Hash),
        ("key = \"{group}\"\nvalue = '{\"{topic}\":{\"{partition}\":\"{offset}\"}}'", RedisType::String),
        ("key = \"{topic}:{group}\"\nvalue = \"{partition}:{offset}\"\nlist = \",\"", RedisType::String),
    ] {
        let loaded = load(&format!("url = \"redis://h\"\n{layout}\n")).unwrap();
        let source = &loaded.config.sources[0];
        let redis = source.kind_config.get::<super::Redis>().unwrap();
        assert_eq!(redis.read_layout(source).unwrap().1, redis_type, "{layout}");
    }
}
