//! Registrations of Kafka's high-level consumers: the ephemeral znodes `ids` and `owners` of a group, as members.
//!
//! A consumer of the group registers as `ids/{group}_{host}-{ms}-{uuid8}`, with its subscription in JSON. Each of its
//! threads is `{consumer}-{thread}`, and `owners/{topic}/{partition}` contains the thread that reads the partition
//! (`kafka.consumer.ZookeeperConsumerConnector`).

use std::collections::BTreeMap;

use super::{
    session::{ReadFault, Session, SessionError},
    tree::child,
};
use crate::{
    model::{Name, Revision},
    store::membership::{Assigned, GroupDescription, GroupKind, GroupState, MemberDescription, Membership, TopicRef},
};

/// Maximum number of threads of a consumer that are shown.
const MAX_THREADS: u64 = 1024;

/// The registrations in a group.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    /// The threads, with the subscribed topics and the owned partitions of each.
    threads: BTreeMap<String, Thread>,
    /// Whether some registrations could not be read.
    pub(super) fault: Option<ReadFault>,
}

#[derive(Debug, Default)]
struct Thread {
    topics: Vec<String>,
    owned: BTreeMap<String, Vec<i32>>,
}

/// Reads the registrations of groups, given the paths of the groups.
pub(super) fn read(session: &mut Session, groups: &[String]) -> Result<Vec<Registrations>, SessionError> {
    let mut found: Vec<Registrations> = groups.iter().map(|_| Registrations::default()).collect();
    // Each path is followed by the number of its group.
    let below = |name: &str| -> Vec<String> { groups.iter().map(|group| child(group, name)).collect() };
    let numbers: Vec<usize> = (0..groups.len()).collect();
    let (consumers, of_consumers) = children(session, (&below("ids"), &numbers), &mut found)?;
    let (topics, of_topics) = children(session, (&below("owners"), &numbers), &mut found)?;
    let (partitions, of_partitions) = children(session, (&topics, &of_topics), &mut found)?;
    session.read_data(&consumers, |number, data| {
        if let Some((path, group)) =
            consumers.get(number).zip(of_consumers.get(number).and_then(|at| found.get_mut(*at)))
        {
            match data {
                Ok((data, _)) => group.add_consumer(last_name(path), data),
                Err(fault) => group.add_fault(fault),
            }
        }
        Ok(())
    })?;
    session.read_data(&partitions, |number, data| {
        let group = of_partitions.get(number).and_then(|at| found.get_mut(*at));
        if let Some((path, group)) = partitions.get(number).zip(group) {
            match data {
                Ok((data, _)) => group.add_owner(path, data),
                Err(fault) => group.add_fault(fault),
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// Returns the paths of the children of znodes, and the number of the group of each.
fn children(
    session: &mut Session,
    (paths, groups): (&[String], &[usize]),
    found: &mut [Registrations],
) -> Result<(Vec<String>, Vec<usize>), SessionError> {
    let (mut all, mut numbers) = (vec![], vec![]);
    session.read_children(paths, |number, names| {
        if let Some((path, group)) = paths.get(number).zip(groups.get(number)) {
            match names {
                Ok(names) => names.for_each(|name| {
                    all.push(child(path, &String::from_utf8_lossy(name)));
                    numbers.push(*group);
                }),
                Err(fault) => found.get_mut(*group).into_iter().for_each(|group| group.add_fault(fault)),
            }
        }
        Ok(())
    })?;
    Ok((all, numbers))
}

fn last_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

impl Registrations {
    /// A znode that does not exist is no fault: the consumer may have just left.
    fn add_fault(&mut self, fault: ReadFault) {
        if fault != ReadFault::NoNode {
            self.fault = Some(fault);
        }
    }

    /// Adds the threads of a consumer. A consumer with an unreadable subscription is one member without a thread.
    fn add_consumer(&mut self, consumer: &str, registration: &[u8]) {
        #[derive(serde::Deserialize)]
        struct Registration {
            subscription: BTreeMap<String, u64>,
        }
        let registration: Option<Registration> = serde_json::from_slice(registration).ok();
        let subscription = registration.map(|registration| registration.subscription).unwrap_or_default();
        let threads = subscription.values().copied().max().unwrap_or(0).min(MAX_THREADS);
        if threads == 0 {
            self.threads.entry(consumer.to_owned()).or_default();
        }
        for thread in 0..threads {
            let topics = subscription.iter().filter(|(_, threads)| **threads > thread).map(|(topic, _)| topic.clone());
            self.threads.entry(format!("{consumer}-{thread}")).or_default().topics = topics.collect();
        }
    }

    /// Adds the owner of the partition with this path. Names that are no partition are ignored.
    fn add_owner(&mut self, path: &str, thread: &[u8]) {
        let Some((path, partition)) = path.rsplit_once('/') else { return };
        let (Ok(partition), Ok(thread)) = (partition.parse(), std::str::from_utf8(thread)) else { return };
        if partition >= 0 && !thread.is_empty() {
            let owned = &mut self.threads.entry(thread.to_owned()).or_default().owned;
            owned.entry(last_name(path).to_owned()).or_default().push(partition);
        }
    }

    /// Returns the membership of the group. Returns `None` if nothing is registered.
    pub(super) fn membership(
        self,
        group: &str,
        revision: Revision,
        intern: impl Fn(&str) -> Name,
    ) -> Option<Membership> {
        if self.threads.is_empty() {
            return None;
        }
        let assigned = |(topic, mut partitions): (String, Vec<i32>)| {
            partitions.sort_unstable();
            Assigned { topic: TopicRef::Name(intern(&topic)), partitions: partitions.into() }
        };
        let member = |(thread, Thread { topics, owned }): (String, Thread)| {
            let (host, number) = host_and_thread(group, &thread).unwrap_or_default();
            MemberDescription {
                instance_id: None,
                client_id: intern(number),
                client_host: intern(host),
                subscribed_topics: Some(topics.iter().map(|topic| intern(topic)).collect()),
                assigned: owned.into_iter().map(assigned).collect(),
                target: None,
                member_id: Name::from(thread),
            }
        };
        let description = GroupDescription {
            kind: GroupKind::Classic,
            state: GroupState::Stable,
            protocol_type: Some(intern("consumer")),
            protocol: None,
            members: Some(self.threads.into_iter().map(member).collect()),
        };
        Some(description.membership(revision))
    }
}

/// Returns host and number of the thread `{group}_{host}-{ms}-{uuid8}-{thread}`. Returns `None` for a consumer with a
/// configured id, and for a consumer without a thread.
fn host_and_thread<'t>(group: &str, thread: &'t str) -> Option<(&'t str, &'t str)> {
    let rest = thread.strip_prefix(group)?.strip_prefix('_')?;
    let (rest, number) = rest.rsplit_once('-')?;
    let (rest, uuid) = rest.rsplit_once('-')?;
    let (host, millis) = rest.rsplit_once('-')?;
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_uuid = uuid.len() == 8 && uuid.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_uuid && is_digits(millis) && is_digits(number) && !host.is_empty()).then_some((host, number))
}

#[cfg(test)]
mod tests;
