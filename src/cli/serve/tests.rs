use super::*;

#[test]
fn the_demo_says_how_it_is_reached_with_tls_and_tokens() {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls");
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "token-of-the-tests").unwrap();
    let said = |env: &[(&str, String)]| {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let config = DemoArgs::default().load(&env, "127.0.0.1:1").unwrap().config;
        let access = Access::new(&config.server).unwrap();
        let mut out = vec![];
        say_what_to_try(&access, "127.0.0.1:8088".parse().unwrap(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let plain = said(&[]);
    assert!(plain.contains("on http://127.0.0.1:8088 ") && plain.contains("terminal:"), "{plain}");
    assert!(!plain.contains("--server"), "{plain}");
    let secured = said(&[
        ("OFFSETD_SERVER_AUTH_TOKENS_FILE", tokens.display().to_string()),
        ("OFFSETD_SERVER_TLS_CERT", format!("{fixtures}/server.pem")),
        ("OFFSETD_SERVER_TLS_KEY", format!("{fixtures}/server.key")),
    ]);
    assert!(secured.contains("terminal, with OFFSETD_TOKEN and OFFSETD_CA_CERT set:"), "{secured}");
    assert_eq!(secured.matches("--server https://127.0.0.1:8088").count(), 3, "{secured}");
}

#[test]
fn the_demo_heeds_limits_but_no_configured_cluster() {
    let env = [
        ("OFFSETD_CONFIG", "/nowhere"),
        ("OFFSETD_BOOTSTRAP_SERVERS", "prod:9092"),
        ("OFFSETD_CLUSTERS_PROD_REQUIRED", "true"),
        ("OFFSETD_SQL_QUEUE", "7"),
    ];
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let args = DemoArgs { listen: Some("127.0.0.1:0".to_owned()), address_file: None };
    let config = args.load(&env, "127.0.0.1:4711").unwrap().config;
    assert_eq!(config.sql.queue, 7);
    assert_eq!(config.server.listen, "127.0.0.1:0");
    let clusters: Vec<_> = config.clusters.iter().map(|c| (c.name.as_str(), c.bootstrap_servers.as_str())).collect();
    assert_eq!(clusters, [("demo", "127.0.0.1:4711")]);
}
