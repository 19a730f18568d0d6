use super::*;

#[test]
fn the_demo_prints_commands_for_tls_and_tokens() {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls");
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "token-of-the-tests").unwrap();
    let printed = |env: &[(&str, String)]| {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let config = DemoArgs::default().load(&env, "127.0.0.1:1").unwrap().config;
        let access = Access::new(&config.server).unwrap();
        let mut out = vec![];
        print_suggestions(&access, "127.0.0.1:8088".parse().unwrap(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let plain = printed(&[]);
    assert_eq!(plain.lines().next(), Some("Dashboard: http://127.0.0.1:8088/"));
    assert!(plain.contains("terminal:"), "{plain}");
    assert!(!plain.contains("--server"), "{plain}");
    let secured = printed(&[
        ("OFFSETD_SERVER_AUTH_TOKENS_FILE", tokens.display().to_string()),
        ("OFFSETD_SERVER_TLS_CERT", format!("{fixtures}/server.pem")),
        ("OFFSETD_SERVER_TLS_KEY", format!("{fixtures}/server.key")),
    ]);
    assert!(secured.contains("terminal, with OFFSETD_TOKEN and OFFSETD_CA_CERT set:"), "{secured}");
    assert_eq!(secured.matches("--server https://127.0.0.1:8088").count(), 3, "{secured}");
}

#[test]
fn the_demo_uses_configured_limits_but_no_configured_cluster() {
    let env = [
        ("OFFSETD_CONFIG", "/nowhere"),
        ("OFFSETD_BOOTSTRAP_SERVERS", "prod:9092"),
        ("OFFSETD_CLUSTERS_PROD_REQUIRED", "true"),
        ("OFFSETD_SQL_QUEUE", "7"),
    ];
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let args = DemoArgs { listen: Some("127.0.0.1:0".to_owned()), ..DemoArgs::default() };
    let config = args.load(&env, "127.0.0.1:4711").unwrap().config;
    assert_eq!(config.sql.queue, 7);
    assert_eq!(config.server.listen, "127.0.0.1:0");
    let clusters: Vec<_> = config.clusters.iter().map(|c| (c.name.as_str(), c.bootstrap_servers.as_str())).collect();
    assert_eq!(clusters, [("demo", "127.0.0.1:4711")]);
}

#[test]
fn the_default_file_is_read_only_without_other_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let (file, missing) = (dir.path().join("offsetd.toml"), dir.path().join("none.toml"));
    std::fs::write(&file, "").unwrap();
    let found = |args: &ClusterArgs, variable: Option<&str>, file: &Path| {
        let env = variable.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
        args.default_config_file(&env, file)
    };
    let none = ClusterArgs::default();
    assert_eq!(found(&none, Some("OFFSETD_SQL_QUEUE"), &file).as_ref(), Some(&file));
    assert_eq!(found(&none, None, &missing), None);
    assert_eq!(found(&none, Some("OFFSETD_CONFIG"), &file), None);
    assert_eq!(found(&none, Some("OFFSETD_BOOTSTRAP_SERVERS"), &file), None);
    let config = ClusterArgs { config: Some("x".into()), ..ClusterArgs::default() };
    let servers = ClusterArgs { bootstrap_servers: Some("x:1".to_owned()), ..ClusterArgs::default() };
    assert_eq!((found(&config, None, &file), found(&servers, None, &file)), (None, None));
}

#[test]
fn the_dashboard_of_a_server_on_all_addresses_is_shown_on_this_machine() {
    let access =
        Access::new(&DemoArgs::default().load(&BTreeMap::new(), "127.0.0.1:1").unwrap().config.server).unwrap();
    for (address, url) in [
        ("0.0.0.0:8088", "http://127.0.0.1:8088/"),
        ("[::]:1", "http://[::1]:1/"),
        ("192.0.2.1:8088", "http://192.0.2.1:8088/"),
    ] {
        assert_eq!(dashboard_url(&access, address.parse().unwrap()), url);
    }
}
