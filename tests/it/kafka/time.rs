//! Compares lag in seconds with the truth: the timestamps of the records.

use std::time::Duration;

use chrono::DateTime;
use serde_json::{Value, json};

use super::broker::{Broker, Release};
use super::driver::{Driver, rows};
use super::facts::integer;
use crate::process::wait_for;
use crate::server::Server;

on_each_release! { lag_in_seconds_is_that_of_the_first_record_not_read }

/// Duration of the run in seconds, unless the environment variable sets another one.
const SECONDS: i64 = 60;
const SECONDS_VARIABLE: &str = "LAG_SECONDS_FOR";
/// Records per second.
const PRODUCED: i64 = 50;
/// Maximum error of an answer in seconds.
const ALLOWED: f64 = 1.0;
/// Maximum age of a sample's log end in seconds: the interval between two polls.
const POLL_INTERVAL: f64 = 1.0;

const NOW: &str =
    "SELECT group_id, committed_offset, lag_seconds, now() AS at FROM lag WHERE topic = 'paced' AND lag > 0";
const THEN: &str = "SELECT group_id, committed_offset, lag_seconds, sampled_at AS at FROM history \
                    WHERE topic = 'paced' AND lag > 0 AND lag_seconds IS NOT NULL";
const LIMIT: Duration = Duration::from_secs(90);

/// A lag that was reported for a group.
struct ReportedLag {
    group: String,
    committed_offset: usize,
    lag_seconds: f64,
    /// Time of the cut in milliseconds.
    at: i64,
}

fn lag_in_seconds_is_that_of_the_first_record_not_read(release: Release) {
    let run_for =
        std::env::var_os(SECONDS_VARIABLE).map_or(SECONDS, |seconds| seconds.to_str().unwrap().parse().unwrap()) * 1000;
    let broker = Broker::started(release);
    let mut driver = Driver::of(&broker);
    driver.ask(&json!({"do": "create", "topic": "paced", "partitions": 1}));
    driver.ask(&json!({"do": "paced", "name": "producer", "topic": "paced", "per_second": PRODUCED}));
    // A producer that has just started is slower than later, so the run begins after some records.
    let at_least = |driver: &mut Driver, end: i64| {
        wait_for(&format!("{end} records"), LIMIT, || {
            let state = driver.state()?;
            let found =
                rows(&state, "partitions").iter().find(|row| row["topic"] == "paced").map(|row| &row["log_end_offset"]);
            found.and_then(integer).filter(|found| *found >= end).map(|_| ()).ok_or_else(|| format!("{found:?}"))
        });
    };
    at_least(&mut driver, 5 * PRODUCED);
    let server = Server::serve(&broker.bootstrap_servers());
    for (name, per_second) in [("half", 0.5), ("most", 0.9)] {
        let per_second = per_second * PRODUCED as f64;
        driver
            .ask(&json!({"do": "held_back", "name": name, "group": name, "topic": "paced", "per_second": per_second}));
    }
    // One commit before the first sample of the log end, and one after it.
    driver.alter("older", "paced", 0, PRODUCED, "");
    at_least(&mut driver, 15 * PRODUCED);
    driver.alter("stands", "paced", 0, 14 * PRODUCED, "");

    let mut reported: Vec<ReportedLag> = vec![];
    wait_for("the run to end", LIMIT + Duration::from_millis(run_for.unsigned_abs()), || {
        reported.extend(ask(&server, NOW)?);
        let ran = reported.first().zip(reported.last()).map_or(0, |(first, last)| last.at - first.at);
        if ran >= run_for { Ok(()) } else { Err(format!("{ran} ms have passed")) }
    });
    let history = ask(&server, THEN).unwrap();
    ["producer", "half", "most"].into_iter().for_each(|name| driver.stop(name));
    let timestamps = driver.ask(&json!({"do": "timestamps", "topic": "paced"}));
    let timestamps: Vec<i64> = rows(&timestamps, "timestamps").iter().map(|at| integer(at).unwrap()).collect();
    compare(&reported, &timestamps, run_for, ALLOWED);
    compare(&history, &timestamps, run_for, ALLOWED + POLL_INTERVAL);
    server.stop_cleanly();
}

fn ask(server: &Server, statement: &str) -> Result<Vec<ReportedLag>, String> {
    let rows = server.try_sql(statement)?;
    let reported = |row: &Value| ReportedLag {
        group: row["group_id"].as_str().unwrap().to_owned(),
        committed_offset: integer(&row["committed_offset"]).unwrap().try_into().unwrap(),
        lag_seconds: row["lag_seconds"].as_f64().unwrap_or_else(|| panic!("unknown: {row}")),
        at: DateTime::parse_from_rfc3339(row["at"].as_str().unwrap()).unwrap().timestamp_millis(),
    };
    Ok(rows.iter().map(reported).collect())
}

#[expect(clippy::print_stdout, reason = "the result of a long run")]
fn compare(reported: &[ReportedLag], timestamps: &[i64], run_for: i64, allowed: f64) {
    let seconds = |millis: i64| millis as f64 / 1000.0;
    // The allowed error grows by the longest pause of the producer, during which it had no rate.
    let pause = timestamps.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    let allowed = allowed + (seconds(pause) - 1.0 / PRODUCED as f64).max(0.0);
    // Share of the produced records that is unread at the end.
    for (group, unread) in [("half", 0.5), ("most", 0.1), ("older", 1.0), ("stands", 1.0)] {
        let of_group: Vec<&ReportedLag> = reported.iter().filter(|reported| reported.group == group).collect();
        let mut errors: Vec<f64> = of_group
            .iter()
            .map(|reported| reported.lag_seconds - seconds(reported.at - timestamps[reported.committed_offset]))
            .collect();
        errors.sort_by(f64::total_cmp);
        let longest = of_group.iter().map(|reported| reported.lag_seconds).fold(0.0, f64::max);
        let [least, median, greatest] = [0, errors.len() / 2, errors.len() - 1].map(|at| errors[at]);
        let found = format!(
            "{group}: {least:+.3} to {greatest:+.3} s from the truth (median {median:+.3}) in {} answers of up to \
             {longest:.1} s; the producer paused for {pause} ms at most",
            of_group.len()
        );
        println!("{found}");
        assert!(least >= -allowed && greatest <= allowed, "{found}");
        assert!(longest >= seconds(run_for) * unread / 2.0, "{found}");
    }
}
