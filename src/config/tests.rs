use std::{collections::BTreeMap, fs, time::Duration};

use super::*;

mod queries;
mod sources;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/config/offsetd.toml");
const MULTI: &str = include_str!("../../tests/fixtures/config/multi.toml");

/// Loads a configuration from the text of a file, an environment and flags.
fn load(file: &str, env: &[(&str, &str)], flags: Flags) -> Result<LoadedConfig, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("offsetd.toml");
    fs::write(&path, file).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let flags = Flags { config: Some(path), ..flags };
    let check: &CheckProperty = &|key, value| match key.starts_with("nonsense") {
        true => Err(PropertyError(format!("No such configuration property: {key} {value}"))),
        false => Ok(()),
    };
    let dir = format!("{}/", dir.path().display());
    Config::load(Layers { flags: &flags, env: &env, check_property: Some(check) })
        .map_err(|errors| errors.0.iter().map(|error| error.to_string().replace(&dir, "")).collect())
}

/// Returns the fixture with several clusters, in which the path of the secret refers to an existing file.
fn multi() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "hunter2\n").unwrap();
    let text = MULTI.replace("/run/secrets/kafka-password", &secret.display().to_string());
    assert_ne!(text, MULTI);
    (dir, text)
}

fn effective<'a>(loaded: &'a LoadedConfig, key: &str) -> &'a EffectiveValue {
    loaded.effective.iter().find(|value| value.key == key).unwrap_or_else(|| panic!("no {key}"))
}

fn servers(servers: &str) -> Flags {
    Flags { bootstrap_servers: Some(servers.to_owned()), ..Flags::default() }
}

#[test]
fn the_example_file_equals_the_defaults_and_names_every_setting() {
    let file = load(&fs::read_to_string(EXAMPLE).unwrap(), &[], Flags::default()).unwrap();
    let defaults = load("", &[], servers("localhost:9092")).unwrap();
    assert_eq!(format!("{:?}", file.config), format!("{:?}", defaults.config));
    for value in &file.effective {
        assert!(matches!(value.origin, Origin::File { .. }), "{value:?}");
    }
    for value in &defaults.effective {
        assert!(value.origin == Origin::Default || value.key.ends_with("bootstrap_servers"), "{value:?}");
    }
    assert_eq!(file.effective.len(), defaults.effective.len());
}

#[test]
fn effective_values_can_be_loaded_again() {
    let (_dir, multi) = multi();
    let first = load(&multi, &[], Flags::default()).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let lines = first.effective.iter().filter_map(|v| v.value.as_ref().map(|value| format!("{} = {value}\n", v.key)));
    let again = load(&lines.collect::<String>(), &[], Flags::default()).unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert_eq!(format!("{:?}", first.config), format!("{:?}", again.config));
}

#[test]
fn a_flag_takes_precedence_over_the_environment_and_that_over_the_file() {
    let file =
        "[clusters.a]\nbootstrap_servers = \"a:1\"\n[server]\nlisten = \"f:1\"\n[sql]\ntimeout = \"1s\"\nqueue = 3\n";
    let env = [("OFFSETD_SERVER_LISTEN", "e:1"), ("OFFSETD_SQL_TIMEOUT", "2s")];
    let loaded = load(file, &env, Flags { listen: Some("x:1".to_owned()), ..Flags::default() }).unwrap();
    assert_eq!(loaded.config.server.listen, "x:1");
    assert_eq!(effective(&loaded, "server.listen").origin, Origin::Flag("--listen"));
    assert_eq!(loaded.config.sql.timeout, Duration::from_secs(2));
    assert_eq!(effective(&loaded, "sql.timeout").origin.to_string(), "env OFFSETD_SQL_TIMEOUT");
    assert_eq!(loaded.config.sql.queue, 3);
    assert!(effective(&loaded, "sql.queue").origin.to_string().ends_with("offsetd.toml:7"));
    assert_eq!(effective(&loaded, "sql.concurrency").origin.to_string(), "default");
}

#[test]
fn all_errors_of_all_layers_are_reported_together() {
    let file = "\
[server]
listen = 8088
colour = \"red\"
[sql]
timeout = \"3 parsecs\"
max_rows = 0
memory_total = \"1MiB\"
[histories]
[lag.poll_interval]
x = 1
[clusters.'b d']
bootstrap_servers = 'b:1'
[clusters.a]
required = 'yes'
groups.allow = '('
[clusters.a.kafka]
group.id = 'g'
nonsense.x = 1
nonsense.password = 'hunter2'
";
    let env = [("OFFSETD_SQL_TIMEOT", "1s"), ("OFFSETD_LAG_WINDOW", "many"), ("OFFSETD_CLUSTERS_B_REQUIRED", "true")];
    let flags = Flags { listen: Some("nowhere".to_owned()), ..Flags::default() };
    let errors = load(file, &env, flags).unwrap_err();
    let expected = [
        "offsetd.toml:2: server.listen: an integer is not allowed here",
        "--listen: server.listen: bad value \"nowhere\" (the port is missing)",
        "offsetd.toml:3: server.colour: unknown key; allowed in [server]: address_file, auth, call_queue",
        "offsetd.toml:5: sql.timeout: bad value \"3 parsecs\"",
        "offsetd.toml:6: sql.max_rows: bad value \"0\"; allowed: an integer of at least 1",
        "sql.memory_total: must not be less than",
        "offsetd.toml:8: histories: unknown key; allowed at the top level: audit, clusters, history, lag, queries, server, sources, sql, transactions",
        "lag.poll_interval.x: unknown key",
        "OFFSETD_SQL_TIMEOT: no setting",
        "OFFSETD_LAG_WINDOW: lag.window: bad value \"many\"",
        "OFFSETD_CLUSTERS_B_REQUIRED: no setting",
        "clusters.\"b d\": a cluster name consists of",
        "clusters.a.bootstrap_servers: not set; allowed: \"host:port\"",
        "offsetd.toml:14: clusters.a.required: a string is not allowed here; allowed: true or false",
        "offsetd.toml:15: clusters.a.groups.allow: bad value \"(\"",
        "offsetd.toml:17: clusters.a.kafka.\"group.id\": cannot be set: __consumer_offsets is read without a group",
        "offsetd.toml:18: clusters.a.kafka.\"nonsense.x\": No such configuration property",
        "offsetd.toml:19: clusters.a.kafka.\"nonsense.password\": librdkafka refuses the value",
    ];
    for text in expected {
        assert!(errors.iter().any(|error| error.contains(text)), "{text}\nnot in {errors:#?}");
    }
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
}

#[test]
fn syntax_errors_name_the_line_and_never_quote_it() {
    let errors = load(
        "[clusters.a]\nbootstrap_servers = 'a:1'\nkafka.sasl.password = \"hunter2\nx = = 1\n",
        &[],
        Flags::default(),
    );
    let errors = errors.unwrap_err();
    assert!(errors.iter().any(|error| error.starts_with("offsetd.toml:3: invalid TOML")), "{errors:?}");
    assert!(!errors.concat().contains("hunter2"), "{errors:?}");
}

#[test]
fn a_missing_file_is_reported_with_its_origin() {
    let flags = Flags { config: Some("/nowhere/offsetd.toml".into()), ..Flags::default() };
    let env = BTreeMap::new();
    let errors = Config::load(Layers { flags: &flags, env: &env, check_property: None }).unwrap_err().to_string();
    assert!(errors.contains("--config: cannot read /nowhere/offsetd.toml"), "{errors}");
    assert!(errors.starts_with("1 error in"), "{errors}");
}

#[test]
fn a_missing_cluster_is_reported_with_a_hint() {
    let errors = load("", &[], Flags::default()).unwrap_err();
    assert!(errors.len() == 1 && errors[0].contains("set --bootstrap-servers HOST:PORT"), "{errors:?}");
}

#[test]
fn a_single_cluster_comes_from_flags_or_environment() {
    let loaded = load("", &[("OFFSETD_BOOTSTRAP_SERVERS", "e:1"), ("OFFSETD_CLUSTER_NAME", "prod")], Flags::default());
    let loaded = loaded.unwrap();
    assert_eq!(
        (loaded.config.clusters[0].name.as_str(), loaded.config.clusters[0].bootstrap_servers.as_str()),
        ("prod", "e:1")
    );
    let env = [("OFFSETD_BOOTSTRAP_SERVERS", "e:1"), ("OFFSETD_CLUSTERS_DEFAULT_GROUPS_DENY", "^console-")];
    let loaded = load("", &env, servers("f:1, g:2")).unwrap();
    let cluster = &loaded.config.clusters[0];
    assert_eq!((cluster.name.as_str(), cluster.bootstrap_servers.as_str()), ("default", "f:1,g:2"));
    assert_eq!(effective(&loaded, "clusters.default.bootstrap_servers").origin, Origin::Flag("--bootstrap-servers"));
    assert!(cluster.groups.accepts("orders") && !cluster.groups.accepts("console-consumer-1"));
}

#[test]
fn one_cluster_and_several_exclude_each_other() {
    let errors = load("[clusters.a]\nbootstrap_servers = 'a:1'\n", &[], servers("f:1")).unwrap_err();
    assert!(errors.len() == 1 && errors[0].starts_with("--bootstrap-servers: "), "{errors:?}");
    let name = Flags { cluster_name: Some("x".to_owned()), ..Flags::default() };
    let errors = load("[clusters.a]\nbootstrap_servers = 'a:1'\n", &[], name).unwrap_err();
    assert!(errors.len() == 1 && errors[0].starts_with("--cluster-name: "), "{errors:?}");
}

#[test]
fn properties_come_from_all_layers_and_secrets_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "hunter2\n").unwrap();
    let file = format!(
        "[clusters.'eu.prod']\nbootstrap_servers = 'a:1'\n[clusters.'eu.prod'.kafka]\n\
         sasl.password = {{ file = '{}' }}\n'ssl.key.password' = 'hunter3'\nsasl.username = {{ env = 'USER_NAME' }}\n\
         security.protocol = 'SASL_SSL'\nsocket.timeout.ms = 1000\nsocket.keepalive.enable = true\n",
        secret.display()
    );
    let env = [
        ("USER_NAME", "hunter4"),
        ("OFFSETD_CLUSTERS_EU_PROD_KAFKA_SSL_KEY_PEM", "hunter5"),
        ("OFFSETD_CLUSTERS_EU_PROD_KAFKA_SOCKET_TIMEOUT_MS", "2000"),
    ];
    let kafka = vec!["ssl.keystore.password=hunter6".parse().unwrap(), "client.id=x=y".parse().unwrap()];
    let flags = Flags { kafka, ..Flags::default() };
    assert!(!format!("{flags:?}").contains("hunter"));
    let loaded = load(&file, &env, flags).unwrap();
    let kafka = &loaded.config.clusters[0].kafka;
    let expected = [
        ("client.id", "x=y"),
        ("sasl.password", "hunter2"),
        ("sasl.username", "hunter4"),
        ("security.protocol", "SASL_SSL"),
        ("socket.keepalive.enable", "true"),
        ("socket.timeout.ms", "2000"),
        ("ssl.key.password", "hunter3"),
        ("ssl.key.pem", "hunter5"),
        ("ssl.keystore.password", "hunter6"),
    ];
    assert_eq!(kafka.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
    assert!(!format!("{loaded:?}").contains("hunter"), "{loaded:?}");
    let shown = effective(&loaded, "clusters.\"eu.prod\".kafka.\"sasl.username\"");
    assert_eq!(shown.value.as_deref(), Some("\"***\""));
}

#[test]
fn a_secret_that_cannot_be_read_is_an_error() {
    let file = "[clusters.a]\nbootstrap_servers = 'a:1'\nkafka.sasl.password = { file = '/nowhere/x' }\nkafka.ssl.key.password = { env = 'NOT_THERE' }\n";
    let errors = load(file, &[], Flags::default()).unwrap_err();
    assert!(errors[0].contains("cannot read /nowhere/x") && errors[1].contains("NOT_THERE is not set"), "{errors:?}");
}

#[test]
fn variables_of_kubernetes_services_are_not_settings() {
    let env = [
        ("OFFSETD_PORT", "tcp://1.2.3.4:1"),
        ("OFFSETD_SERVER_SERVICE_HOST", "1.2.3.4"),
        ("OFFSETD_SERVER_SERVICE_PORT_HTTP", "8088"),
        ("OFFSETD_SERVER_PORT", "tcp://1.2.3.4:8088"),
        ("OFFSETD_SERVER_PORT_8088_TCP_ADDR", "1.2.3.4"),
        ("OFFSETD_SERVER", "http://x:1"),
        ("OFFSETD_TOKEN", "t"),
    ];
    assert!(load("", &env, servers("a:1")).is_ok());
    assert!(load("", &[("OFFSETD_SERVER_PORT", "8088")], servers("a:1")).is_err());
}

#[test]
fn tls_needs_both_a_certificate_and_its_key() {
    let missing =
        |env: &[(&str, &str)]| load("", env, servers("a:1")).map_or_else(|errors| errors.join("\n"), |_| String::new());
    let (cert, key) = (("OFFSETD_SERVER_TLS_CERT", "c"), ("OFFSETD_SERVER_TLS_KEY", "k"));
    let client_ca = ("OFFSETD_SERVER_TLS_CLIENT_CA", "a");
    assert_eq!(missing(&[cert, key, client_ca]), "");
    assert_eq!(missing(&[cert]), "server.tls.key: is missing; TLS needs a certificate and its key");
    assert_eq!(missing(&[key, client_ca]), "server.tls.cert: is missing; TLS needs a certificate and its key");
    assert_eq!(missing(&[client_ca]).lines().count(), 2);
}

#[test]
fn several_clusters_keep_their_own_settings() {
    let (_dir, multi) = multi();
    let loaded = load(&multi, &[], Flags::default()).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let names: Vec<&str> = loaded.config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    assert_eq!(names, ["production", "staging"]);
    assert!(loaded.config.clusters[0].required && !loaded.config.clusters[1].required);
    assert_eq!(loaded.config.clusters[0].kafka["security.protocol"], "SASL_SSL");
    assert_eq!(loaded.config.clusters[0].kafka["sasl.password"], "hunter2");
}

#[test]
fn a_list_is_an_array_or_a_text_with_commas() {
    let http = |text: &str| {
        let loaded = load(&format!("[server.http]\n{text}"), &[], servers("a:1"))?;
        Ok::<_, Vec<String>>((loaded.config.server.http.allowed_hosts, loaded.config.server.http.allowed_origins))
    };
    let expected = (vec!["a.example".to_owned(), "b".to_owned()], vec!["https://c.example".to_owned()]);
    for text in [
        "allowed_hosts = ['A.example', 'b']\nallowed_origins = ['https://c.example/']",
        "allowed_hosts = 'a.example, b.'\nallowed_origins = 'https://c.example:443'",
    ] {
        assert_eq!(http(text), Ok(expected.clone()));
    }
    assert_eq!(http("allowed_hosts = []\nallowed_origins = ''"), Ok((vec![], vec![])));
    for (text, says) in [
        ("allowed_hosts = ['a:8088']", "\"a:8088\" is not a host name"),
        ("allowed_origins = ['*']", "\"*\" is not an origin"),
        ("frame_ancestors = 'https://a; script-src'", "is not an origin"),
        ("frame_ancestors = 'https://a;b'", "\"https://a;b\" is not an origin"),
        ("allowed_hosts = ['a', 1]", "an array is not allowed here"),
        ("allowed_hosts = true", "a boolean is not allowed here"),
    ] {
        let errors = http(text).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains(says), "{errors:?}");
    }
    let errors = load("[server]\nlisten = ['a:1']\n", &[], servers("a:1")).unwrap_err();
    assert!(errors[0].contains("an array is not allowed here"), "{errors:?}");
}
