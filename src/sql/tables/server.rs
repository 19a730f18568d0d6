//! `server`: one row about offsetd itself.

use std::iter;

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind, count};
use crate::{
    status::{GIT_REVISION, VERSION, resident_bytes},
    store::{
        cut::Cut,
        history_store::{HistoryStore, HistoryStoreStatus},
    },
};

pub(super) struct Server;

/// Returns the status of the history store, which all clusters share, if there is one.
fn history(cut: &Cut) -> Option<HistoryStoreStatus> {
    cut.sources.iter().find_map(|cluster| cluster.cluster.history_store()).map(HistoryStore::status)
}

impl Table for Server {
    type Row<'a> = &'a Cut;
    const NAME: &'static str = "server";
    const COMMENT: &'static str = "One row about the server itself";
    const UNIT: UnitKind = UnitKind::Server;
    const SHOWS_UNLOADED: bool = true;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("version", "Version of the program", |_| VERSION)
            .text("git_revision", "Git revision of the program", |_| GIT_REVISION)
            .time("started_at", "Time when the server was started (UTC)", |cut| Some(cut.started_at))
            .int64("uptime_seconds", "Time since the start (s)", |cut| {
                cut.taken_at.saturating_sub(cut.started_at) / 1000
            })
            .optional_int64("resident_bytes", "Resident memory of the process (bytes); NULL if unknown", |_| {
                resident_bytes().map(count)
            })
            .int64("held_bytes", "Retained bytes: old versions that only readers still use", |cut| {
                count(cut.retained_bytes)
            })
            .int64("sql_threads", "Threads for statements, calls and scrapes, idle ones included", |cut| {
                count(cut.work.threads)
            })
            .int64("silent_sql_threads", "Cancelled statements and calls that are still running, at most 4", |cut| {
                count(cut.work.abandoned.len())
            })
            .optional_string(
                "abandoned_work",
                "Cancelled statements and calls that are still running, one per line, with the time since then; NULL if none",
                |cut| (!cut.work.abandoned.is_empty()).then(|| cut.work.abandoned.join("\n")),
            )
            .optional_int64(
                "history_unreadable_files",
                "Files of the history store that cannot be read; they are not deleted; NULL without a store",
                |cut| history(cut).map(|status| count(status.unreadable)),
            )
            .optional_string(
                "history_unreadable",
                "Paths of at most 20 unreadable files of the history store, one per line, with the reason; NULL if none",
                |cut| {
                    let skipped = history(cut)?.skipped;
                    let lines: Vec<String> = skipped.iter().map(|(path, why)| format!("{path}: {why}")).collect();
                    (!lines.is_empty()).then(|| lines.join("\n"))
                },
            )
            .time("config_loaded_at", "Time when the active configuration was read (UTC)", |cut| {
                Some(cut.config.loaded_at)
            })
            .optional_string(
                "config_error",
                "Error in the current configuration file; the previous configuration stays active; NULL if none",
                |cut| cut.config.error.clone(),
            )
    }

    fn rows<'a>(unit: Unit<'a>, _: &'a ScanPredicate, take: impl FnMut(&'a Cut) -> Flow) -> Flow {
        iter::once(unit.cut).try_for_each(take)
    }

    fn count(_: Unit<'_>) -> Option<usize> {
        Some(1)
    }
}
