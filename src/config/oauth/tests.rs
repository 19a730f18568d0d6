use std::{collections::BTreeMap, fs};

use crate::config::{Config, Flags, Layers, LoadedConfig, OauthMethod};

fn load(oauth: &str, env: &[(&str, &str)]) -> Result<LoadedConfig, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("offsetd.toml");
    fs::write(dir.path().join("secret"), "hunter2\n").unwrap();
    let text = format!("[clusters.c]\nbootstrap_servers = \"kafka:9093\"\n{oauth}");
    fs::write(&path, text.replace("SECRET_FILE", &dir.path().join("secret").display().to_string())).unwrap();
    let env: BTreeMap<_, _> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let flags = Flags { config: Some(path), ..Flags::default() };
    Config::load(Layers { flags: &flags, env: &env, check_property: None })
        .map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
}

fn errors(oauth: &str) -> String {
    load(oauth, &[]).unwrap_err().join("\n")
}

const CREDENTIALS: &str = "oauth.method = \"client_credentials\"\noauth.client_id = \"offsetd\"\n\
                           oauth.token_endpoint = \"https://login.example.org/token\"\n";

#[test]
fn a_secret_comes_from_the_file_a_variable_or_a_file_of_its_own_and_is_never_shown() {
    let given = [
        ("oauth.client_secret = \"hunter2\"", vec![]),
        ("oauth.client_secret = { file = \"SECRET_FILE\" }", vec![]),
        ("oauth.client_secret = { env = \"KAFKA_SECRET\" }", vec![("KAFKA_SECRET", "hunter2")]),
        ("", vec![("OFFSETD_CLUSTERS_C_OAUTH_CLIENT_SECRET", "hunter2")]),
    ];
    for (line, env) in given {
        let loaded = load(&format!("{CREDENTIALS}{line}\n"), &env).unwrap();
        let oauth = &loaded.config.clusters[0].oauth;
        assert_eq!(oauth.client_secret.0, "hunter2", "{line}");
        let shown = format!("{:?} {:?}", loaded.config, loaded.effective);
        assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
    }
}

#[test]
fn a_missing_reference_is_reported_with_its_key() {
    let text = errors(&format!("{CREDENTIALS}oauth.client_secret = {{ env = \"NOWHERE\" }}\n"));
    let error = "clusters.c.oauth.client_secret: the environment variable NOWHERE is not set";
    assert!(text.contains(error), "{text}");
}

#[test]
fn each_method_takes_its_own_settings_and_refuses_the_others() {
    let missing = errors("oauth.method = \"client_credentials\"\n");
    for name in ["token_endpoint", "client_id", "client_secret"] {
        let line = format!("clusters.c.oauth.{name}: is missing; oauth.method = \"client_credentials\" needs it");
        assert!(missing.contains(&line), "{missing}");
    }
    assert!(errors("oauth.method = \"file\"\n").contains("oauth.file: is missing"));
    let unused = errors("oauth.method = \"msk_iam\"\noauth.client_id = \"x\"\n");
    assert!(unused.contains("oauth.client_id: is not used by oauth.method = \"msk_iam\""), "{unused}");
    let none = errors("oauth.scope = \"x\"\n");
    assert!(none.contains("oauth.scope: is set without oauth.method"), "{none}");
    let both = errors(&format!("{CREDENTIALS}oauth.client_secret = \"a\"\noauth.private_key = \"b\"\n"));
    assert!(both.contains("oauth.client_secret: is not used"), "{both}");
    assert!(!both.contains("\"a\""), "{both}");
    let method = load("oauth.method = \"msk_iam\"\n", &[("AWS_REGION", "eu-west-1"), ("OTHER", "x")]).unwrap();
    let oauth = &method.config.clusters[0].oauth;
    assert_eq!(oauth.method, OauthMethod::MskIam);
    assert_eq!(oauth.aws.get("AWS_REGION"), Some("eu-west-1"));
    assert_eq!(oauth.aws.get("OTHER"), None);
}

#[test]
fn contradicting_properties_are_refused_with_a_hint() {
    let cases = [
        ("oauth.method = \"msk_iam\"\nkafka.sasl.mechanism = \"PLAIN\"\n", "kafka.\"sasl.mechanism\""),
        ("oauth.method = \"msk_iam\"\nkafka.security.protocol = \"SSL\"\n", "needs SASL_SSL or SASL_PLAINTEXT"),
        ("kafka.sasl.mechanisms = \"OAUTHBEARER\"\n", "set method in [clusters.NAME.oauth]"),
        ("kafka.sasl.oauthbearer.method = \"oidc\"\n", "use the settings of [clusters.NAME.oauth]"),
        ("kafka.sasl.oauthbearer.assertion.private.key.file = \"/x\"\n", "use the settings of [clusters.NAME.oauth]"),
    ];
    for (text, expected) in cases {
        let errors = errors(text);
        assert!(errors.contains(expected), "{text}: {errors}");
    }
    // The unsecured tokens of librdkafka are allowed, for development.
    load("kafka.sasl.mechanism = \"OAUTHBEARER\"\nkafka.enable.sasl.oauthbearer.unsecure.jwt = true\n", &[]).unwrap();
}

#[test]
fn a_bad_url_or_extension_is_refused() {
    for (line, expected) in [
        ("oauth.token_endpoint = \"ftp://x\"", "the scheme is neither https nor http"),
        ("oauth.token_endpoint = \"https://me:hunter2@x/\"", "use client_id and client_secret"),
        ("oauth.extensions = \"auth=x\"", "with only letters in the name"),
        ("oauth.extensions = [\"logical cluster=x\"]", "with only letters in the name"),
        ("oauth.method = \"oidc\"", "client_credentials"),
    ] {
        let errors = errors(&format!("{line}\n"));
        assert!(errors.contains(expected) && !errors.contains("hunter2"), "{line}: {errors}");
    }
}
