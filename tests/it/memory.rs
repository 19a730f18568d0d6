//! Memory of statements as the operating system measures it, in a process that runs one statement after another.

use std::fmt::Write as _;
use std::time::Duration;

use tempfile::TempDir;

use crate::hostile;
use crate::process::wait_for;
use crate::support::kafka;

const MIB: u64 = 1 << 20;
/// Bytes of `sql.memory_per_query` of the server.
const LIMIT: u64 = 64 * MIB;
/// Memory that a statement may use in addition, in bytes: its plan, scans, the wire format.
const OVERHEAD: u64 = 64 * MIB;
const GROUPS: usize = 200;
const OFFSETS: usize = GROUPS * 100;

/// Statements that once used gigabytes, or a multiple of the limit.
fn known() -> Vec<String> {
    let columns =
        "cluster, source, topic, status, partition, group_id, lag, committed_offset, committed_at, log_end_offset";
    let columns: Vec<&str> = columns.split(", ").collect();
    let twice: Vec<String> =
        columns.iter().map(|c| format!("{c} IS NULL")).chain(columns.iter().map(|c| (*c).to_owned())).collect();
    [
        "SELECT count(y) FROM (SELECT (SELECT string_agg(group_id, ',') FROM lag) y FROM lag)",
        "SELECT lead(group_id, 1000000000, repeat('x', 20000)) OVER (ORDER BY partition) FROM lag",
        "SELECT count(array_positions(x, b.partition)) FROM (SELECT array_agg(partition) x FROM lag) a, lag b",
        "SELECT count(CASE WHEN b.partition > 5 THEN a.x ELSE b.topic END) \
         FROM (SELECT string_agg(group_id, ',') x FROM lag) a, lag b",
        "SELECT length(string_agg(repeat(a.group_id, 100), ',')) FROM lag a, (SELECT * FROM lag LIMIT 50) b",
        "SELECT count(a.x || topic) FROM (SELECT string_agg(group_id, ',') x FROM lag) a, lag b",
        "SELECT count(*) FROM (SELECT unnest(x) u, y FROM \
         (SELECT array_agg(partition) x, string_agg(group_id, ',') y FROM lag))",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([format!("SELECT count(*) FROM lag GROUP BY CUBE ({})", twice.join(", "))])
    .collect()
}

/// Random numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % most as u64).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// Returns an expression with a wide value for each row of `lag`.
    fn wide(&mut self) -> String {
        let times = self.one(&["3", "40", "1000", "30000"]);
        match self.below(8) {
            0 | 1 => format!("repeat(group_id, {times})"),
            2 => format!("lpad(topic, {times})"),
            3 => format!("concat(group_id, repeat('y', {times}), topic)"),
            4 => format!("CASE WHEN partition > 50 THEN repeat(topic, {times}) ELSE group_id END"),
            5 => "(SELECT string_agg(group_id, ',') FROM lag)".to_owned(),
            6 => format!("'{}'", "x".repeat(4000)),
            _ => format!("(SELECT max(repeat(topic, {times})) FROM offsets)"),
        }
    }

    /// Returns a table of texts `y` and numbers `p`.
    fn texts(&mut self) -> String {
        match self.below(5) {
            0 | 1 => format!("(SELECT {} y, partition p FROM lag)", self.wide()),
            2 => "(SELECT string_agg(group_id, ',') y, 1 p FROM lag)".to_owned(),
            3 => "(SELECT string_agg(topic, group_id) y, partition p FROM lag GROUP BY partition)".to_owned(),
            _ => format!("(SELECT unnest(array_agg({})) y, max(partition) p FROM lag GROUP BY group_id)", self.wide()),
        }
    }

    /// Returns an expression that derives a text from a text.
    fn text_of(&mut self, y: &str) -> String {
        match self.below(9) {
            0 => format!("upper({y})"),
            1 => format!("{y} || {y}"),
            2 => format!("replace({y}, 'g', 'gggg')"),
            3 => format!("CASE WHEN length({y}) > 20 THEN {y} ELSE reverse({y}) END"),
            4 => format!("coalesce(nullif({y}, 'a'), 'b')"),
            5 => format!("regexp_replace({y}, '[aeiou]', '<\\0>', 'g')"),
            6 => format!("concat_ws({y}, 'a', {y}, 'b')"),
            7 => format!("substr({y}, 3)"),
            _ => y.to_owned(),
        }
    }

    fn statement(&mut self) -> String {
        let texts = self.texts();
        let rows = match self.below(10) {
            0 => format!("(SELECT a.y, b.partition p FROM {texts} a, lag b)"),
            1 => format!("(SELECT a.y, b.partition p FROM {texts} a JOIN lag b ON a.p < b.partition)"),
            2 => format!("(SELECT a.y, b.partition p FROM lag b LEFT JOIN {texts} a ON a.p = b.partition)"),
            3 => format!("(SELECT a.y || b.y y, a.p FROM {texts} a JOIN {} b USING (p))", self.texts()),
            4 => {
                let default = self.one(&["NULL", "'x'", "repeat('x', 500)"]);
                format!("(SELECT lead(y, 1000000, {default}) OVER (ORDER BY p) y, p FROM {texts})")
            }
            5 => {
                let window = self.one(&["first_value", "max", "last_value", "min"]);
                format!("(SELECT {window}(y) OVER (PARTITION BY p % 7 ORDER BY p) y, p FROM {texts})")
            }
            6 => format!("(SELECT * FROM {texts} UNION ALL SELECT * FROM {})", self.texts()),
            7 => format!(
                "(SELECT y, p FROM (SELECT array_agg(y) x, p FROM {texts} GROUP BY p) CROSS JOIN unnest(x) AS u (y))"
            ),
            8 => format!("(SELECT DISTINCT y, p FROM {texts} ORDER BY y)"),
            _ => texts,
        };
        let lists = self.one(&["array_distinct", "array_sort", "array_reverse", "flatten", "array_pop_front"]);
        let text = self.text_of("y");
        let text = self.text_of(&text);
        match self.below(7) {
            0 | 1 => format!("SELECT count({text}) FROM {rows}"),
            2 => format!("SELECT length(string_agg({text}, ',')) FROM {rows}"),
            3 => format!("SELECT max({text}) FROM {rows} GROUP BY p"),
            4 => format!("SELECT {text} FROM {rows}"),
            5 => format!("SELECT sum(array_length({lists}(array_agg(make_array({text}, y))))) FROM {rows} GROUP BY p"),
            _ => format!("SELECT count(*) FROM {rows} WHERE {text} LIKE '%g%r%o%u%p-1' OR random() < 0.5"),
        }
    }
}

/// Runs statements, and returns those that used too much memory.
fn too_much(statements: &[String]) -> Vec<String> {
    let (dir, kafka) = (TempDir::new().unwrap(), kafka(4));
    let settings = format!("memory_per_query = \"{}MiB\"\nmemory_total = \"128MiB\"\ntimeout = \"1s\"\n", LIMIT / MIB);
    let server = hostile::server(&dir, &kafka, GROUPS, &settings);
    // On a busy machine, the first statements may take longer than their timeout.
    wait_for("all rows", Duration::from_secs(60), || match server.try_sql("SELECT partition FROM lag")?.len() {
        OFFSETS => Ok(()),
        rows => Err(format!("{rows} rows")),
    });
    let before = server.peak_memory();
    let (mut found, mut log) = (vec![], String::new());
    for statement in statements {
        server.reset_peak_memory();
        let answer = server.post("/v1/sql", "application/json", statement);
        let grown = server.peak_memory().saturating_sub(before);
        writeln!(log, "{:4} MiB {} {:.150}", grown / MIB, answer.status, statement).unwrap();
        if grown > LIMIT + OVERHEAD || !matches!(answer.status, 200 | 400 | 429 | 504) {
            let body: String = answer.body.chars().take(200).collect();
            found.push(format!("{} MiB, {} {body}\n  for {statement:.300}", grown / MIB, answer.status));
        }
    }
    let _ = std::io::Write::write_all(&mut std::io::stderr(), log.as_bytes());
    server.stop_cleanly();
    found
}

fn generated(seeds: std::ops::Range<u64>) -> Vec<String> {
    seeds.map(|seed| Random(seed).statement()).collect()
}

#[test]
fn statements_that_took_gigabytes_stay_within_the_limit() {
    let found = too_much(&known());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Runs more statements in `tests/all slow`.
#[test]
fn wide_values_times_rows_stay_within_the_limit() {
    let seeds = if std::env::var_os("OFFSETD_SLOW_TESTS").is_some() { 600 } else { 40 };
    let found = too_much(&generated(0..seeds));
    assert!(found.is_empty(), "{}", found.join("\n"));
}
