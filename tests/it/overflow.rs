//! A result that does not fit its type is an overflow error, and never a wrong number.

use offsetd::sql::SqlError;

use crate::pushdown::{Both, lines, sorted};

const MOST: &str = "9223372036854775807";
const LEAST: &str = "-9223372036854775808";

/// Returns statements with operators on constants and on columns, in all places where an expression can occur.
fn operators() -> Vec<String> {
    let of_values = |values: &str, rest: &str| format!("SELECT {rest} FROM (VALUES {values}) v (x)");
    let mut all = vec![
        format!("SELECT {MOST} + 1"),
        format!("SELECT {MOST} - -1"),
        format!("SELECT {MOST} * 2"),
        format!("SELECT -({LEAST})"),
        format!("SELECT abs({LEAST})"),
        format!("SELECT CAST(1 AS DOUBLE) + ({MOST} + 1)"),
        format!("SELECT CASE WHEN true THEN {MOST} + 1 ELSE 0 END"),
        format!("SELECT x + 1 FROM (SELECT {MOST} AS x)"),
        format!("WITH c AS (SELECT {MOST} AS x) SELECT x * x FROM c"),
        format!("SELECT (SELECT max(x) + 1 FROM (VALUES ({MOST})) v (x))"),
        format!("SELECT 1 WHERE EXISTS (SELECT 1 FROM (VALUES ({MOST})) v (x) WHERE x + 1 > 0)"),
        format!("SELECT count(*) FROM lag WHERE lag + {MOST} < 0 AND lag > 0"),
        format!("SELECT count(*) FROM lag WHERE partition * 1000000000000 * 100000000 < 0 AND partition > 0"),
        format!("SELECT max(lag + {MOST}) FROM lag WHERE lag > 0"),
        format!("SELECT topic, count(*) FROM lag WHERE lag > 0 GROUP BY topic, lag + {MOST}"),
        format!("SELECT topic FROM lag WHERE lag > 0 ORDER BY lag + {MOST}"),
        format!("SELECT topic FROM lag GROUP BY topic HAVING max(lag) + {MOST} > 0"),
        format!("SELECT count(*) FROM lag a JOIN lag b ON a.lag + {MOST} = b.lag AND a.lag > 0"),
        format!("SELECT count(*) FROM lag a JOIN lag b ON a.group_id = b.group_id AND a.lag + b.lag + {MOST} > 0"),
        format!("SELECT sum(lag + {MOST}) OVER (PARTITION BY topic) FROM lag WHERE lag > 0"),
        format!("SELECT sum(lag) OVER (PARTITION BY lag + {MOST}) FROM lag WHERE lag > 0"),
        format!("EXPLAIN ANALYZE SELECT max(lag + {MOST}) FROM lag WHERE lag > 0"),
        "SELECT CAST(2147483647 AS INT) + CAST(1 AS INT)".to_owned(),
        "SELECT CAST(-128 AS TINYINT) - CAST(1 AS TINYINT)".to_owned(),
        "SELECT CAST(300 AS SMALLINT) * CAST(300 AS SMALLINT)".to_owned(),
        "SELECT -CAST(-2147483648 AS INT)".to_owned(),
        "SELECT max(partition + 2147483647) FROM (SELECT CAST(1 AS INT) AS partition)"
            .replace("+ 2147483647", "+ CAST(2147483647 AS INT)"),
        "SELECT 18446744073709551615 + CAST(1 AS BIGINT UNSIGNED)".to_owned(),
        "SELECT CAST(0 AS BIGINT UNSIGNED) - CAST(1 AS BIGINT UNSIGNED)".to_owned(),
        "SELECT 1 << 63".to_owned(),
        "SELECT 1 << 64".to_owned(),
        "SELECT 1 << -1".to_owned(),
        "SELECT 1 >> 64".to_owned(),
        "SELECT CAST(1 AS TINYINT) << CAST(7 AS TINYINT)".to_owned(),
    ];
    for (values, rest) in [
        (format!("(1), ({MOST})"), "x + 1"),
        (format!("(1), ({LEAST})"), "x - 1"),
        (format!("(1), ({MOST})"), "2 * x"),
        (format!("(1), ({LEAST})"), "-x"),
        (format!("(1), ({LEAST})"), "abs(x)"),
        (format!("(1), ({MOST})"), "x + x"),
        (format!("(1), ({MOST})"), "x << 1"),
        (format!("(1), ({MOST})"), "lcm(x, 2)"),
        (format!("({LEAST})"), "gcd(x, x)"),
    ] {
        all.push(of_values(&values, rest));
    }
    for (digits, precision) in [(38, 38), (76, 76)] {
        let most = format!("CAST('{}' AS DECIMAL({precision}, 0))", "9".repeat(digits));
        for expression in [format!("{most} + 1"), format!("-1 - {most}"), format!("{most} * {most}")] {
            all.push(format!("SELECT {expression}"));
        }
        all.push(of_values(&format!("({most})"), "x + x"));
    }
    all
}

/// Returns statements with sums: over all rows, by group, of distinct values, over windows, filtered, of each type.
fn sums() -> Vec<String> {
    let mut all = vec![
        format!("SELECT sum({MOST}) FROM lag"),
        format!("SELECT sum({LEAST}) FROM lag"),
        format!("SELECT topic, sum({MOST}) FROM lag GROUP BY topic"),
        format!("SELECT group_id, topic, sum(lag * 0 + {MOST}) FROM lag WHERE lag >= 0 GROUP BY group_id, topic"),
        format!("SELECT partition, sum(lag * 0 + {MOST}) FROM lag WHERE lag >= 0 GROUP BY partition"),
        format!("SELECT sum(DISTINCT {MOST} - lag) FROM lag WHERE lag >= 0"),
        format!("SELECT topic, sum(DISTINCT {MOST} - lag), count(DISTINCT lag) FROM lag WHERE lag >= 0 GROUP BY topic"),
        format!("SELECT sum({MOST}) FILTER (WHERE lag >= 0) FROM lag"),
        format!("SELECT topic, sum({MOST}) FILTER (WHERE lag >= 0) FROM lag GROUP BY topic"),
        format!("SELECT sum({MOST}) OVER () FROM lag"),
        format!("SELECT sum({MOST}) OVER (ORDER BY group_id) FROM lag"),
        format!("SELECT sum({MOST}) OVER (ORDER BY group_id ROWS 1 PRECEDING) FROM lag"),
        format!("SELECT sum(x) FROM (SELECT {MOST} AS x UNION ALL SELECT 1)"),
        "SELECT sum(18446744073709551615) FROM lag".to_owned(),
        "SELECT topic, sum(18446744073709551615) FROM lag GROUP BY topic".to_owned(),
        "SELECT sum(DISTINCT CAST(x AS BIGINT UNSIGNED)) FROM (VALUES (18446744073709551615), (1)) v (x)".to_owned(),
    ];
    for most in [
        format!("CAST('{}' AS DECIMAL(38, 0))", "9".repeat(38)),
        format!("CAST('{}' AS DECIMAL(38, 10))", "9".repeat(28)),
        "TIMESTAMP '2200-01-01' - TIMESTAMP '2000-01-01'".to_owned(),
    ] {
        all.push(format!("SELECT sum({most}) FROM lag"));
        all.push(format!("SELECT topic, sum({most}) FROM lag GROUP BY topic"));
        all.push(format!("SELECT sum({most}) OVER (ORDER BY group_id ROWS 1 PRECEDING) FROM lag"));
    }
    all
}

#[test]
fn what_does_not_fit_its_type_is_an_error_that_says_overflow() {
    let both = Both::new();
    let mut wrong = vec![];
    for sql in operators().iter().chain(&sums()) {
        match both.try_ours(sql) {
            Err(SqlError::Invalid(text)) if text.to_lowercase().contains("overflow") => {}
            other => wrong.push(format!("{sql}\n  {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Cases that DataFusion itself refuses, with its own error texts.
#[test]
fn casts_and_times_out_of_range_are_refused() {
    let both = Both::new();
    for sql in [
        "SELECT CAST(1e30 AS BIGINT)",
        "SELECT CAST(3000000000 AS INT)",
        "SELECT CAST(-1 AS BIGINT UNSIGNED)",
        "SELECT CAST(lag AS TINYINT) FROM (SELECT lag + 1000 AS lag FROM lag WHERE lag >= 0)",
        "SELECT CAST('99999999999999999999' AS BIGINT)",
        "SELECT CAST(123456 AS DECIMAL(3, 0))",
        "SELECT TIMESTAMP '2262-01-01' + INTERVAL '1' YEAR",
        "SELECT TIMESTAMP '2262-01-01' - TIMESTAMP '1700-01-01'",
        "SELECT to_timestamp_nanos(9223372036854775807) + INTERVAL '1' SECOND",
        "SELECT INTERVAL '2000000000' MONTH + INTERVAL '2000000000' MONTH",
        "SELECT -9223372036854775808 / -1",
        "SELECT avg(CAST('1' AS DECIMAL(76, 0))) FROM lag",
        "SELECT sum(CAST('1' AS DECIMAL(76, 0))) FROM lag",
        "SELECT sum(INTERVAL '2000000000' MONTH) FROM lag",
        "SELECT sum(DISTINCT lag) OVER (ORDER BY lag ROWS BETWEEN 5 PRECEDING AND 5 FOLLOWING) FROM lag",
        "SELECT 1 / 0",
    ] {
        let answer = both.try_ours(sql);
        assert!(matches!(answer, Err(SqlError::Invalid(_))), "{sql}\n  {answer:?}");
    }
}

#[test]
fn what_fits_is_as_datafusion_gives_it() {
    let both = Both::new();
    let values = |rows: &str| format!("(VALUES {rows}) v (k, x)");
    let numbers = values("(1, 3), (1, 3), (2, -9), (2, 1000000000000), (3, NULL), (1, 4)");
    let decimals = values("(1, CAST(2.5 AS DECIMAL(10, 2))), (1, 2.5), (2, NULL), (3, -7.25), (3, 1)");
    let unsigned = values("(1, 18446744073709551614), (2, 1), (2, 0), (3, NULL)");
    let small = "(SELECT k, CAST(x AS INT) AS x FROM (VALUES (1, 3), (1, 3), (2, -9), (3, NULL)) v (k, x)) s";
    let times = "(SELECT k, TIMESTAMP '2026-01-02' - x AS x FROM (VALUES (1, TIMESTAMP '2026-01-01'), (1, NULL), \
                 (2, TIMESTAMP '2025-01-01T00:00:00.5'), (2, TIMESTAMP '2024-01-01')) v (k, x)) t";
    let mut wrong = vec![];
    for table in [&numbers, &decimals, &unsigned, small, times] {
        let mut all = vec![];
        for function in ["sum(x)", "sum(DISTINCT x)", "avg(x)", "sum(x) FILTER (WHERE k > 1)"] {
            all.push(format!("SELECT {function} FROM {table}"));
            all.push(format!("SELECT {function}, count(*) FROM {table} WHERE k > 5"));
            all.push(format!("SELECT k, {function} FROM {table} GROUP BY k"));
            all.push(format!("SELECT k, {function}, count(x), max(x) FROM {table} GROUP BY ROLLUP (k)"));
        }
        for frame in [
            "",
            "ORDER BY k, x",
            "PARTITION BY k ORDER BY x ROWS 1 PRECEDING",
            "ORDER BY k, x ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
            "ORDER BY k, x ROWS BETWEEN 3 PRECEDING AND 2 PRECEDING",
        ] {
            all.push(format!("SELECT k, x, sum(x) OVER ({frame}), avg(x) OVER ({frame}) FROM {table}"));
        }
        if table != times {
            all.push(format!("SELECT k, x + x, x - 1, 2 * x, x + 0, x * x + k FROM {table} WHERE x < 1000000"));
            all.push(format!(
                "SELECT x + 1, count(*) FROM {table} WHERE x < 1000000 GROUP BY x + 1 HAVING max(x * 2) > 1"
            ));
        }
        if table == numbers || table == small {
            all.push(format!("SELECT -x, abs(x), -(-x), x << 2, x >> 1, -5 >> 1, -x << 3 FROM {table}"));
        }
        for sql in all {
            let (ours, theirs) = (both.try_ours(&sql), both.try_theirs(&sql));
            let shown = |answer: &(arrow::datatypes::SchemaRef, Vec<arrow::array::RecordBatch>)| {
                // The names of unaliased columns differ.
                let fields = answer.0.fields().iter().map(|field| field.data_type().clone());
                (fields.collect::<Vec<_>>(), if answer.1.is_empty() { vec![] } else { sorted(lines(&answer.1)) })
            };
            match (&ours, &theirs) {
                (Ok(ours), Ok(theirs)) if shown(ours) == shown(theirs) => {}
                (Err(_), Err(_)) => {}
                _ => wrong.push(format!("{sql}\n  ours {ours:?}\n  theirs {theirs:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_sum_that_fits_is_right_whatever_it_is_on_the_way() {
    let both = Both::new();
    for (sql, expected) in [
        (format!("SELECT sum(x) FROM (VALUES ({MOST}), (1), (-1)) v (x)"), MOST),
        (format!("SELECT max(s) FROM (SELECT sum(x) OVER () AS s FROM (VALUES ({MOST}), (1), (-1)) v (x))"), MOST),
        (format!("SELECT sum(x) FROM (SELECT {MOST} AS x UNION ALL SELECT 5 UNION ALL SELECT -5)"), MOST),
        ("SELECT CAST(avg(x) AS VARCHAR) = CAST(max(x) AS VARCHAR) FROM (SELECT TIMESTAMP '2200-01-01' - TIMESTAMP '2000-01-01' AS x FROM lag)".to_owned(), "true"),
    ] {
        let rows = lines(&both.try_ours(&sql).unwrap_or_else(|error| panic!("{sql}: {error}")).1);
        assert_eq!(rows, [format!("|{expected}|")], "{sql}");
    }
}
