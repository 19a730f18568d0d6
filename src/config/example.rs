//! The example file, written from the table of settings.

use std::fmt::Write as _;

use super::{
    Audit, Auth, Cluster, History, Http, Lag, Limits, NameFilter, Server, Sql, Tls, Transactions,
    resolve::{Key, quoted},
    section::Setting,
    value::Form,
};

const HEAD: &str = "\
# offsetd.toml: every setting, its unit, its default, and why.
#
# A flag goes before an environment variable, that before this file, and this file before the default.
# Unknown keys are errors. `offsetd check-config` shows what is in force and where it came from.
";

const KAFKA: &str = "\
# Properties of librdkafka: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
# All but those that offsetd must control itself, as group.id or auto.offset.reset.
# A value may stand in a file of its own or in an environment variable:
#   sasl.password = { file = \"/run/secrets/kafka\" }
#   sasl.password = { env = \"KAFKA_PASSWORD\" }
# Environment: OFFSETD_CLUSTERS_DEFAULT_KAFKA_SECURITY_PROTOCOL for security.protocol, and so on.
[clusters.default.kafka]
# security.protocol = \"SASL_SSL\"
";

/// `offsetd.toml` with every setting at its default, and what is to be known about it.
#[must_use]
pub fn example() -> String {
    let mut out = HEAD.to_owned();
    let cluster = Key::from("clusters").child("default");
    let server = Key::from("server");
    section(&mut out, &server, Server::SETTINGS);
    section(&mut out, &server.child("auth"), Auth::SETTINGS);
    section(&mut out, &server.child("tls"), Tls::SETTINGS);
    section(&mut out, &server.child("http"), Http::SETTINGS);
    section(&mut out, &server.child("limits"), Limits::SETTINGS);
    section(&mut out, &Key::from("sql"), Sql::SETTINGS);
    section(&mut out, &Key::from("lag"), Lag::SETTINGS);
    section(&mut out, &Key::from("history"), History::SETTINGS);
    section(&mut out, &Key::from("transactions"), Transactions::SETTINGS);
    section(&mut out, &Key::from("audit"), Audit::SETTINGS);
    out.push_str("\n# One section a cluster; its name is what `cluster` shows in every answer.");
    section(&mut out, &cluster, Cluster::SETTINGS);
    section(&mut out, &cluster.child("groups"), NameFilter::SETTINGS);
    section(&mut out, &cluster.child("topics"), NameFilter::SETTINGS);
    out.push('\n');
    out.push_str(KAFKA);
    out
}

fn section(out: &mut String, section: &Key, settings: &[Setting]) {
    // Writing to a String does not fail.
    let _ = writeln!(out, "\n[{section}]");
    for setting in settings {
        let default = match (setting.key, setting.form) {
            ("bootstrap_servers", _) => quoted("localhost:9092"),
            (_, Form::Integer | Form::Bool) => setting.default.to_owned(),
            (_, Form::Text | Form::TextOrInteger | Form::TextOrArray) => quoted(setting.default),
        };
        let _ = writeln!(out, "#{}", setting.doc);
        let _ = writeln!(out, "# Why: {}.", setting.why);
        let _ = writeln!(out, "# Allowed: {}.", setting.allowed);
        let _ = writeln!(out, "# Environment: {}.", section.child(setting.key).env_name());
        let _ = writeln!(out, "{} = {default}\n", setting.key);
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
}
