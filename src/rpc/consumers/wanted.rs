//! Which groups a request is about.

use super::search::Search;
use crate::{
    facts::{group_fact, sorted_groups},
    rpc::proto::GetConsumerRequest,
    store::cut::{Cut, GroupCut},
};

/// The conditions of a request.
#[derive(Debug)]
pub(super) struct Wanted<'r> {
    search: Search<'r>,
    request: &'r GetConsumerRequest,
}

impl<'r> Wanted<'r> {
    pub(super) fn new(request: &'r GetConsumerRequest) -> Self {
        Self { search: Search::new(&request.search), request }
    }

    /// Groups from a cluster and id on, ordered by cluster and id.
    pub(super) fn groups<'a>(
        &'a self,
        cut: &'a Cut,
        from: (&str, &str),
    ) -> impl Iterator<Item = GroupCut<'a>> + use<'a, 'r> {
        let groups = if self.request.group_ids.is_empty() { sorted_groups(cut, from) } else { self.named(cut, from) };
        groups.filter(|group| self.search.matches(*group) && self.judges(cut, *group))
    }

    /// How many there are.
    pub(super) fn count(&self, cut: &Cut) -> usize {
        let GetConsumerRequest { group_ids, .. } = self.request;
        if group_ids.is_empty() && !self.needs_facts() {
            self.search.count(cut)
        } else {
            self.groups(cut, ("", "")).count()
        }
    }

    /// The groups that are named: each is looked for at home.
    fn named<'a>(&self, cut: &'a Cut, from: (&str, &str)) -> Box<dyn Iterator<Item = GroupCut<'a>> + 'a> {
        let key = |group: &GroupCut<'a>| (&group.cluster.cluster.name, &group.group.id);
        let ids = &self.request.group_ids;
        let named = cut.clusters.iter().flat_map(|cluster| ids.iter().filter_map(|id| cluster.group(id)));
        let mut named: Vec<GroupCut<'a>> = named.filter(|group| (&**key(group).0, &**key(group).1) >= from).collect();
        named.sort_by(|left, right| key(left).cmp(&key(right)));
        named.dedup_by(|left, right| key(left) == key(right));
        Box::new(named.into_iter())
    }

    fn needs_facts(&self) -> bool {
        let GetConsumerRequest { statuses, kinds, active, .. } = self.request;
        !(statuses.is_empty() && kinds.is_empty() && active.is_none())
    }

    fn judges(&self, cut: &Cut, group: GroupCut<'_>) -> bool {
        let GetConsumerRequest { statuses, kinds, active, .. } = self.request;
        let takes = |of: &[String], one: &str| of.is_empty() || of.iter().any(|of| of == one);
        !self.needs_facts() || {
            let fact = group_fact(cut, group);
            takes(statuses, fact.status.as_str())
                && takes(kinds, fact.kind)
                && active.is_none_or(|active| active == fact.active)
        }
    }
}
