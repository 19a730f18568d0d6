//! Hostile statements: each is refused or ends, the server stays within its memory, and the next statement is answered.

use std::fmt::Write as _;
use std::time::Duration;

use offsetd::clock::Clock;
use offsetd::rpc::proto::{SqlFormat, SqlRequest, SqlResponse};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

use crate::mock::Commit;
use crate::server::Server;
use crate::support::{Client, LIMIT, Setup, kafka, until};

/// Bytes of `sql.memory_total`.
const CAP: u64 = 128 << 20;
/// Memory for planning, which no budget covers. Two threads may plan concurrently: a few MiB within the limits on
/// statements, and up to 27 MiB for a regular expression that turns out too large.
const PLANNING: u64 = 2 * (32 << 20);

/// Value of `sql.threads`.
const THREADS: usize = 2;
/// Time limit of a statement with unlimited cost.
const SHORT: Duration = Duration::from_secs(3);

/// A join that rejects every pair: it computes until it is cancelled, and never yields.
const ENDLESS: &str = "SELECT count(*) FROM columns a, columns b, columns c, (SELECT * FROM columns LIMIT 20) d \
                       WHERE a.position + b.position + c.position + d.position < 0";

/// Starts a cluster with 100 offsets per group, and a server process that reads it.
pub(crate) fn server(dir: &TempDir, kafka: &crate::mock::MockKafka, groups: usize, settings: &str) -> Server {
    let writer = kafka.writer();
    for group in 0..groups {
        for partition in 0..100 {
            let name = format!("group-{group}");
            writer.commit(&Commit::new(&name, "orders", partition, 5, 1_767_225_600_000)).unwrap();
        }
    }
    writer.flush().unwrap();
    let config = dir.path().join("offsetd.toml");
    let text = format!(
        "[clusters.default]\nbootstrap_servers = \"{}\"\n[sql]\nthreads = {THREADS}\n{settings}",
        kafka.bootstrap_servers()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_offsetd"));
    // Freed memory is returned immediately, so that a statement is not charged for memory that earlier ones freed.
    command.args(["serve", "--config"]).arg(config).env("MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0");
    let mut server = Server::launch(command);
    server.wait_ready();
    server
}

fn chain(first: &str, operator: &str, next: &str, times: usize) -> String {
    (0..times).fold(first.to_owned(), |mut text, _| {
        write!(text, " {operator} {next}").unwrap();
        text
    })
}

/// Returns `WITH c0 AS (first), c1 AS (step over c0), …`.
fn ladder(first: &str, step: &str, steps: usize) -> String {
    let mut text = format!("WITH c0 AS ({first})");
    for at in 1..=steps {
        write!(text, ", c{at} AS ({})", step.replace('$', &format!("c{}", at - 1))).unwrap();
    }
    text
}

fn list(item: impl Fn(usize) -> String, items: usize) -> String {
    (0..items).map(item).collect::<Vec<_>>().join(",")
}

/// Statements that must be refused, each with a part of the expected error.
#[expect(clippy::too_many_lines, reason = "a list")]
fn refused() -> Vec<(String, &'static str)> {
    let mut all = vec![];
    let mut add = |statement: String, word| all.push((statement, word));
    for (operator, operand) in [("+", "1"), ("OR", "partition = 1"), ("AND", "topic = 'x'"), ("||", "'x'"), ("*", "2")]
    {
        for times in [600, 6_000] {
            let chain =
                chain(if operator.len() < 3 && operator != "OR" { operand } else { "true" }, operator, operand, times);
            add(format!("SELECT {chain} FROM lag"), "sql.max_");
            add(format!("SELECT 1 FROM lag WHERE {chain}"), "sql.max_");
        }
    }
    for operator in ["UNION ALL", "UNION", "INTERSECT", "EXCEPT"] {
        add(chain("SELECT 1", operator, "SELECT 1", 2_000), "sql.max_set_operations");
    }
    add(chain("SELECT 1 FROM lag", "CROSS JOIN", "lag", 65), "sql.max_joins");
    add(chain("SELECT 1 FROM lag", ",", "lag", 300), "sql.max_relations");
    add(
        ladder("SELECT * FROM lag", "SELECT a.* FROM $ a JOIN $ b USING (group_id)", 12) + " SELECT 1 FROM c12",
        "sql.max_relations",
    );
    add(
        ladder("SELECT 1 x", "SELECT * FROM $ UNION ALL SELECT * FROM $", 60) + " SELECT 1 FROM c60",
        "sql.max_relations",
    );
    add(
        ladder("SELECT * FROM lag", "SELECT a.* FROM \"$\" a JOIN \"$\" b USING (group_id)", 12) + " SELECT 1 FROM c12",
        "sql.max_relations",
    );
    add(chain("SELECT 1 FROM consumers", ",", "offsetd.public.\"consumers\"", 50), "sql.max_relations");
    add(
        ladder("SELECT * FROM active_consumers", "SELECT * FROM $ UNION ALL SELECT * FROM $", 6) + " SELECT 1 FROM c6",
        "sql.max_relations",
    );
    add(format!("SELECT {}", "1,".repeat(30_000)), "sql.max_tokens");
    add(format!("SELECT '{}'", "x".repeat(70_000)), "sql.max_statement_bytes");
    add(format!("SELECT 1 {}", "\n".repeat(70_000)), "sql.max_statement_bytes");
    for open in ["(", "((SELECT ", "NOT (", "make_array(", "abs("] {
        add(format!("SELECT {}", open.repeat(2_000)), "");
    }
    add(format!("SELECT {}1{}", "(".repeat(200), ")".repeat(200)), "nested");
    for call in
        ["repeat('x', 2000000000)", "lpad('x', 2000000000)", "rpad('x', 2000000000, 'yz')", "repeat(group_id, 200000)"]
    {
        add(format!("SELECT length({call}) FROM lag"), "sql.max_value_bytes");
    }
    let long = "x".repeat(2_000);
    add(format!("SELECT replace('{long}', 'x', '{long}') FROM lag"), "sql.");
    add(format!("SELECT regexp_replace('{long}', 'x', '{long}', 'g') FROM lag"), "sql.");
    add(format!("SELECT to_char(now(), '{}')", "%c".repeat(20_000)), "sql.");
    add(
        ladder("SELECT group_id x FROM lag", "SELECT x || x AS x FROM $", 40) + " SELECT max(x) FROM c40",
        "sql.max_plan_nodes",
    );
    add(
        ladder("SELECT group_id x FROM lag", "SELECT concat(x, x) AS x FROM $", 40) + " SELECT max(x) FROM c40",
        "sql.max_plan_nodes",
    );
    add(ladder("SELECT make_array(1) x", "SELECT make_array(x, x) AS x FROM $", 40) + " SELECT x FROM c40", "nested");
    add(format!("SELECT {} FROM lag", list(|at| format!("'{long}' a{at}"), 20)), "sql.memory_per_query");
    for call in [
        "range(1, 200000000)",
        "generate_series(1, 200000000)",
        "array_repeat(1, 200000000)",
        "array_resize(make_array(1), 200000000, 1)",
        "string_to_array('a,b', ',')",
        "array_to_string(make_array(1), 'x')",
        "levenshtein('a', 'b')",
        "overlay('a' placing 'b' from 1)",
        "arrow_cast(NULL, 'FixedSizeList(1000000000, Int64)')",
        "arrow_cast('x', 'LargeUtf8')",
        "array_concat(make_array(1), make_array(2))",
        "named_struct('a', 1)",
        "struct(1, 2)",
        "map(make_array(1), make_array(2))",
        "encode('x', 'hex')",
        "pg_sleep(10)",
        "read_csv('/etc/passwd')",
        "getvariable('x')",
        "input_file_name()",
    ] {
        add(format!("SELECT {call}"), "");
    }
    add("SELECT * FROM generate_series(1, 1000000000)".to_owned(), "generate_series");
    add("SELECT * FROM range(1, 1000000000)".to_owned(), "range");
    add("SELECT make_array(1) || make_array(2)".to_owned(), "lists");
    add("SELECT CAST(make_array(1) AS INT[1000000000])".to_owned(), "");
    add("SELECT group_id FROM lag WHERE group_id ~ topic".to_owned(), "regular expression");
    add("SELECT regexp_like(topic, '(a{500}){100}' || partition) FROM lag".to_owned(), "regular expression");
    add("SELECT array_agg(group_id) OVER (ORDER BY partition) FROM lag".to_owned(), "window");
    add("SELECT string_agg(group_id, ',') OVER (ORDER BY partition) FROM lag".to_owned(), "window");
    add("SELECT 1 FROM lag GROUP BY CUBE (cluster, source, topic), CUBE (status, group_id)".to_owned(), "CUBE");
    let columns = list(|at| format!("partition + {at}"), 20);
    add(format!("SELECT count(*) FROM lag GROUP BY CUBE ({columns})"), "grouping sets");
    add(
        "SELECT count(*) FROM lag WHERE regexp_like(repeat(group_id, 1000), '(.{0,200}[a-f]){20}zz')".to_owned(),
        "regular expression",
    );
    add(
        "SELECT array_has_any(x, y) FROM (SELECT array_agg(a.partition) x, array_agg(a.partition + 1000) y \
         FROM lag a JOIN lag b ON a.partition = b.partition)"
            .to_owned(),
        "array_has_any may take",
    );
    // The operator is equivalent to the function.
    add(
        "SELECT x @> y FROM (SELECT array_agg(a.partition) x, array_agg(a.partition + 1000) y \
         FROM lag a JOIN lag b ON a.partition = b.partition)"
            .to_owned(),
        "array_has_all may take",
    );
    add(
        "SELECT count(*) FROM lag a, lag b, lag c WHERE a.lag < b.lag AND b.lag < c.lag".to_owned(),
        "sql.max_join_product",
    );
    add("WITH RECURSIVE r AS (SELECT 1 n UNION ALL SELECT n + 1 FROM r) SELECT * FROM r".to_owned(), "ecursive");
    for statement in [
        "INSERT INTO lag VALUES (1)",
        "UPDATE lag SET lag = 1",
        "DELETE FROM lag",
        "TRUNCATE lag",
        "DROP TABLE lag",
        "DROP SCHEMA public",
        "CREATE TABLE x AS SELECT * FROM lag",
        "CREATE VIEW x AS SELECT 1",
        "CREATE OR REPLACE VIEW consumers AS SELECT 1",
        "DROP VIEW consumers",
        "INSERT INTO consumers SELECT * FROM consumers",
        "CREATE SCHEMA x",
        "CREATE DATABASE x",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE FUNCTION f() RETURNS INT RETURN 1",
        "COPY lag TO '/tmp/x.csv'",
        "COPY (SELECT 1) TO '/tmp/x'",
        "SET datafusion.execution.batch_size = 1",
        "RESET datafusion.execution.batch_size",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DEALLOCATE p",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "START TRANSACTION",
        "GRANT ALL ON lag TO x",
        "ALTER TABLE lag ADD COLUMN x INT",
        "LOAD DATA INPATH '/x' INTO TABLE lag",
        "MERGE INTO lag USING offsets ON true WHEN MATCHED THEN DELETE",
        "ANALYZE TABLE lag",
        "VACUUM",
        "KILL 1",
        "USE x",
        "CALL f()",
        "EXPLAIN DELETE FROM lag",
        "EXPLAIN ANALYZE INSERT INTO lag VALUES (1)",
        "SELECT * INTO x FROM lag",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'file:///etc/passwd.csv'",
        "SELECT 1; DROP TABLE lag",
        "",
        ";",
        "\0",
        "\u{1b}[2J",
        "SELECT \u{202e}1",
        "SELECT '",
        "SELECT \"",
        "/*",
        "SELECT $$",
        "SELECT 1e999999999999::bigint",
        "SELECT $1",
    ] {
        add(statement.to_owned(), "");
    }
    all
}

/// Statements that may be answered if time and memory allow.
fn costly() -> Vec<String> {
    let mut all: Vec<String> = [
        // Compiled up to a size limit, which takes a while in an unoptimized build.
        "SELECT regexp_match('x', '((a{1000}){1000}){1000}')",
        "SELECT count(*) FROM lag WHERE repeat(group_id, 1000) ~ '(.{0,20}[a-f]){20}zz'",
        "SELECT count(*) FROM lag a JOIN lag b ON a.cluster = b.cluster JOIN lag c ON a.cluster = c.cluster",
        "SELECT * FROM lag a JOIN lag b ON a.cluster = b.cluster JOIN lag c ON b.cluster = c.cluster",
        "SELECT count(*) FROM lag a JOIN lag b ON a.cluster = b.cluster AND a.partition + b.partition < 0 JOIN lag c ON a.cluster = c.cluster AND a.partition > c.partition",
        "SELECT a.group_id FROM lag a JOIN lag b ON a.cluster = b.cluster ORDER BY a.group_id, b.group_id, a.partition",
        "SELECT array_agg(a.group_id) FROM lag a JOIN lag b ON a.cluster = b.cluster",
        "SELECT string_agg(a.group_id, b.group_id) FROM lag a JOIN lag b ON a.cluster = b.cluster",
        "SELECT DISTINCT a.group_id, a.partition, b.group_id, b.partition FROM lag a JOIN lag b ON a.cluster = b.cluster",
        "SELECT count(DISTINCT a.group_id || b.group_id || a.partition || b.partition) FROM lag a JOIN lag b ON a.cluster = b.cluster",
        "SELECT count(*) FROM lag a LEFT JOIN lag b ON a.partition < b.partition AND a.lag + b.lag < -5",
        "SELECT count(*) FROM lag a FULL JOIN lag b ON a.committed_offset <> b.committed_offset",
        "SELECT count(*) FROM lag WHERE lag < (SELECT max(b.lag) FROM lag b WHERE b.partition = lag.partition)",
        "SELECT unnest(x) FROM (SELECT array_agg(a.group_id) x FROM lag a JOIN lag b ON a.cluster = b.cluster)",
        "SELECT sum(partition) OVER (ORDER BY partition ROWS BETWEEN 2000 PRECEDING AND 2000 FOLLOWING) FROM lag",
        "SELECT max(group_id) OVER (PARTITION BY cluster ORDER BY partition ROWS UNBOUNDED PRECEDING) FROM lag",
        "SELECT count(*) FROM lag WHERE topic LIKE '%a%a%a%a%a%a%a%a%a%a%a%a%a%a%b'",
        "SELECT count(*) FROM lag WHERE topic ~ '(a*)*(a*)*(a*)*b'",
        "SELECT count(*) FROM lag GROUP BY CUBE (cluster, source, topic, status, partition, group_id)",
        "EXPLAIN ANALYZE SELECT count(*) FROM lag a JOIN lag b ON a.cluster = b.cluster JOIN lag c ON a.cluster = c.cluster",
        "EXPLAIN VERBOSE SELECT * FROM lag a JOIN lag b USING (group_id)",
        "SELECT approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY a.partition) FROM lag a JOIN lag b ON a.cluster = b.cluster",
        "SELECT median(a.partition) FROM lag a JOIN lag b ON a.cluster = b.cluster",
        "SELECT * FROM columns a, columns b, columns c",
        "SELECT count(*) FROM consumers a, consumers b, active_consumers c, active_consumers d",
        "SELECT * FROM active_consumers a JOIN lag b ON a.cluster = b.cluster JOIN lag c ON a.cluster = c.cluster",
        "SELECT nth_value(group_id, 1000000000) OVER (ORDER BY partition) FROM lag",
        "SELECT lag(group_id, 1000000000) OVER (ORDER BY partition) FROM lag",
        "SELECT ntile(1000000000) OVER (ORDER BY partition) FROM lag",
        "SELECT * FROM lag LIMIT 9223372036854775807 OFFSET 9223372036854775807",
        "SELECT chr(1114111), power(10, 1000), 1/0, 9223372036854775807 + 1",
        "SELECT date_bin('1 nanosecond', now(), '1970-01-01'::timestamp)",
        "SHOW ALL",
        "SELECT count(*) FROM lag a CROSS JOIN lag b CROSS JOIN lag c",
        "SELECT * FROM information_schema.df_settings a, information_schema.df_settings b",
    ]
    .map(str::to_owned)
    .into();
    all.push(format!("SELECT count(*) FROM lag WHERE partition IN ({})", list(|at| format!("-{at}"), 9_000)));
    all.push(format!("SELECT count(*) FROM lag WHERE group_id NOT IN ({})", list(|at| format!("'g{at}'"), 5_000)));
    all.push(format!("SELECT count(*) FROM (VALUES {}) v (x)", list(|at| format!("({at})"), 4_000)));
    all.push(format!("SELECT count(*) FROM lag WHERE {}", chain("partition = 1", "OR", "partition = 2", 240)));
    all.push(chain("SELECT count(*) FROM groups a0", "NATURAL JOIN", "groups", 3));
    all.push(format!("SELECT CASE {} END FROM lag", "WHEN partition = 1 THEN 2 ".repeat(200)));
    all.push(format!("SELECT count(*) FROM lag WHERE topic LIKE '{}'", "%a".repeat(20_000)));
    all.push(format!("SELECT {} FROM lag", list(|at| format!("1 a{at}"), 4_000)));
    all.push(format!("SELECT {}", list(|at| format!("{at} a{at}"), 500)));
    all.push(format!("SELECT * FROM lag ORDER BY {}", list(|at| format!("partition + {at}"), 400)));
    all
}

/// Statements that must be answered or refused, however long planning takes: as many children as tokio lets one task
/// poll at a time, and more.
fn wide() -> Vec<String> {
    let union = |operator: &str, of: &dyn Fn(usize) -> String, times: usize| {
        (0..times).map(of).collect::<Vec<_>>().join(&format!(" {operator} "))
    };
    let select = |at: usize| format!("SELECT {at}");
    let and = |condition: &str, times: usize| vec![condition; times].join(" AND ");
    let joins = (1..=64).fold("SELECT count(*) FROM groups a0".to_owned(), |mut text, at| {
        write!(text, " JOIN groups a{at} USING (group_id)").unwrap();
        text
    });
    let mut all = vec![
        union("UNION ALL", &select, 129),
        union("UNION ALL", &select, 190),
        union("UNION", &select, 129),
        union("UNION ALL", &|_| "SELECT count(*) FROM lag".to_owned(), 129),
        joins,
        union("UNION ALL", &|_| "SELECT count(*) FROM active_consumers".to_owned(), 20),
        format!("SELECT count(*) FROM lag WHERE {}", and("partition IN (SELECT partition FROM offsets)", 60)),
        format!("SELECT count(*) FROM lag WHERE {}", and("partition IN (SELECT 1)", 150)),
        format!("SELECT {}", list(|at| format!("(SELECT {at})"), 150)),
        format!("SELECT count(*) FROM ({}) t", union("UNION ALL", &|at| format!("SELECT {at} FROM groups"), 150)),
    ];
    all.push(format!("EXPLAIN {}", all[0]));
    all.push(format!("EXPLAIN ANALYZE {}", all[1]));
    all.push(format!("EXPLAIN {}", all[4]));
    all
}

/// A client of the server process.
struct SqlClient<'a> {
    server: &'a Server,
    runtime: Runtime,
    client: Client,
}

impl<'a> SqlClient<'a> {
    fn new(server: &'a Server) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address())).unwrap();
        let client = Client::new(runtime.block_on(endpoint.connect()).unwrap()).max_decoding_message_size(256 << 20);
        Self { server, runtime, client }
    }

    /// Starts a statement: it is planned and runs.
    async fn begin(&self, sql: &str, limit: Duration) -> Result<Streaming<SqlResponse>, Status> {
        let request = SqlRequest { statement: sql.to_owned(), format: SqlFormat::Json.into(), ..SqlRequest::default() };
        let mut request = tonic::Request::new(request);
        request.set_timeout(limit);
        let mut answer = self.client.clone().sql(request).await?.into_inner();
        answer.message().await?;
        Ok(answer)
    }

    /// Runs a statement to its end.
    fn run(&self, sql: &str, limit: Duration) -> Result<(), Status> {
        self.runtime.block_on(async {
            let mut answer = self.begin(sql, limit).await?;
            while answer.message().await?.is_some() {}
            Ok(())
        })
    }

    /// Asserts that all threads respond: all but one are occupied by a statement that never yields, so only the last
    /// one can answer the next statement. That statement is planned each time, since another thread could answer it
    /// from a cache.
    fn all_threads_answer(&self, after: &str) {
        let answered = self.runtime.block_on(async {
            let mut held = vec![];
            for _ in 1..THREADS {
                held.push(self.begin(ENDLESS, LIMIT).await?);
            }
            let mut answer = self.begin("SELECT now() IS NOT NULL AS one", LIMIT).await?;
            while answer.message().await?.is_some() {}
            Ok::<_, Status>(held.len())
        });
        assert_eq!(
            answered.unwrap_or_else(|status| panic!("a thread is gone after {after:.300}: {status}")),
            THREADS - 1
        );
        let ready = self.server.get("/readyz");
        assert_eq!(ready.status, 200, "after {after:.300}: {}", ready.body);
    }
}

#[test]
fn hostile_statements_end_within_time_and_memory_and_harm_no_other() {
    let (dir, kafka) = (TempDir::new().unwrap(), kafka(4));
    let settings = "timeout = \"2min\"\nmemory_per_query = \"64MiB\"\nmemory_total = \"128MiB\"\n";
    let server = server(&dir, &kafka, 30, settings);
    let client = SqlClient::new(&server);
    client.all_threads_answer("nothing");
    assert_eq!(server.sql_value("SELECT count(*) AS n FROM lag"), 3_000);
    assert_eq!(server.sql("SELECT * FROM lag").len(), 3_000);
    let before = server.peak_memory();
    let (refused, wide, costly) = (refused(), wide(), costly());
    let all = refused.len() + wide.len() + costly.len();
    assert!(all > 150);
    let mut wrong = vec![];
    for (statement, word) in &refused {
        let answer = server.post("/v1/sql", "application/json", statement);
        if !matches!(answer.status, 400 | 429) || !answer.body.contains(word) {
            wrong.push(format!("{} {:.200}\n  to {statement:.200}", answer.status, answer.body));
        }
        client.all_threads_answer(statement);
    }
    for statement in &wide {
        let answer = server.post("/v1/sql", "application/json", statement);
        if !matches!(answer.status, 200 | 400 | 429) {
            wrong.push(format!("{} {:.200}\n  to {statement:.200}", answer.status, answer.body));
        }
        client.all_threads_answer(statement);
    }
    for statement in &costly {
        let ended = client.run(statement, SHORT);
        // The client may cancel it as well.
        let late = [Code::DeadlineExceeded, Code::Cancelled];
        let code = ended.as_ref().err().map(Status::code);
        let may_be = |code| [Code::InvalidArgument, Code::ResourceExhausted].contains(&code) || late.contains(&code);
        if code.is_some_and(|code| !may_be(code)) {
            wrong.push(format!("{ended:?}\n  to {statement:.200}"));
        }
        client.all_threads_answer(statement);
    }
    let peak = server.peak_memory();
    let grown = peak.saturating_sub(before);
    println!("{all} statements, memory grew by {} MiB at most", grown >> 20);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Planners, scans and the wire format use memory outside of the statements' budget, and so does the process itself.
    assert!(peak < (before + CAP) / 5 * 6 + PLANNING, "{before} grew by {grown}");
    server.stop_cleanly();
}

#[test]
fn a_saturated_sql_side_slows_nothing_else() {
    let setup = Setup::default().with("SQL_CONCURRENCY", "2").with("SQL_QUEUE", "0").with("SQL_TIMEOUT", "10min");
    let lab = setup.ready(&kafka(1));
    lab.commit("billing", "orders", 0, 5);
    lab.settle();
    let request = || SqlRequest { statement: ENDLESS.to_owned(), ..SqlRequest::default() };
    let running: Vec<_> = (0..2).map(|_| lab.spawn_sql(request())).collect();
    let is_full = || lab.try_sql(SqlRequest { statement: "SELECT 1".into(), ..SqlRequest::default() }).is_err();
    until("both query slots to be taken", is_full);
    for _ in 0..20 {
        assert_eq!(lab.entry("billing", "orders", 0).committed_offset, 5);
        for page in ["/metrics", "/livez", "/readyz"] {
            assert_eq!(lab.get(page).status, 200, "{page}");
        }
    }
    assert!(is_full(), "they still run");
    running.iter().for_each(tokio::task::JoinHandle::abort);
    until("a free query slot", || !is_full());
}

#[test]
fn long_statements_that_give_way_to_nobody_leave_the_server_ready() {
    let clock = Clock::manual(1_767_225_600_000);
    let setup = Setup { clock: clock.clone(), ..Setup::default() }.with("SQL_TIMEOUT", "10min");
    let lab = setup.ready(&kafka(1));
    let request = || SqlRequest { statement: ENDLESS.to_owned(), ..SqlRequest::default() };
    let running: Vec<_> = (0..THREADS).map(|_| lab.spawn_sql(request())).collect();
    for _ in 0..10 {
        // Longer than the time that cancelled work may take to end.
        clock.advance(11_000);
        until("the server to be ready", || lab.get("/readyz").status == 200);
        let silent = || lab.get("/metrics").text().contains("\noffsetd_sql_threads_silent 0\n");
        until("no thread to be silent", silent);
        let running = format!("\noffsetd_work_running{{kind=\"statement\"}} {THREADS}\n");
        assert!(lab.get("/metrics").text().contains(&running));
    }
    assert!(running.iter().all(|task| !task.is_finished()), "they still run");
    running.iter().for_each(tokio::task::JoinHandle::abort);
}
