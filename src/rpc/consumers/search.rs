//! Text search for groups.

use std::cell::RefCell;

use hashbrown::HashMap;
use regex::{Regex, RegexBuilder};

use super::super::filter::REGEX_BYTES;
use crate::{
    error::Error,
    model::Name,
    store::{
        cut::GroupCut,
        membership::{Assigned, TopicRef},
    },
};

/// A case-insensitive search for a text in group ids and topic names, like `ILIKE '%text%'` in SQL.
#[derive(Debug)]
pub(in super::super) struct Search {
    /// The compiled text; `None` matches all groups.
    text: Option<Regex>,
    /// Results by the address of a topic name. Groups share names, and addresses are stable for the lifetime of the
    /// cut.
    topics: RefCell<HashMap<*const u8, bool>>,
}

impl Search {
    /// Returns a search. An empty text matches all groups.
    ///
    /// # Errors
    /// The text is too long.
    pub(in super::super) fn new(text: &str) -> Result<Self, Error> {
        let build = || RegexBuilder::new(&regex::escape(text)).case_insensitive(true).size_limit(REGEX_BYTES).build();
        let text = (!text.is_empty()).then(build).transpose();
        let text = text.map_err(|_| Error::Invalid("search: the text is too long".to_owned()))?;
        Ok(Self { text, topics: RefCell::default() })
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.text.is_none()
    }

    /// Returns whether a group matches. All calls must pass groups of the same cut.
    pub(in super::super) fn matches(&self, group: GroupCut<'_>) -> bool {
        let view = group.group;
        self.is_empty()
            || self.is_in(&view.id)
            || view.topic_counts().any(|(topic, _)| self.is_in_topic(topic))
            || view.membership().is_some_and(|membership| {
                let assigned = membership.members.iter().filter_map(|member| member.assigned.as_deref());
                assigned.flatten().any(|assigned| self.is_in_assigned(group, assigned))
            })
    }

    fn is_in(&self, name: &str) -> bool {
        self.text.as_ref().is_none_or(|text| text.is_match(name))
    }

    fn is_in_topic(&self, name: &Name) -> bool {
        *self.topics.borrow_mut().entry(name.as_ptr()).or_insert_with(|| self.is_in(name))
    }

    fn is_in_assigned(&self, group: GroupCut<'_>, assigned: &Assigned) -> bool {
        match &assigned.topic {
            TopicRef::Name(name) => self.is_in_topic(name),
            TopicRef::Id(_) => self.is_in(&group.topic_name(&assigned.topic)),
        }
    }
}
