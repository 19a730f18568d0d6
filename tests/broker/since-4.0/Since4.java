import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Files;
import java.time.Duration;
import java.util.*;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;

final class Since4 extends Newer {
    @Override
    void subscribe(Consumer<byte[], byte[]> consumer, String regex) {
        consumer.subscribe(new SubscriptionPattern(regex));
    }

    @Override
    Worker share(String brokers, JsonNode c) {
        Map<String, Object> settings = Map.of("bootstrap.servers", brokers, "group.id", Driver.text(c, "group"), "client.id", Driver.text(c, "name"));
        var consumer = new KafkaShareConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        consumer.subscribe(topics(c));
        return new Worker() {
            @Override
            void turn() {
                consumer.poll(Duration.ofMillis(100));
            }

            @Override
            void release() {
                consumer.close();
            }
        };
    }

    @Override
    Worker streams(String brokers, JsonNode c) {
        var builder = new StreamsBuilder();
        for (String topic : topics(c)) builder.stream(topic).foreach((key, value) -> { }); // each topic is a subtopology
        var settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        settings.put("application.id", Driver.text(c, "group"));
        settings.put("client.id", Driver.text(c, "name"));
        settings.put("group.protocol", "streams");
        settings.put("commit.interval.ms", 100);
        settings.put("default.key.serde", Serdes.ByteArray().getClass());
        settings.put("default.value.serde", Serdes.ByteArray().getClass());
        settings.put("auto.offset.reset", "earliest");
        try {
            settings.put("state.dir", Files.createTempDirectory("streams").toString());
        } catch (java.io.IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
        var streams = new KafkaStreams(builder.build(), settings);
        streams.start();
        return new Worker() {
            @Override
            void turn() throws Exception {
                if (streams.state().hasStartedOrFinishedShuttingDown()) throw new IllegalStateException("streams: " + streams.state());
                Thread.sleep(50);
            }

            @Override
            void release() {
                streams.close(new KafkaStreams.CloseOptions().leaveGroup(true));
            }
        };
    }

    private static List<String> topics(JsonNode c) {
        List<String> topics = new ArrayList<>();
        c.path("topics").forEach(t -> topics.add(t.asText()));
        return topics;
    }

    @Override
    Integer epoch(MemberDescription member) {
        return member.memberEpoch().orElse(null);
    }

    @Override
    List<Object> groups(Admin admin, int logPartitions) throws Exception {
        Map<GroupType, List<String>> ids = new EnumMap<>(GroupType.class);
        for (var listing : admin.listGroups().all().get())
            listing.type().ifPresent(type -> ids.computeIfAbsent(type, t -> new ArrayList<>()).add(listing.groupId()));
        List<Object> groups = new ArrayList<>();
        for (var d : admin.describeShareGroups(ids.getOrDefault(GroupType.SHARE, List.of())).all().get().values())
            groups.add(State.group(d.groupId(), logPartitions, "share", d.groupState().toString(), List.of(),
                d.members().stream().map(Since4::shareMember).collect(Collectors.toList())));
        for (var d : admin.describeStreamsGroups(ids.getOrDefault(GroupType.STREAMS, List.of())).all().get().values()) {
            var committed = admin.listConsumerGroupOffsets(d.groupId()).partitionsToOffsetAndMetadata().get();
            List<Object> members = new ArrayList<>();
            for (var m : d.members()) members.add(streamsMember(admin, d, m));
            groups.add(State.group(d.groupId(), logPartitions, "streams", d.groupState().toString(), State.offsets(committed), members));
        }
        return groups;
    }

    private static Map<String, Object> shareMember(ShareMemberDescription m) {
        var member = State.member(m.consumerId(), null, m.clientId(), m.host(), m.assignment().topicPartitions());
        member.put("member_epoch", m.memberEpoch());
        return member;
    }

    private static Map<String, Object> streamsMember(Admin admin, StreamsGroupDescription d, StreamsGroupMemberDescription m) throws Exception {
        var member = State.member(m.memberId(), m.instanceId().orElse(null), m.clientId(), m.clientHost(), partitions(admin, d, m.assignment()));
        member.put("member_epoch", m.memberEpoch());
        member.put("target", State.keys(partitions(admin, d, m.targetAssignment())));
        return member;
    }

    /** Returns the partitions of the tasks: a task owns its partition of every topic of its subtopology. */
    private static Collection<TopicPartition> partitions(Admin admin, StreamsGroupDescription d, StreamsGroupMemberAssignment assignment) throws Exception {
        List<TopicPartition> partitions = new ArrayList<>();
        for (var task : assignment.activeTasks())
            for (var subtopology : d.subtopologies()) {
                if (!subtopology.subtopologyId().equals(task.subtopologyId())) continue;
                List<String> topics = new ArrayList<>(subtopology.sourceTopics());
                topics.addAll(subtopology.repartitionSourceTopics().keySet());
                var known = admin.describeTopics(topics).allTopicNames().get();
                for (String topic : topics)
                    for (int p : task.partitions())
                        if (p < known.get(topic).partitions().size()) partitions.add(new TopicPartition(topic, p));
            }
        return partitions;
    }
}
