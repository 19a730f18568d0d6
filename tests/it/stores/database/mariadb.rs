//! MariaDB: filled by its own client.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::layouts::{self, LAYOUTS};
use super::{LIMIT, counts, fails, row, run, shows, tls, with_sources};
use crate::kafka::broker::free_port;
use crate::kafka::faults::is;
use crate::process::{Process, wait_for};

/// The table of the tests, and its users. An anonymous user of a new server would take precedence over them.
const TABLE: &str = "
    CREATE TABLE offsets (g varchar(300), t varbinary(300), p text, o varbinary(100), at datetime(3));
    DELETE FROM mysql.global_priv WHERE User = '';
    FLUSH PRIVILEGES;
    CREATE USER reader IDENTIFIED BY 'right' REQUIRE SSL;
    GRANT SELECT ON kept.* TO reader;
    CREATE USER stranger IDENTIFIED BY 'right';
    CREATE FUNCTION write_row() RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO offsets (g) VALUES ('w'); RETURN 1; END;
    INSERT INTO offsets VALUES ('billing', 'orders', '0', '42', '2026-11-30 15:00:00'),
        ('billing', 'orders', '1', '43', NULL);";
/// The query on it. MySQL ignores the case of names.
const QUERY: &str =
    "SELECT g AS GROUP_ID, t AS topic, p AS `partition`, o AS committed_offset, at AS committed_at FROM offsets";

/// A MariaDB server and its folder.
pub(crate) struct Mariadb {
    process: Process,
    folder: TempDir,
    port: u16,
}

impl Mariadb {
    pub(crate) fn start() -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let mut install = Command::new("mariadb-install-db");
        install.arg("--no-defaults").arg(format!("--datadir={}", folder.path().join("data").display()));
        run(install.args(user()).args(["--auth-root-authentication-method=normal", "--skip-test-db"]));
        let process = Self::run(folder.path(), port);
        let mariadb = Self { process, folder, port };
        mariadb.wait();
        run(mariadb.client("mysql").args(["-e", "CREATE DATABASE kept"]));
        mariadb.sql(
            &format!("DELIMITER ;\n{TABLE}")
                .replace("CREATE FUNCTION", "DELIMITER //\nCREATE FUNCTION")
                .replace("END;", "END//\nDELIMITER ;\n"),
        );
        mariadb
    }

    fn run(folder: &Path, port: u16) -> Process {
        let mut command = Command::new("mariadbd");
        command.arg("--no-defaults").args(user()).arg("--skip-log-bin").arg("--bind-address=127.0.0.1");
        command.arg(format!("--datadir={}", folder.join("data").display()));
        command.arg(format!("--socket={}", folder.join("socket").display())).arg(format!("--port={port}"));
        for (option, file) in [("ssl-cert", "server.pem"), ("ssl-key", "server.key"), ("ssl-ca", "ca.pem")] {
            command.arg(format!("--{option}={}", tls(file).display()));
        }
        Process::spawn("mariadbd", &command, None, folder.join("log"))
    }

    fn wait(&self) {
        wait_for("mariadbd", LIMIT, || {
            let output = self.client("mysql").args(["-e", "SELECT 1"]).output().unwrap();
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        });
    }

    fn client(&self, database: &str) -> Command {
        let mut command = Command::new("mariadb");
        command.arg("--no-defaults").arg(format!("--socket={}", self.folder.path().join("socket").display()));
        command.args(["--user=root", "--skip-column-names", "--batch", database]);
        command
    }

    /// Runs statements. Each must succeed.
    pub(crate) fn sql(&self, statements: &str) -> String {
        let path = self.folder.path().join("statements");
        fs::write(&path, statements).unwrap();
        run(self.client("kept").stdin(fs::File::open(path).unwrap()))
    }

    fn url(&self, user: &str) -> String {
        format!("mysql://{user}@127.0.0.1:{}/kept", self.port)
    }

    /// Returns the section of a source with a query.
    pub(crate) fn source(&self, name: &str, query: &str, settings: &str) -> String {
        let url = self.url("root");
        format!("[sources.{name}]\nkind = \"mysql\"\nurl = \"{url}\"\nquery = '''{query}'''\n{settings}")
    }
}

/// Returns the option without which the server refuses to run as root.
fn user() -> Option<&'static str> {
    (run(Command::new("id").arg("-u")).trim() == "0").then_some("--user=root")
}

#[test]
fn the_rows_of_every_known_table_are_shown_and_each_error_by_its_own_source() {
    let mariadb = Mariadb::start();
    mariadb.sql(&layouts::fill("`", "blob"));
    let password = mariadb.folder.path().join("password");
    fs::write(&password, "right\n").unwrap();
    let with_password = format!("password = {{ file = \"{}\" }}\n", password.display());
    let known: String = LAYOUTS.iter().map(|table| mariadb.source(table.name, table.mysql, table.settings)).collect();
    let (broken, errors) = broken_sources(&mariadb, &with_password);
    let verified = format!("{with_password}ca = \"{}\"\n", tls("ca.pem").display());
    let often = "interval = \"100ms\"\n";
    let sources = [
        known,
        broken,
        mariadb.source("mysql", QUERY, often),
        mariadb
            .source("verified", QUERY, &verified)
            .replace(&mariadb.url("root"), &format!("mysql://reader@localhost:{}/kept", mariadb.port)),
    ];
    let (_kafka, _folder, server) = with_sources(&sources.concat());

    let billing = [row("billing", "orders", 0, 42), row("billing", "orders", 1, 43)];
    for source in LAYOUTS.iter().map(|table| table.name).chain(["mysql", "verified"]) {
        shows(&server, source, &billing);
    }
    let times = "SELECT committed_at FROM offsets WHERE source = 'mysql' ORDER BY partition";
    let shown = json!([{"committed_at": "2026-11-30T15:00:00Z"}, {"committed_at": null}]);
    wait_for("the times of the commits", LIMIT, || is(&server, times, shown.clone()));
    fails(&server, &errors);

    mariadb.sql(
        "UPDATE offsets SET o = '50' WHERE p = '0'; DELETE FROM offsets WHERE p = '1';
         INSERT INTO offsets VALUES ('new', 'orders', '2', '0', '2026-11-30 15:00:00');",
    );
    let good = [row("billing", "orders", 0, 50), row("new", "orders", 2, 0)];
    shows(&server, "mysql", &good);
    for bad in ["''", "'-1'", "'1.5e3'", "'9223372036854775808'", "x'00'", "x'ff'", "x'34003200'", "NULL"] {
        mariadb.sql(&format!("INSERT INTO offsets (g, t, p, o) VALUES ('bad', 'orders', '0', {bad})"));
    }
    mariadb.sql(
        "INSERT INTO offsets (g, t, p, o) VALUES
            ('b\\0a\\0d', 'orders', '0', '1'),
            ('bad', repeat('t', 300), '0', '1'), ('bad', 'orders', '2147483648', '1')",
    );
    counts(
        &server,
        "mysql",
        json!({"state": "live", "entries": 2, "malformed": 11, "ambiguous": 0, "last_rejected": "bad/orders"}),
    );
    shows(&server, "mysql", &good);
    mariadb.sql("DELETE FROM offsets");
    shows(&server, "mysql", &[]);
    server.stop_cleanly();
}

/// Returns sources that cannot be read, and the error of each.
fn broken_sources(mariadb: &Mariadb, with_password: &str) -> (String, Vec<(String, String)>) {
    let columns = "'g' AS group_id, 'orders' AS topic, 0 AS `partition`, 1 AS committed_offset";
    let queries = [
        (
            "unknown_column",
            format!("SELECT {columns}, 1 AS part"),
            "unknown column \"part\"; it must return group_id, topic, partition and committed_offset",
        ),
        ("no_table", "SELECT * FROM nowhere".to_owned(), "Table 'kept.nowhere' doesn't exist"),
        ("writes", format!("SELECT {columns}, write_row() AS metadata"), "`query` must not write"),
        ("insert", "INSERT INTO offsets VALUES ('g')".to_owned(), "`query` must be one SELECT"),
        ("several", format!("SELECT {columns}; DELETE FROM offsets"), "`query` must be one SELECT"),
        (
            "escaping",
            format!("SELECT {columns}) AS q LIMIT 0) AS t ON true; COMMIT; DELETE FROM offsets; -- "),
            "`query` must be one SELECT",
        ),
        ("slow", format!("SELECT {columns}, sleep(60) AS metadata FROM offsets"), "ended `query` after 0.2 s"),
    ];
    let mut sources: Vec<String> = queries
        .iter()
        .map(|(name, query, _)| mariadb.source(name, query, "interval = \"1h\"\ntimeout = \"200ms\"\n"))
        .collect();
    let mut errors: Vec<(String, String)> =
        queries.iter().map(|(name, _, error)| ((*name).to_owned(), (*error).to_owned())).collect();
    let untrusted = format!("{with_password}ca = \"{}\"\n", tls("other-ca.pem").display());
    for (name, user, settings, error) in [
        (
            "wrong_password",
            "reader",
            "password = { env = \"PATH\" }\n",
            "refused access: Access denied for user 'reader'",
        ),
        ("no_right", "stranger", with_password, "refused access: Access denied for user 'stranger'"),
        ("distrusted", "reader", &untrusted, "certificate"),
    ] {
        sources.push(mariadb.source(name, QUERY, settings).replace(&mariadb.url("root"), &mariadb.url(user)));
        errors.push((name.to_owned(), error.to_owned()));
    }
    (sources.concat(), errors)
}

#[test]
fn a_mariadb_that_dies_keeps_its_rows_and_is_read_again() {
    let mut mariadb = Mariadb::start();
    mariadb.process.kill();
    let (_kafka, _folder, server) = with_sources(&mariadb.source("mysql", QUERY, "interval = \"100ms\"\n"));
    fails(&server, &[("mysql".to_owned(), "Connection refused".to_owned())]);
    mariadb.process = Mariadb::run(mariadb.folder.path(), mariadb.port);
    mariadb.wait();
    shows(&server, "mysql", &[row("billing", "orders", 0, 42), row("billing", "orders", 1, 43)]);

    let mut changes = mariadb.client("kept");
    changes.args(["--delimiter=//", "-e"]);
    changes.arg("BEGIN NOT ATOMIC LOOP UPDATE offsets SET o = o + 1 WHERE p = '0'; END LOOP; END //");
    let mut changes = Process::spawn("mariadb", &changes, None, mariadb.folder.path().join("changes"));
    let changed = "SELECT committed_offset > 50 AS changed FROM offsets WHERE source = 'mysql' AND partition = 0";
    wait_for("changes", LIMIT, || is(&server, changed, json!([{"changed": true}])));
    mariadb.process.kill();
    changes.kill();
    let failing = "SELECT state, last_error IS NOT NULL AS told FROM sources WHERE source = 'mysql'";
    wait_for("the failure to be shown", LIMIT, || is(&server, failing, json!([{"state": "failing", "told": true}])));
    let rows = "SELECT count(*) AS n FROM offsets WHERE source = 'mysql'";
    assert_eq!(Value::from(server.sql(rows)), json!([{"n": 2}]));

    mariadb.process = Mariadb::run(mariadb.folder.path(), mariadb.port);
    mariadb.wait();
    mariadb.sql("DELETE FROM offsets WHERE p = '1'");
    let last: i64 = mariadb.sql("SELECT o FROM offsets").trim().parse().unwrap();
    shows(&server, "mysql", &[row("billing", "orders", 0, last)]);
    wait_for("the recovery to be shown", LIMIT, || is(&server, failing, json!([{"state": "live", "told": false}])));
    server.stop_cleanly();
}
