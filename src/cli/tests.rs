use clap::{CommandFactory as _, error::ErrorKind};

use super::*;

pub(super) mod fake;

fn parse(line: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_of_the_command_line_is_valid() {
    Args::command().debug_assert();
}

#[test]
fn every_command_has_help_with_examples() {
    let mut command = Args::command();
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    assert_eq!(
        names,
        [
            "demo",
            "serve",
            "sql",
            "query",
            "group",
            "groups",
            "watch",
            "status",
            "decode",
            "check-config",
            "doctor",
            "help",
            "completions",
            "man"
        ]
    );
    for sub in command.get_subcommands_mut() {
        let help = sub.render_long_help().to_string();
        let name = format!("offsetd {}", sub.get_name());
        assert!(help.contains("Examples:") && help.contains(&name), "{help}");
    }
    assert!(command.render_long_help().to_string().contains("Examples:"));
}

#[test]
fn the_version_has_the_git_revision() {
    let error = parse("offsetd --version").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DisplayVersion);
    assert_eq!(error.to_string().trim(), format!("offsetd {VERSION}"));
    assert!(VERSION.contains(env!("OFFSETD_GIT_REVISION")));
}

#[test]
fn help_succeeds_and_bad_usage_is_status_64() {
    let code = |line: &str| format!("{:?}", Args::parse_from(line.split_whitespace()).unwrap_err());
    let (ok, usage) = (format!("{:?}", ExitCode::SUCCESS), format!("{:?}", ExitCode::from(64)));
    assert_eq!(code("offsetd --help"), ok);
    assert_eq!(code("offsetd sql --help"), ok);
    for bad in [
        "offsetd",
        "offsetd frobnicate",
        "offsetd query g t",
        "offsetd query g t -1",
        "offsetd sql --format xml x",
        "offsetd sql --max-rows 0 x",
        "offsetd serve -X novalue",
        "offsetd groups --within 5min",
        "offsetd groups --active --order-by lag",
        "offsetd check-config --example --config x",
    ] {
        assert_eq!(code(bad), usage, "{bad}");
    }
}

#[test]
fn arguments_reach_their_commands() {
    let args = parse("offsetd --log-format json serve --bootstrap-servers a:1 -X a.b=c=d -X e=f --listen x:0").unwrap();
    assert_eq!(args.log_format, LogFormat::Json);
    let Command::Serve(serve) = args.command else { panic!() };
    assert_eq!(serve.config.bootstrap_servers.as_deref(), Some("a:1"));
    assert_eq!((serve.config.kafka[0].key.as_str(), serve.config.kafka[0].value.as_str()), ("a.b", "c=d"));

    let Command::Sql(sql) = parse("offsetd sql SELECT --param -1 --param x --timeout 5min").unwrap().command else {
        panic!()
    };
    assert_eq!(sql.params, ["-1", "x"]);
    assert_eq!(sql.timeout, Some(std::time::Duration::from_secs(300)));

    let Command::Query(query) = parse("offsetd query g t 3 --latest --server http://x:1").unwrap().command else {
        panic!()
    };
    assert_eq!((query.partition, query.latest, query.server.server.as_deref()), (3, true, Some("http://x:1")));
}

#[test]
fn a_statement_may_begin_with_a_comment_and_a_misspelt_option_is_named() {
    for option in [&[][..], &["-c"]] {
        let line = [&["offsetd", "sql"], option, &["-- groups that lag\nSELECT 1"]].concat();
        let Command::Sql(sql) = Args::parse_from(line).unwrap().command else { panic!() };
        let given = sql.statement.iter().chain(&sql.commands).next().unwrap();
        assert_eq!(given, " -- groups that lag\nSELECT 1");
    }
    let error = parse("offsetd sql --fromat csv x").unwrap_err().to_string();
    assert!(error.contains("unexpected argument '--fromat'") && error.contains("--format"), "{error}");
    assert!(parse("offsetd sql -f a.sql -f b.sql").is_ok() && parse("offsetd sql -c x -f y").is_err());
}

#[test]
fn secrets_of_the_command_line_are_not_in_its_debug_output() {
    let args = parse("offsetd serve -X sasl.password=hunter2").unwrap();
    assert!(!format!("{args:?}").contains("hunter2"));
    let args = parse("offsetd status --token hunter2").unwrap();
    assert!(!format!("{args:?}").contains("hunter2"));
}

#[test]
fn failures_have_the_exit_codes_of_the_contract() {
    let codes = [
        (Failure::Usage(String::new()), 64),
        (Failure::Input(String::new()), 2),
        (Failure::Command(String::new()), 1),
        (Failure::Output(io::ErrorKind::BrokenPipe.into()), 0),
        (Failure::Output(io::ErrorKind::StorageFull.into()), 1),
        (Failure::Internal(anyhow::anyhow!("bug")), 70),
    ];
    for (failure, code) in codes {
        assert_eq!(failure.code(), code, "{failure}");
    }
}
