//! Somebody who looks into a topic with `kafka-console-consumer`, and cleans up afterwards.

use super::{
    DemoError,
    cast::{CONSOLE, CONSOLE_COMMITS, CONSOLE_TOPIC},
    random::Random,
    records::{Commit, GroupDescription, Member, assignment, subscription},
    workload::{Moment, Sink, Topic},
};

/// The group that is there at the moment, if any.
#[derive(Debug, Default)]
pub(super) struct Console(Option<String>);

impl Console {
    pub(super) fn step(
        &mut self,
        now: Moment,
        topics: &[Topic],
        random: &mut Random,
        sink: &mut impl Sink,
    ) -> Result<(), DemoError> {
        let Some(topic) = topics.iter().find(|topic| topic.spec.name == CONSOLE_TOPIC) else { return Ok(()) };
        match self.0.take() {
            Some(group) if !CONSOLE.is_well(now.tick) => leave(&group, now, topic, sink),
            None if CONSOLE.is_well(now.tick) => {
                let group = format!("console-consumer-{:05}", random.below(100_000));
                sink.group(&joined(&group, now, topic, random))?;
                self.0 = Some(group);
                Ok(())
            }
            Some(group) => {
                if now.tick.is_multiple_of(CONSOLE_COMMITS) {
                    for (&end, partition) in topic.ends.iter().zip(0..) {
                        sink.commit(&Commit::new(&group, CONSOLE_TOPIC, partition, end, now.at))?;
                    }
                }
                self.0 = Some(group);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn joined(group: &str, now: Moment, topic: &Topic, random: &mut Random) -> GroupDescription {
    let partitions: Vec<i32> = (0..topic.spec.partitions).collect();
    let member = Member {
        id: format!("console-consumer-{}", random.uuid()),
        client_id: "console-consumer".to_owned(),
        client_host: "/10.0.9.14".to_owned(),
        rebalance_timeout_ms: 300_000,
        session_timeout_ms: 45_000,
        subscription: subscription(3, &[CONSOLE_TOPIC]),
        assignment: assignment(3, &[(CONSOLE_TOPIC, &partitions)]),
        ..Member::default()
    };
    GroupDescription {
        generation: 1,
        protocol: Some("range".to_owned()),
        leader: Some(member.id.clone()),
        members: vec![member],
        ..empty(group, now)
    }
}

fn empty(group: &str, now: Moment) -> GroupDescription {
    GroupDescription {
        group: group.to_owned(),
        protocol_type: "consumer".to_owned(),
        generation: 2,
        at: now.at,
        ..GroupDescription::default()
    }
}

/// What a broker writes when the last member leaves and the group is deleted.
fn leave(group: &str, now: Moment, topic: &Topic, sink: &mut impl Sink) -> Result<(), DemoError> {
    sink.group(&empty(group, now))?;
    for partition in 0..topic.spec.partitions {
        sink.delete_offset(group, CONSOLE_TOPIC, partition)?;
    }
    sink.delete_group(group)
}
