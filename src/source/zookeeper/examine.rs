//! `offsetd doctor`: what a layout finds in ZooKeeper, and where `/consumers` is if it is not there.

use super::{
    listing::{ZnodeLayout, watched},
    session::{Connector, ReadFault, Session, SessionError},
    tree::{Visitor, child},
};
use crate::store::latest::SourceError;

/// Maximum number of znodes below `/` that are searched for the root of the layout.
const MAX_CHROOTS: usize = 512;

/// Counts the znodes that match the layout, and describes the result for operators.
pub(super) fn examine(connector: &Connector, layout: &ZnodeLayout) -> Result<String, SourceError> {
    let root = &layout.tree.root;
    let (mut session, has_watch) = connector.connect(0, |connector, session| watched(connector, session, root))?;
    let mut count = Count::default();
    let counted = layout.tree.walk(&mut session, &mut count).and_then(|()| children(&mut session, root));
    let children = counted.map_err(|error| error.to_source_error(&session.node))?;
    let shown = connector.address.absolute(root);
    let template = layout.layout.names().first().map(|path| path.glob()).unwrap_or_default();
    let node = &session.node;
    let Some(children) = children else {
        let elsewhere = elsewhere(connector, root).map_err(|error| error.to_source_error(node))?;
        return Ok(match elsewhere.first() {
            Some(chroot) => {
                let found = elsewhere.iter().map(|chroot| format!("{chroot}{root}")).collect::<Vec<_>>().join(", ");
                let remedy = match &**chroot {
                    "" => "remove the path at the end of `servers`".to_owned(),
                    chroot => format!("append {chroot} to `servers`"),
                };
                format!("{shown} does not exist, but {found} does; {remedy}")
            }
            None => format!("{shown} does not exist; check `path`, and the chroot at the end of `servers`"),
        });
    };
    let forbidden = match count.unreadable {
        0 => String::new(),
        unreadable => format!("; the children of {unreadable} znodes may not be read"),
    };
    let changes = if has_watch { "" } else { "; the server reports no changes, so all is read every `interval`" };
    Ok(match count.leaves {
        0 => format!("{shown}: {children} children, but no znode matches {template:?}; check `path`{forbidden}"),
        leaves => format!("{shown}: {children} children; {leaves} znodes match {template:?}{forbidden}{changes}"),
    })
}

/// Counts znodes.
#[derive(Default)]
struct Count {
    leaves: usize,
    unreadable: usize,
}

impl Visitor for Count {
    fn unmatched(&mut self, _: &str) {}

    fn unreadable(&mut self, _: &str, _: ReadFault) {
        self.unreadable += 1;
    }

    fn level(&mut self, _: &mut Session, _: usize, _: &[String]) -> Result<(), SessionError> {
        Ok(())
    }

    fn leaves(&mut self, session: &mut Session, paths: &[String]) -> Result<(), SessionError> {
        session.read_data(paths, |_, data| {
            self.leaves += usize::from(data.is_ok());
            Ok(())
        })
    }
}

/// Returns the number of children of a znode, or `None` if it does not exist.
fn children(session: &mut Session, path: &str) -> Result<Option<usize>, SessionError> {
    let mut count = None;
    session.read_children(&[path.to_owned()], |_, names| {
        count = names.ok().map(|names| names.len());
        Ok(())
    })?;
    Ok(count)
}

/// Returns the chroots below which a path exists: `/` itself (an empty text) and its children.
fn elsewhere(connector: &Connector, path: &str) -> Result<Vec<String>, SessionError> {
    let mut connector = connector.clone();
    let chroot = std::mem::take(&mut connector.address.chroot);
    let Some(node) = connector.address.nodes.first() else { return Ok(vec![]) };
    let (mut session, _) = watched(&connector, connector.open(node)?, path)?;
    let mut chroots = vec![String::new()];
    session.read_children(&["/".to_owned()], |_, names| {
        let names = names.ok().into_iter().flatten().take(MAX_CHROOTS);
        chroots.extend(names.map(|name| child("", &String::from_utf8_lossy(name))));
        Ok(())
    })?;
    chroots.retain(|known| *known != chroot);
    let paths: Vec<String> = chroots.iter().map(|chroot| format!("{chroot}{path}")).collect();
    let mut found = vec![];
    session.read_children(&paths, |number, names| {
        found.extend(chroots.get(number).filter(|_| names.is_ok()).cloned());
        Ok(())
    })?;
    Ok(found)
}
