//! Reads all znodes of a layout, and those of which the server reports changes.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::{
    ZooKeeper, consumers,
    consumers::Registrations,
    session::{ChangedPaths, Connector, MAX_BATCH, ReadFault, Session, SessionError},
    settings_error,
    tree::{PathTree, Visitor},
    wire::Stat,
};
use crate::{
    config,
    source::{
        layout::{Layout, OffsetParts, Placeholder},
        polled::{self, EntryReader, FollowOutcome, Listing, ListingRound, Rejected, StoreTimes, Subset, SubsetReader},
        rate_limit::RequestLimit,
    },
    store::latest::SourceError,
};

/// Factor by which the time between two full reads exceeds `interval` while ZooKeeper reports changes.
const INTERVAL_FACTOR: u32 = 60;
/// The end of the template of the layout of Kafka's consumers, which register beside their offsets.
const CONSUMERS: [&str; 4] = ["{group}", "offsets", "{topic}", "{partition}"];

/// A listing of all znodes of a layout. In between, it reads the znodes that ZooKeeper reports as changed.
#[derive(Debug)]
pub struct ZooKeeperListing {
    settings: ZooKeeper,
    common: config::Source,
    limit: RequestLimit,
    connection: Option<Connection>,
    /// Number of the server to connect to first.
    server: usize,
    /// Whether a name was ambiguous that may become unambiguous once the topics of the cluster are known.
    awaits_topics: bool,
}

/// A session and its state.
#[derive(Debug)]
struct Connection {
    session: Session,
    /// Whether the server reports changes.
    has_watch: bool,
    layout: ZnodeLayout,
}

/// A layout of znodes.
#[derive(Debug)]
pub(super) struct ZnodeLayout {
    pub(super) tree: PathTree,
    pub(super) layout: Layout,
    /// Number of names below the root of the znode of a group in which consumers register.
    consumers_depth: Option<usize>,
    /// Whether a path identifies its rows, with the group if the settings fix it.
    identifies_rows: bool,
}

impl ZnodeLayout {
    pub(super) fn new(tree: PathTree, layout: Layout, has_fixed_group: bool) -> Self {
        let path = layout.names().first();
        let identifies_rows = path.is_some_and(|path| {
            let has_group = path.placeholders().any(|part| part == Placeholder::Group);
            path.identifies_rows() && (has_group || has_fixed_group)
        });
        let consumers_depth = tree.ends_with(&CONSUMERS).then(|| (tree.depth() + 1).saturating_sub(CONSUMERS.len()));
        Self { tree, layout, consumers_depth, identifies_rows }
    }
}

impl ZooKeeperListing {
    pub(super) fn new(settings: &ZooKeeper, common: &config::Source) -> Self {
        let limit = RequestLimit::new(common.max_requests_per_second);
        Self {
            settings: settings.clone(),
            common: common.clone(),
            limit,
            connection: None,
            server: 0,
            awaits_topics: false,
        }
    }

    fn connect(&mut self) -> Result<Connection, SourceError> {
        // The certificate files are read each time, since they may have changed.
        let connector = self.settings.connector(self.limit.clone()).map_err(|error| settings_error(&error))?;
        let layout = self.settings.read_layout(&self.common).map_err(|error| settings_error(&error))?;
        let root = &layout.tree.root;
        let connected = connector.connect(self.server, |connector, session| watched(connector, session, root));
        // After a failure of this server, the next attempt begins with another one.
        self.server = self.server.wrapping_add(1);
        let (session, has_watch) = connected?;
        Ok(Connection { session, has_watch, layout })
    }
}

/// Sets a watch on the root, if the server supports it. Returns the session, and whether there is a watch.
pub(super) fn watched(
    connector: &Connector,
    mut session: Session,
    root: &str,
) -> Result<(Session, bool), SessionError> {
    // A server before 3.6 closes the session at an unknown request.
    match session.probe_multi_read(root) {
        Err(error) if error.may_mean_unsupported() => return Ok((connector.open(&session.node)?, false)),
        probed => probed?,
    }
    match session.add_watch(root) {
        Err(error) if error.may_mean_unsupported() => {
            session = connector.open(&session.node)?;
            session.probe_multi_read(root)?;
            Ok((session, false))
        }
        added => added.map(|()| (session, true)),
    }
}

impl Listing for ZooKeeperListing {
    fn list(&mut self, round: &mut ListingRound<'_>) -> Result<bool, SourceError> {
        let kept = self.connection.take().and_then(|mut connection| {
            let synced = connection.session.sync(&connection.layout.tree.root);
            synced.is_ok().then_some(connection)
        });
        let mut connection = match kept {
            Some(connection) => connection,
            None => {
                // The watch is set before the read, so that changes during the read are reported.
                let mut connection = self.connect()?;
                let synced = connection.session.sync(&connection.layout.tree.root);
                synced.map_err(|error| error.to_source_error(&connection.session.node))?;
                connection
            }
        };
        // The read shows what these events report.
        *connection.session.changed() = ChangedPaths::default();
        let Connection { session, layout, .. } = &mut connection;
        let mut reader = Reader::new(layout, round);
        layout.tree.walk(session, &mut reader).map_err(|error| error.to_source_error(&session.node))?;
        self.awaits_topics = reader.entries.awaits_topics();
        reader.finish();
        self.connection = Some(connection);
        Ok(true)
    }

    fn interval_factor(&self) -> u32 {
        // Without the factor, the next read comes soon. It resolves the names that are ambiguous until the topics are
        // known.
        let is_watched = self.connection.as_ref().is_some_and(|connection| connection.has_watch);
        if is_watched && !self.awaits_topics { INTERVAL_FACTOR } else { 1 }
    }

    fn follow(&mut self, timeout: Duration, subsets: &SubsetReader<'_>) -> Option<FollowOutcome> {
        let connection = self.connection.as_mut()?;
        let has_watch = connection.has_watch;
        match connection.follow(timeout, subsets, &self.common.group) {
            Ok(outcome) => has_watch.then_some(outcome),
            Err(error) => {
                tracing::debug!(server = %connection.session.node, %error, "session lost");
                self.connection = None;
                Some(FollowOutcome::ListAll)
            }
        }
    }
}

impl Connection {
    /// Waits for changes and reads them, but not more znodes than one request does.
    fn follow(
        &mut self,
        timeout: Duration,
        subsets: &SubsetReader<'_>,
        group: &str,
    ) -> Result<FollowOutcome, SessionError> {
        if !self.has_watch {
            // Replies to pings are received, and pings sent.
            self.session.wait(Duration::from_millis(1))?;
            return Ok(FollowOutcome::Read);
        }
        let is_read = self.session.changed().paths.is_empty();
        let changed = self.session.wait(if is_read { timeout } else { Duration::from_millis(1) })?;
        if std::mem::take(&mut changed.others) {
            return Ok(FollowOutcome::ListAll);
        }
        let taken: Vec<String> = changed.paths.iter().take(MAX_BATCH).cloned().collect();
        for path in &taken {
            changed.paths.remove(path);
        }
        let (mut leaves, mut groups) = (vec![], HashSet::new());
        for path in taken {
            match self.layout.classify(&path) {
                Some(Changed::Leaf) if self.layout.identifies_rows => leaves.push(path),
                Some(Changed::Leaf) => return Ok(FollowOutcome::ListAll),
                Some(Changed::Members(group)) => groups.extend([group]),
                None => {}
            }
        }
        self.read_leaves(&leaves, subsets, group)?;
        self.read_members(&groups.into_iter().collect::<Vec<_>>(), subsets)?;
        Ok(FollowOutcome::Read)
    }

    fn read_leaves(&mut self, paths: &[String], subsets: &SubsetReader<'_>, group: &str) -> Result<(), SessionError> {
        let topics = subsets.topics();
        let Self { session, layout: ZnodeLayout { layout, .. }, .. } = self;
        session.read_data(paths, |number, data| {
            let path = paths.get(number).map_or("", String::as_str);
            // A path that is ambiguous is counted by the next full read.
            let names = layout.names().first().map(|template| polled::read_name(template, path, topics.as_deref()));
            let Some(Ok(names)) = names else { return Ok(()) };
            let group = names.group.as_deref().unwrap_or(group);
            let subset = Subset { group, topic: names.topic.as_deref(), partition: names.partition };
            subsets.read(&subset, |round| {
                let mut entries = EntryReader::new(layout, round);
                let is_complete = read_leaf(&mut entries, path, data);
                entries.finish();
                Ok(is_complete)
            })
        })
    }

    fn read_members(&mut self, groups: &[String], subsets: &SubsetReader<'_>) -> Result<(), SessionError> {
        let found = consumers::read(&mut self.session, groups)?;
        for (path, registrations) in groups.iter().zip(found) {
            let Some(group) = self.layout.group_of(path) else { continue };
            subsets.read(&Subset { group: &group, topic: None, partition: None }, |round| {
                set_members(round, &group, registrations);
                Ok::<_, SessionError>(false)
            })?;
        }
        Ok(())
    }
}

/// What a changed znode contains.
enum Changed {
    /// Offsets.
    Leaf,
    /// A registration in the group with this path.
    Members(String),
}

impl ZnodeLayout {
    fn classify(&self, path: &str) -> Option<Changed> {
        if let Some(depth) = self.consumers_depth {
            let names = self.tree.names_below_root(path)?;
            if matches!(names.get(depth), Some(&("ids" | "owners"))) {
                let group: String = names.iter().take(depth).map(|name| format!("/{name}")).collect();
                let path = format!("{}{group}", self.tree.root.trim_end_matches('/'));
                let is_group = self.tree.matching_names(&path).is_some();
                return is_group.then_some(Changed::Members(path));
            }
        }
        (self.tree.matching_names(path)?.len() == self.tree.depth()).then_some(Changed::Leaf)
    }

    /// Returns the group whose znode has this path.
    fn group_of(&self, path: &str) -> Option<String> {
        self.tree.parts(path).into_iter().find_map(|parts| parts.group)
    }
}

/// Reads znodes into a round.
struct Reader<'a, 'b> {
    layout: &'a ZnodeLayout,
    entries: EntryReader<'a, 'b>,
    /// The groups of which members were found, or may exist.
    groups_with_members: HashSet<String>,
    unread: Unread,
}

/// The parts of a store that could not be read: for each group, or for all groups (`None`), the parts of the offsets in
/// them.
#[derive(Default)]
struct Unread(HashMap<Option<String>, Vec<Vec<OffsetParts>>>);

impl<'a, 'b> Reader<'a, 'b> {
    fn new(layout: &'a ZnodeLayout, round: &'a mut ListingRound<'b>) -> Self {
        let entries = EntryReader::new(&layout.layout, round);
        Self { layout, entries, groups_with_members: HashSet::new(), unread: Unread::default() }
    }

    /// Ends the read. What could not be read stays as it is.
    fn finish(mut self) {
        for group in self.entries.round().groups_with_members() {
            if !self.groups_with_members.contains(&*group) && !self.unread.covers(&group, None) {
                self.entries.round().set_members(&group, |_| None);
            }
        }
        let Self { entries, unread, .. } = self;
        let round = entries.finish();
        if !unread.0.is_empty() {
            for (group, topic, partition) in round.missing() {
                if unread.covers(&group, Some((&topic, partition))) {
                    round.mark_row(&group, &topic, partition);
                }
            }
        }
    }
}

impl Visitor for Reader<'_, '_> {
    fn unmatched(&mut self, path: &str) {
        self.entries.reject(Rejected::Unmatched, path);
    }

    fn unreadable(&mut self, path: &str, fault: ReadFault) {
        self.entries.reject(rejected(fault), path);
        self.unread.add(self.layout.tree.parts(path));
    }

    fn level(&mut self, session: &mut Session, depth: usize, paths: &[String]) -> Result<(), SessionError> {
        if self.layout.consumers_depth != Some(depth) {
            return Ok(());
        }
        for (path, registrations) in paths.iter().zip(consumers::read(session, paths)?) {
            let Some(group) = self.layout.group_of(path) else { continue };
            if let Some(fault) = registrations.fault {
                self.entries.reject(rejected(fault), path);
            }
            set_members(self.entries.round(), &group, registrations);
            self.groups_with_members.insert(group);
        }
        Ok(())
    }

    fn leaves(&mut self, session: &mut Session, paths: &[String]) -> Result<(), SessionError> {
        session.read_data(paths, |number, data| {
            let path = paths.get(number).map_or("", String::as_str);
            if !read_leaf(&mut self.entries, path, data) {
                self.unread.add(self.layout.tree.parts(path));
            }
            Ok(())
        })
    }
}

/// Reads the data of a znode into rows, or counts why that is not possible. Returns whether the rows are known; if not,
/// they stay as they are.
fn read_leaf(entries: &mut EntryReader<'_, '_>, path: &str, data: Result<(&[u8], Stat), ReadFault>) -> bool {
    match data {
        Ok((data, stat)) => {
            if let Some(names) = entries.name(0, path.as_bytes(), path) {
                let times = StoreTimes { written_at: Some(stat.modified_at), created_at: Some(stat.created_at) };
                entries.value(&[&names], data, times, path);
            }
            true
        }
        // The znode was deleted since its name was read, or the layout ends in a fixed name that need not exist.
        Err(ReadFault::NoNode) => true,
        Err(fault) => {
            entries.reject(rejected(fault), path);
            fault == ReadFault::TooLong
        }
    }
}

/// Sets the members of a group, unless some could not be read.
fn set_members(round: &mut ListingRound<'_>, group: &str, registrations: Registrations) {
    if registrations.fault.is_none() {
        let names = round.names();
        round.set_members(group, |revision| registrations.membership(group, revision, |name| names.intern(name)));
    }
}

fn rejected(fault: ReadFault) -> Rejected {
    match fault {
        ReadFault::NoAuth => Rejected::Forbidden,
        ReadFault::NoNode | ReadFault::TooLong | ReadFault::Other(_) => Rejected::Malformed,
    }
}

impl Unread {
    fn add(&mut self, parts: Vec<OffsetParts>) {
        let group = parts.iter().find_map(|parts| parts.group.clone());
        self.0.entry(group).or_default().push(parts);
    }

    /// Returns whether a row, or with `None` a group, may be in a part that could not be read.
    fn covers(&self, group: &str, row: Option<(&str, i32)>) -> bool {
        let is_part = |parts: &OffsetParts| {
            row.is_none_or(|(topic, partition)| {
                parts.topic.as_deref().is_none_or(|part| part == topic)
                    && parts.partition.is_none_or(|part| part == partition)
            })
        };
        let of = |key: &Option<String>| self.0.get(key).into_iter().flatten();
        of(&Some(group.to_owned())).chain(of(&None)).any(|parts| parts.iter().all(is_part))
    }
}
