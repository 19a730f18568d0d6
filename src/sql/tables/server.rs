//! `server`: offsetd itself.

use std::iter;

use super::{By, Columns, Flow, Table, Unit, Wanted};
use crate::{
    status::{GIT_REVISION, VERSION, resident_bytes},
    store::{
        cut::Cut,
        older::{OlderSamples, OlderStatus},
    },
};

pub(super) struct Server;

/// How the history store does, if there is one: all clusters share it.
fn history(cut: &Cut) -> Option<OlderStatus> {
    cut.clusters.iter().find_map(|cluster| cluster.cluster.older()).map(OlderSamples::status)
}

impl Table for Server {
    type Row<'a> = &'a Cut;
    const NAME: &'static str = "server";
    const COMMENT: &'static str = "One row: offsetd itself";
    const BY: By = By::Server;
    const SHOWS_UNLOADED: bool = true;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("version", "Version of the program", |_| VERSION)
            .text("git_revision", "The revision that it was built from", |_| GIT_REVISION)
            .time("started_at", "When it was started (UTC)", |cut| Some(cut.started_at))
            .int64("uptime_seconds", "Time since then (s)", |cut| cut.taken_at.saturating_sub(cut.started_at) / 1000)
            .optional_int64("resident_bytes", "Memory of the process; NULL where the system does not tell", |_| {
                resident_bytes().map(super::whole)
            })
            .int64("held_bytes", "Memory of old versions, which only readers under way still see", |cut| {
                super::whole(cut.held_bytes)
            })
            .int64("sql_threads", "Threads that run statements, pages and scrapes, or wait for some", |cut| {
                super::whole(cut.work.threads)
            })
            .int64("silent_sql_threads", "Statements and calls that were cancelled and did not end: at most 4", |cut| {
                super::whole(cut.work.abandoned.len())
            })
            .optional_string(
                "abandoned_work",
                "Each of these statements and calls, and for how long it should have ended, one a line; NULL when there is none",
                |cut| (!cut.work.abandoned.is_empty()).then(|| cut.work.abandoned.join("\n")),
            )
            .optional_int64(
                "history_unreadable_files",
                "Files of the history store that cannot be read: they are neither read nor deleted; NULL without a store",
                |cut| history(cut).map(|status| super::whole(status.unreadable)),
            )
            .optional_string(
                "history_unreadable",
                "Path of each of these files, at most 20, and why it cannot be read, one a line; NULL when there is none",
                |cut| {
                    let skipped = history(cut)?.skipped;
                    let lines: Vec<String> = skipped.iter().map(|(path, why)| format!("{path}: {why}")).collect();
                    (!lines.is_empty()).then(|| lines.join("\n"))
                },
            )
            .time("config_loaded_at", "When the configuration in force was read (UTC)", |cut| Some(cut.config.loaded_at))
            .optional_string(
                "config_error",
                "What is wrong with the configuration file as it is now, so that the one before stays in force; NULL when nothing is",
                |cut| cut.config.error.clone(),
            )
    }

    fn rows<'a>(unit: Unit<'a>, _: &'a Wanted, take: impl FnMut(&'a Cut) -> Flow) -> Flow {
        iter::once(unit.cut).try_for_each(take)
    }

    fn count(_: Unit<'_>) -> Option<usize> {
        Some(1)
    }
}
