//! The znodes that match the template of a path, level by level.

use super::{
    address::{self, PathError},
    session::{ReadFault, Session, SessionError},
    wire::Names,
};
use crate::source::layout::{LayoutError, Mismatch, OffsetParts, Template};

/// Maximum number of znodes of one level that are visited together. It bounds the memory of a read.
const CHUNK: usize = 512;

/// A template of paths, split into levels.
#[derive(Clone, Debug)]
pub(super) struct PathTree {
    /// The path of the deepest znode above all matching znodes.
    pub(super) root: String,
    levels: Vec<Level>,
}

/// One name of a path.
#[derive(Clone, Debug)]
enum Level {
    /// A fixed name.
    Literal(String),
    /// A name with placeholders.
    Pattern(Box<Template>),
}

/// An error in the template of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The path is not absolute, or has an empty name.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The template is invalid.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// The receiver of the znodes that a walk finds.
pub(super) trait Visitor {
    /// Takes a child whose name does not match.
    fn unmatched(&mut self, path: &str);

    /// Takes a znode whose children cannot be read.
    fn unreadable(&mut self, path: &str, fault: ReadFault);

    /// Takes znodes of a level, by their number of names below the root, before their children are visited.
    fn level(&mut self, session: &mut Session, depth: usize, paths: &[String]) -> Result<(), SessionError>;

    /// Takes znodes that match the whole template. They need not exist.
    fn leaves(&mut self, session: &mut Session, paths: &[String]) -> Result<(), SessionError>;
}

impl PathTree {
    /// Splits a template.
    pub(super) fn parse(template: &str) -> Result<Self, TreeError> {
        let level = |name: &str| -> Result<Level, LayoutError> {
            let template = Template::parse_path(name)?;
            let literal = template.literal().map(|name| Level::Literal(name.to_owned()));
            Ok(literal.unwrap_or_else(|| Level::Pattern(Box::new(template))))
        };
        let mut levels = address::names(template)?.map(level).collect::<Result<Vec<_>, _>>()?;
        let fixed = levels.iter().take_while(|level| matches!(level, Level::Literal(_))).count();
        let mut root = String::new();
        for level in levels.drain(..fixed) {
            if let Level::Literal(name) = level {
                root = child(&root, &name);
            }
        }
        if root.is_empty() {
            root.push('/');
        }
        Ok(Self { root, levels })
    }

    /// Returns the number of names of a matching path below the root.
    pub(super) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Returns the names of a path below the root. Returns `None` if a name does not match, or there are more names than
    /// levels.
    pub(super) fn matching_names<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let names = self.names_below_root(path)?;
        let is_match = |(level, name): (&Level, &&str)| match level {
            Level::Literal(literal) => literal == name,
            Level::Pattern(template) => template.read(name, None) != Err(Mismatch::NoMatch),
        };
        let is_prefix = names.len() <= self.levels.len() && self.levels.iter().zip(&names).all(is_match);
        is_prefix.then_some(names)
    }

    /// Returns the names of a path below the root, or `None` if it lies elsewhere.
    pub(super) fn names_below_root<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let below = if self.root == "/" { path } else { path.strip_prefix(&*self.root)? };
        match below {
            "" | "/" => Some(vec![]),
            _ => Some(below.strip_prefix('/')?.split('/').collect()),
        }
    }

    /// Returns the parts of offsets that the names of a path give, which may be the start of a matching path.
    pub(super) fn parts(&self, path: &str) -> Vec<OffsetParts> {
        let names = self.matching_names(path).unwrap_or_default();
        let parts = |(level, name): (&Level, &&str)| match level {
            Level::Literal(_) => None,
            Level::Pattern(template) => template.read(name, None).ok(),
        };
        self.levels.iter().zip(&names).filter_map(parts).collect()
    }

    /// Returns whether the template ends in these names.
    pub(super) fn ends_with(&self, names: &[&str]) -> bool {
        let Some(first) = self.levels.len().checked_sub(names.len()) else { return false };
        let is_same = |(level, name): (&Level, &&str)| match level {
            Level::Literal(literal) => literal == name,
            Level::Pattern(template) => {
                template.glob() == "*"
                    && template.placeholders().eq(Template::parse_path(name).iter().flat_map(Template::placeholders))
            }
        };
        self.levels.iter().skip(first).zip(names).all(is_same)
    }

    /// Visits all znodes that match, in chunks.
    ///
    /// # Errors
    /// Returns the errors of the session and of the visitor, and [`SessionError::NoAuth`] if the root cannot be read.
    pub(super) fn walk(&self, session: &mut Session, visitor: &mut impl Visitor) -> Result<(), SessionError> {
        self.visit(session, visitor, 0, std::slice::from_ref(&self.root))
    }

    fn visit(
        &self,
        session: &mut Session,
        visitor: &mut impl Visitor,
        depth: usize,
        paths: &[String],
    ) -> Result<(), SessionError> {
        for paths in paths.chunks(CHUNK) {
            visitor.level(session, depth, paths)?;
            let next: Vec<String> = match self.levels.get(depth) {
                None => {
                    visitor.leaves(session, paths)?;
                    continue;
                }
                Some(Level::Literal(name)) => paths.iter().map(|path| child(path, name)).collect(),
                Some(Level::Pattern(template)) => self.matching_children(session, visitor, paths, template)?,
            };
            self.visit(session, visitor, depth + 1, &next)?;
        }
        Ok(())
    }

    fn matching_children(
        &self,
        session: &mut Session,
        visitor: &mut impl Visitor,
        paths: &[String],
        template: &Template,
    ) -> Result<Vec<String>, SessionError> {
        let mut matching = vec![];
        session.read_children(paths, |number, names: Result<Names<'_>, ReadFault>| {
            let Some(path) = paths.get(number) else { return Ok(()) };
            match names {
                Ok(names) => names.for_each(|name| {
                    let is_match = |name| template.read(name, None) != Err(Mismatch::NoMatch);
                    match std::str::from_utf8(name) {
                        Ok(name) if is_match(name) => matching.push(child(path, name)),
                        _ => visitor.unmatched(&child(path, &String::from_utf8_lossy(name))),
                    }
                }),
                Err(ReadFault::NoNode) => {}
                Err(ReadFault::NoAuth) if *path == self.root => return Err(SessionError::NoAuth(path.clone())),
                Err(fault) => visitor.unreadable(path, fault),
            }
            Ok(())
        })?;
        Ok(matching)
    }
}

/// Returns the path of a child.
pub(super) fn child(path: &str, name: &str) -> String {
    let mut child = String::with_capacity(path.len() + 1 + name.len());
    child.push_str(path.strip_suffix('/').unwrap_or(path));
    child.push('/');
    child.push_str(name);
    child
}

#[cfg(test)]
mod tests;
