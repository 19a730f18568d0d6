//! PostgreSQL: filled by `psql`.

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

/// The table of the tests, and its users.
const TABLE: &str = "
    CREATE TABLE offsets (g text, t text, p text, o text, at text);
    CREATE ROLE reader LOGIN PASSWORD 'right';
    GRANT pg_read_all_data TO reader;
    CREATE ROLE stranger LOGIN PASSWORD 'right';
    CREATE DATABASE other;
    CREATE FUNCTION write() RETURNS text LANGUAGE sql
        AS $$ INSERT INTO offsets VALUES ('w', 'orders', '0', '1'); SELECT 'w' $$;
    INSERT INTO offsets VALUES ('billing', 'orders', '0', '42', '2026-11-30 15:00:00+00'),
        ('billing', 'orders', '1', '43', NULL);";
/// The query on it.
const QUERY: &str =
    "SELECT g AS group_id, t AS topic, p AS partition, o AS committed_offset, at AS committed_at FROM offsets";

/// A PostgreSQL server and its folder.
struct Postgres {
    process: Process,
    folder: TempDir,
    port: u16,
}

impl Postgres {
    fn start() -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        for file in ["server.pem", "server.key", "ca.pem"] {
            fs::copy(tls(file), folder.path().join(file)).unwrap();
        }
        if is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(folder.path()));
        }
        run(Command::new("chmod").arg("600").arg(folder.path().join("server.key")));
        run(program("initdb").args(["-D"]).arg(&data).args(["-U", "postgres", "-A", "trust", "--no-sync"]));
        let rules = "local all postgres trust\nhost all postgres all trust\nhostssl all reader all scram-sha-256\n\
                     host all all all scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), rules).unwrap();
        let process = Self::run(folder.path(), port);
        let postgres = Self { process, folder, port };
        postgres.wait();
        postgres.sql(TABLE);
        postgres
    }

    fn run(folder: &Path, port: u16) -> Process {
        let mut command = program("postgres");
        let file = |name: &str| folder.join(name).display().to_string();
        command.args(["-D", &file("data"), "-p", &port.to_string(), "-k", &file(""), "-h", "127.0.0.1"]);
        let certificates = [("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key"), ("ssl_ca_file", "ca.pem")];
        for (setting, name) in certificates {
            command.args(["-c", &format!("{setting}={}", file(name))]);
        }
        command.args(["-c", "ssl=on", "-c", "fsync=off"]);
        Process::spawn("postgres", &command, None, folder.join("log"))
    }

    fn wait(&self) {
        wait_for("postgres", LIMIT, || {
            let output = self.client("postgres").args(["-c", "SELECT 1"]).output().unwrap();
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        });
    }

    fn start_again(&mut self) {
        // The children of the killed server end by themselves; until then, the new one refuses to start.
        wait_for("postgres", LIMIT, || {
            self.process = Self::run(self.folder.path(), self.port);
            wait_for("an answer or the end of postgres", LIMIT, || {
                let output = self.client("postgres").args(["-c", "SELECT 1"]).output().unwrap();
                match (output.status.success(), self.process.check_alive()) {
                    (true, _) => Ok(Ok(())),
                    (false, Err(ended)) => Ok(Err(ended)),
                    (false, Ok(())) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
                }
            })
        });
    }

    fn client(&self, user: &str) -> Command {
        let mut command = Command::new("psql");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", user, "-d", "postgres"]);
        command.args(["-q", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        command
    }

    /// Runs statements. Each must succeed.
    fn sql(&self, statements: &str) -> String {
        let path = self.folder.path().join("statements");
        fs::write(&path, statements).unwrap();
        run(self.client("postgres").arg("-f").arg(path))
    }

    fn url(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres", self.port)
    }

    /// Returns the section of a source with a query.
    fn source(&self, name: &str, query: &str, settings: &str) -> String {
        let url = self.url("postgres");
        format!("[sources.{name}]\nkind = \"postgres\"\nurl = \"{url}\"\nquery = '''{query}'''\n{settings}")
    }
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u")).trim() == "0"
}

/// Returns a program of the server, which refuses to run as root.
fn program(name: &str) -> Command {
    let search = format!("command -v {name} || ls /usr/lib/postgresql/*/bin/{name}");
    let path = run(Command::new("sh").args(["-c", &search])).lines().last().unwrap().to_owned();
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", &path]);
    command
}

#[test]
fn the_rows_of_every_known_table_are_shown_with_lag_and_each_error_by_its_own_source() {
    let postgres = Postgres::start();
    postgres.sql(&layouts::fill("\"", "bytea"));
    let password = postgres.folder.path().join("password");
    fs::write(&password, "right\n").unwrap();
    let with_password = format!("password = {{ file = \"{}\" }}\n", password.display());
    let known: String =
        LAYOUTS.iter().map(|table| postgres.source(table.name, table.postgres, table.settings)).collect();
    let (broken, errors) = broken_sources(&postgres, &with_password);
    let verified = format!("{with_password}ca = \"{}\"\n", tls("ca.pem").display());
    // Each change is notified. Nothing else would be read within the hour.
    let listening = "interval = \"1h\"\nlisten = \"Offsets\"\n";
    let sources = [
        known,
        broken,
        postgres.source("postgres", QUERY, listening),
        postgres
            .source("verified", QUERY, &verified)
            .replace(&postgres.url("postgres"), &format!("postgres://reader@localhost:{}/postgres", postgres.port)),
    ];
    let (_kafka, _folder, server) = with_sources(&sources.concat());

    let billing = [row("billing", "orders", 0, 42), row("billing", "orders", 1, 43)];
    for source in LAYOUTS.iter().map(|table| table.name).chain(["postgres", "verified"]) {
        shows(&server, source, &billing);
    }
    let times = "SELECT source, committed_at FROM offsets WHERE partition = 0 AND committed_at IS NOT NULL ORDER BY 1";
    let at = |source: &str, time: &str| json!({"source": source, "committed_at": time});
    let shown = json!([
        at("akka", "2026-11-30T15:00:00Z"),
        at("kafka_offsets", "2026-11-30T15:00:00Z"),
        at("postgres", "2026-11-30T15:00:00Z"),
        at("runs", "2026-11-30T16:00:00Z"),
        at("verified", "2026-11-30T15:00:00Z")
    ]);
    wait_for("the times of the commits", LIMIT, || is(&server, times, shown.clone()));
    let lag = "SELECT lag, lag_unknown FROM lag WHERE source = 'postgres' AND partition = 0";
    // The topic is empty, so that an offset of 42 is beyond its end.
    wait_for("a lag", LIMIT, || is(&server, lag, json!([{"lag": null, "lag_unknown": "ahead_of_log"}])));
    fails(&server, &errors);

    postgres.sql(
        "UPDATE offsets SET o = '50' WHERE p = '0'; DELETE FROM offsets WHERE p = '1';
         INSERT INTO offsets VALUES ('new', 'orders', '2', '0', '1796050800'); NOTIFY \"Offsets\"",
    );
    shows(&server, "postgres", &[row("billing", "orders", 0, 50), row("new", "orders", 2, 0)]);
    let deleted = "SELECT group_id, partition FROM commits WHERE source = 'postgres' AND kind = 'tombstone'";
    assert_eq!(Value::from(server.sql(deleted)), json!([{"group_id": "billing", "partition": 1}]));
    bad_rows_reject_only_themselves(&postgres, &server);
    postgres.sql("DELETE FROM offsets; NOTIFY \"Offsets\"");
    shows(&server, "postgres", &[]);
    server.stop_cleanly();
}

/// Returns sources that cannot be read, and the error of each.
fn broken_sources(postgres: &Postgres, with_password: &str) -> (String, Vec<(String, String)>) {
    let columns = "'g' AS group_id, 'orders' AS topic, 0 AS partition, 1 AS committed_offset";
    let queries = [
        (
            "unknown_column",
            format!("SELECT {columns}, 1 AS part"),
            "unknown column \"part\"; it must return group_id, topic, partition and committed_offset",
        ),
        (
            "missing_column",
            format!("SELECT {}", columns.replace(", 0 AS partition", "")),
            "no column partition; it must return group_id",
        ),
        ("no_table", "SELECT * FROM nowhere".to_owned(), "relation \"nowhere\" does not exist"),
        (
            "writes",
            format!("SELECT {columns}, write() AS metadata"),
            "`query` must not write: cannot execute INSERT in a read-only transaction",
        ),
        ("insert", "INSERT INTO offsets VALUES ('g') RETURNING g".to_owned(), "`query` must be one SELECT"),
        ("hidden_insert", format!("WITH w AS (DELETE FROM offsets) SELECT {columns}"), "`query` must be one SELECT"),
        ("several", format!("SELECT {columns}; DELETE FROM offsets"), "`query` must be one SELECT"),
        (
            "escaping",
            format!(
                "SELECT {columns}) AS q LIMIT 0) AS t ON true; DELETE FROM offsets; \
                 SELECT * FROM (SELECT 1 AS one) AS r LEFT JOIN (SELECT * FROM (SELECT 1"
            ),
            "cannot insert multiple commands",
        ),
        ("cast", QUERY.replace("o AS", "(o || 'secret')::bigint AS"), "cannot convert a value of a row (error 22P02)"),
    ];
    let mut sources: Vec<String> =
        queries.iter().map(|(name, query, _)| postgres.source(name, query, "interval = \"1h\"\n")).collect();
    let mut errors: Vec<(String, String)> =
        queries.iter().map(|(name, _, error)| ((*name).to_owned(), (*error).to_owned())).collect();
    let user = |name: &str, user: &str, settings: &str, error: &str| {
        let source = postgres.source(name, QUERY, settings);
        (source.replace(&postgres.url("postgres"), &postgres.url(user)), (name.to_owned(), error.to_owned()))
    };
    let port = postgres.port.to_string();
    let secure = format!("{with_password}ca = \"{}\"\n", tls("other-ca.pem").display());
    for (source, error) in [
        user(
            "wrong_password",
            "reader",
            "password = { env = \"PATH\" }\n",
            "refused access: password authentication failed",
        ),
        user("no_right", "stranger", with_password, "refused access: permission denied for table offsets"),
        user("unknown_ca", "reader", with_password, "certificate"),
        user("distrusted", "reader", &secure, "certificate"),
    ] {
        sources.push(source);
        errors.push(error);
    }
    // Without the setting `ca`, the certificate must be signed by a CA of the system.
    let strict = sources.len() - 2;
    sources[strict] = sources[strict].replace("/postgres\"", "/postgres?sslmode=verify-full\"");
    let slow = format!("SELECT {columns}, pg_sleep(60)::text AS metadata");
    sources.push(postgres.source("slow", &slow, "timeout = \"200ms\"\n"));
    errors.push(("slow".to_owned(), "ended `query` after 0.2 s".to_owned()));
    sources.push(postgres.source("no_server", QUERY, "").replace(&port, &free_port().to_string()));
    errors.push(("no_server".to_owned(), "Connection refused".to_owned()));
    (sources.concat(), errors)
}

fn bad_rows_reject_only_themselves(postgres: &Postgres, server: &crate::server::Server) {
    let good = [row("billing", "orders", 0, 50), row("new", "orders", 2, 0)];
    for bad in ["", "-1", "1.5e3", "9223372036854775808", "x", "4 2"] {
        postgres.sql(&format!("INSERT INTO offsets VALUES ('bad', 'orders', '0', '{bad}')"));
    }
    postgres.sql(
        "INSERT INTO offsets VALUES ('bad', 'or ders', '0', '1'), (NULL, 'orders', '0', '1'),
            ('bad', 'orders', '-1', '1'), (repeat('g', 1000000), 'orders', '0', '1'), ('bad', 'orders', '0', NULL);
         INSERT INTO offsets VALUES ('bad', 'orders', '0', '1', 'yesterday');
         NOTIFY \"Offsets\"",
    );
    let wanted =
        json!({"state": "live", "entries": 2, "malformed": 12, "ambiguous": 0, "last_rejected": "bad/orders/0"});
    counts(server, "postgres", wanted);
    shows(server, "postgres", &good);
    // Which of two rows is the right one is not known, so that neither is shown.
    postgres.sql(
        "DELETE FROM offsets WHERE g = 'bad' OR g IS NULL OR length(g) > 10;
         INSERT INTO offsets VALUES ('new', 'orders', '2', '1'); NOTIFY \"Offsets\"",
    );
    counts(
        server,
        "postgres",
        json!({"state": "live", "entries": 2, "malformed": 0, "ambiguous": 1, "last_rejected": "new/orders/2"}),
    );
    postgres.sql("NOTIFY \"Offsets\"");
    shows(server, "postgres", &good[..1]);
}

#[test]
fn a_postgres_that_dies_keeps_its_rows_and_is_read_again() {
    let mut postgres = Postgres::start();
    postgres.process.kill();
    let source = postgres.source("postgres", QUERY, "interval = \"100ms\"\nlisten = \"offsets\"\n");
    let (_kafka, _folder, server) = with_sources(&source);
    fails(&server, &[("postgres".to_owned(), "Connection refused".to_owned())]);
    postgres.start_again();
    let billing = [row("billing", "orders", 0, 42), row("billing", "orders", 1, 43)];
    shows(&server, "postgres", &billing);

    // A statement each 10 ms. One endless statement would outlive the server's main process.
    let script = postgres.folder.path().join("changes.sql");
    fs::write(&script, "UPDATE offsets SET o = (o::int + 1)::text WHERE p = '0' \\watch 0.01\n").unwrap();
    let mut changes = postgres.client("postgres");
    changes.arg("-f").arg(script);
    let mut changes = Process::spawn("psql", &changes, None, postgres.folder.path().join("changes"));
    let changed = "SELECT committed_offset > 50 AS changed FROM offsets WHERE source = 'postgres' AND partition = 0";
    wait_for("changes", LIMIT, || is(&server, changed, json!([{"changed": true}])));
    postgres.process.kill();
    changes.kill();
    let failing = "SELECT state, last_error IS NOT NULL AS told FROM sources WHERE source = 'postgres'";
    wait_for("the failure to be shown", LIMIT, || is(&server, failing, json!([{"state": "failing", "told": true}])));
    let rows = "SELECT count(*) AS n FROM offsets WHERE source = 'postgres'";
    assert_eq!(Value::from(server.sql(rows)), json!([{"n": 2}]));
    assert_eq!(server.get("/readyz").status, 200, "a source that is down does not affect readiness");

    postgres.start_again();
    postgres.sql("DELETE FROM offsets WHERE p = '1'; NOTIFY offsets");
    let last: i64 = postgres.sql("SELECT o FROM offsets").trim().parse().unwrap();
    shows(&server, "postgres", &[row("billing", "orders", 0, last)]);
    wait_for("the recovery to be shown", LIMIT, || is(&server, failing, json!([{"state": "live", "told": false}])));
    server.stop_cleanly();
}
