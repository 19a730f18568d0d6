//! `server`: offsetd itself.

use std::iter;

use super::super::{
    table::{By, Columns, Flow, Table, Unit},
    wanted::Wanted,
};
use crate::{
    status::{GIT_REVISION, VERSION, resident_bytes},
    store::cut::Cut,
};

pub(super) struct Server;

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
            .int64("sql_threads", "Threads that run SQL", |cut| super::whole(cut.sql_threads.threads))
            .int64("silent_sql_threads", "Of these, those that have not answered for 10 s", |cut| {
                super::whole(cut.sql_threads.silent)
            })
    }

    fn rows<'a>(unit: Unit<'a>, _: &'a Wanted, take: impl FnMut(&'a Cut) -> Flow) -> Flow {
        iter::once(unit.cut).try_for_each(take)
    }

    fn count(_: Unit<'_>) -> Option<usize> {
        Some(1)
    }
}
