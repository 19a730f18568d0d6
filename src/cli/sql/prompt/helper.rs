//! The completion of the editor, with the names of the server. They are requested when TAB is first pressed.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use rustyline::{Context, Helper, completion, highlight::Highlighter, hint::Hinter, validate::Validator};
use serde_json::Value;
use tokio::{runtime::Runtime, task::JoinHandle, time::timeout};

use super::super::{
    complete::{Catalog, complete},
    request,
};
use crate::{
    cli::connect::Client,
    rpc::proto::{SqlFormat, sql_response::Message},
};

/// Returns all columns with their tables, and all functions, which have no table.
const NAMES: &str = "SELECT table_name, column_name AS name FROM columns UNION ALL \
                     SELECT DISTINCT NULL, routine_name FROM information_schema.routines";
/// Time that a TAB waits for the names. A later response is used by the next TAB.
const TAB_TIMEOUT: Duration = Duration::from_secs(2);
/// Time after which the names are requested again, since the server may have been replaced.
const MAX_AGE: Duration = Duration::from_secs(300);
/// Time after a failed request before the next one is sent.
const RETRY_DELAY: Duration = Duration::from_secs(10);

/// Completes words for the editor when TAB is pressed.
pub(super) struct Completer<'a> {
    runtime: &'a Runtime,
    client: Client,
    /// The lines of the statement above the line that is edited.
    above: String,
    names: RefCell<CatalogCache>,
}

#[derive(Default)]
struct CatalogCache {
    names: Catalog,
    /// The running request for the names.
    request: Option<JoinHandle<Option<Catalog>>>,
    next_request: Option<Instant>,
}

impl<'a> Completer<'a> {
    pub(super) fn new(runtime: &'a Runtime, client: Client) -> Self {
        Self { runtime, client, above: String::new(), names: RefCell::default() }
    }

    /// Sets the lines of the statement above the next line.
    pub(super) fn set_lines_above(&mut self, above: &str) {
        self.above.clear();
        if !above.is_empty() {
            self.above.push_str(above);
            self.above.push('\n');
        }
    }

    /// Requests the names if they are too old. If the request fails or takes too long, the old names are used.
    #[expect(clippy::disallowed_methods, reason = "the age of the names is not part of any result")]
    fn refresh(&self, known: &mut CatalogCache) {
        let now = Instant::now();
        if known.request.is_none() && known.next_request.is_some_and(|at| now < at) {
            return;
        }
        let request = known.request.get_or_insert_with(|| self.runtime.spawn(load(self.client.clone())));
        let Ok(names) = self.runtime.block_on(async { timeout(TAB_TIMEOUT, request).await }) else { return };
        known.request = None;
        let delay = match names.ok().flatten() {
            Some(names) => {
                known.names = names;
                MAX_AGE
            }
            None => RETRY_DELAY,
        };
        known.next_request = Some(now + delay);
    }
}

async fn load(mut client: Client) -> Option<Catalog> {
    let mut request = request(NAMES, vec![]);
    request.get_mut().format = SqlFormat::Json.into();
    let mut answer = client.sql(request).await.ok()?.into_inner();
    let mut names = Catalog::default();
    while let Some(message) = answer.message().await.ok()? {
        let Some(Message::Batch(batch)) = message.message else { continue };
        for row in batch.json_rows {
            let row: Value = serde_json::from_str(&row).ok()?;
            names.add(row.get("table_name")?.as_str(), row.get("name")?.as_str()?);
        }
    }
    Some(names)
}

impl completion::Completer for Completer<'_> {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let Some((before, after)) = line.split_at_checked(at) else { return Ok((at, vec![])) };
        let mut known = self.names.borrow_mut();
        self.refresh(&mut known);
        let (length, found) = complete(&known.names, &format!("{}{before}", self.above), after);
        Ok((at - length, found))
    }
}

impl Hinter for Completer<'_> {
    type Hint = String;
}

impl Highlighter for Completer<'_> {}
impl Validator for Completer<'_> {}
impl Helper for Completer<'_> {}
