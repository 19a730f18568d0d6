//! Which groups a text finds.

use std::cell::RefCell;

use hashbrown::HashMap;
use memchr::memmem::Finder;

use crate::{
    model::Name,
    store::{
        cut::GroupCut,
        membership::{Assigned, TopicRef},
    },
};

/// Finds groups whose id, or one of whose topics, contains a text.
#[derive(Debug)]
pub(in super::super) struct Search<'s> {
    text: &'s str,
    finder: Finder<'s>,
    /// Topics that were looked at, by where their names lie: groups share names, which stay where they are as
    /// long as the cut.
    topics: RefCell<HashMap<*const u8, bool>>,
}

impl<'s> Search<'s> {
    /// An empty text finds all.
    pub(in super::super) fn new(text: &'s str) -> Self {
        Self { text, finder: Finder::new(text), topics: RefCell::default() }
    }

    /// Whether it finds a group. All groups asked about must be of one cut.
    pub(in super::super) fn matches(&self, group: GroupCut<'_>) -> bool {
        let view = group.group;
        self.text.is_empty()
            || self.is_in(&view.id)
            || view.topic_counts().any(|(topic, _)| self.is_in_topic(topic))
            || view.membership().is_some_and(|membership| {
                let assigned = membership.members.iter().filter_map(|member| member.assigned.as_deref());
                assigned.flatten().any(|assigned| self.is_in_assigned(group, assigned))
            })
    }

    fn is_in(&self, name: &str) -> bool {
        self.finder.find(name.as_bytes()).is_some()
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
