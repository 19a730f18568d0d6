import java.util.*;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.GroupIdNotFoundException;

/**
 * Everything that AdminClient returns about groups and partitions. The log ends are read last: a reader that has read
 * __consumer_offsets up to the end reported here has seen every offset reported here.
 */
@SuppressWarnings({"deprecation", "removal"}) // deprecated in 4.1, but 3.9 has no other names
final class State {
    private static final String OFFSETS = "__consumer_offsets";

    private final Admin admin;
    /** Number of log partitions over which brokers hash group ids; 0 means the current number. */
    private final int hashedOver;

    State(Admin admin, int hashedOver) {
        this.admin = admin;
        this.hashedOver = hashedOver;
    }

    Map<String, Object> read() throws Exception {
        var names = admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get();
        var topics = admin.describeTopics(names).allTopicNames().get();
        Map<String, Object> state = new LinkedHashMap<>();
        state.put("cluster_id", admin.describeCluster().clusterId().get());
        int logPartitions = topics.containsKey(OFFSETS) ? topics.get(OFFSETS).partitions().size() : 0;
        state.put("groups", groups(hashedOver > 0 ? hashedOver : logPartitions));
        state.put("partitions", partitions(topics.values()));
        state.put("taken_at_ms", System.currentTimeMillis());
        return state;
    }

    private List<Object> groups(int logPartitions) throws Exception {
        Map<String, ConsumerGroupListing> listed = new TreeMap<>();
        for (var listing : admin.listConsumerGroups().all().get()) listed.put(listing.groupId(), listing);
        var described = admin.describeConsumerGroups(listed.keySet()).describedGroups();
        var committed = admin.listConsumerGroupOffsets(listed.keySet().stream().collect(
            Collectors.toMap(id -> id, id -> new ListConsumerGroupOffsetsSpec())));
        List<Object> groups = new ArrayList<>();
        for (var listing : listed.values()) {
            String id = listing.groupId();
            Map<String, Object> group = new LinkedHashMap<>();
            group.put("group_id", id);
            group.put("log_partition", logPartition(id, logPartitions));
            group.put("kind", listing.isSimpleConsumerGroup() ? "simple" : listing.type().map(t -> t.toString().toLowerCase()).orElse("classic"));
            group.put("offsets", offsets(committed.partitionsToOffsetAndMetadata(id).get()));
            try {
                describe(group, described.get(id));
            } catch (ExecutionException e) {
                // Listed from a log partition that the group has left, so its coordinator does not know it.
                if (e.getCause() instanceof GroupIdNotFoundException && ((List<?>) group.get("offsets")).isEmpty()) continue;
                throw e;
            }
            groups.add(group);
        }
        if (Newer.isThere()) groups.addAll(Newer.instance().groups(admin, logPartitions));
        return groups;
    }

    private static void describe(Map<String, Object> group, KafkaFuture<ConsumerGroupDescription> future) throws Exception {
        ConsumerGroupDescription d;
        try {
            d = future.get();
        } catch (ExecutionException e) { // the empty group id may have offsets, but cannot be described
            if (!group.get("group_id").equals("")) throw e;
            group.put("state", "Empty");
            group.put("protocol", "");
            group.put("members", List.of());
            return;
        }
        group.put("state", d.state().toString());
        group.put("protocol", d.partitionAssignor());
        List<Object> members = new ArrayList<>();
        for (var m : d.members()) {
            var member = member(m.consumerId(), m.groupInstanceId().orElse(null), m.clientId(), m.host(), m.assignment().topicPartitions());
            if (Newer.isThere()) member.put("member_epoch", Newer.instance().epoch(m));
            if (m.targetAssignment().isPresent()) member.put("target", keys(m.targetAssignment().get().topicPartitions()));
            members.add(member);
        }
        group.put("members", members);
    }

    static Map<String, Object> member(String id, String instanceId, String clientId, String host, Collection<TopicPartition> assignment) {
        Map<String, Object> member = new LinkedHashMap<>();
        member.put("member_id", id);
        member.put("instance_id", instanceId);
        member.put("client_id", clientId);
        member.put("client_host", host);
        member.put("assignment", keys(assignment));
        return member;
    }

    static Map<String, Object> group(String id, int logPartitions, String kind, String state, List<Object> offsets, List<Object> members) {
        Map<String, Object> group = new LinkedHashMap<>();
        group.put("group_id", id);
        group.put("log_partition", logPartition(id, logPartitions));
        group.put("kind", kind);
        group.put("state", state);
        group.put("protocol", "");
        group.put("offsets", offsets);
        group.put("members", members);
        return group;
    }

    private static int logPartition(String group, int logPartitions) {
        return Math.max(0, Math.abs(group.hashCode())) % logPartitions;
    }

    static List<Object> keys(Collection<TopicPartition> partitions) {
        return partitions.stream().map(State::partition).collect(Collectors.toList());
    }

    static List<Object> offsets(Map<TopicPartition, OffsetAndMetadata> committed) {
        List<Object> offsets = new ArrayList<>();
        committed.forEach((partition, commit) -> {
            if (commit == null) return; // requested, but not committed
            Map<String, Object> o = partition(partition);
            o.put("committed_offset", commit.offset());
            o.put("leader_epoch", commit.leaderEpoch().orElse(null));
            o.put("metadata", commit.metadata());
            offsets.add(o);
        });
        return offsets;
    }

    private List<Object> partitions(Collection<TopicDescription> topics) throws Exception {
        List<TopicPartition> all = new ArrayList<>();
        for (var t : topics) for (var p : t.partitions()) all.add(new TopicPartition(t.name(), p.partition()));
        var stable = ends(all, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED);
        var end = ends(all, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED);
        var start = ends(all, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED);
        List<Object> rows = new ArrayList<>();
        for (var t : topics) for (var p : t.partitions()) {
            var key = new TopicPartition(t.name(), p.partition());
            Map<String, Object> row = partition(key);
            row.put("topic_id", t.topicId().toString());
            row.put("leader", p.leader() == null ? null : p.leader().id());
            row.put("log_start_offset", start.get(key).offset());
            row.put("log_end_offset", end.get(key).offset());
            row.put("last_stable_offset", stable.get(key).offset());
            rows.add(row);
        }
        return rows;
    }

    private Map<TopicPartition, ListOffsetsResult.ListOffsetsResultInfo> ends(
            List<TopicPartition> partitions, OffsetSpec which, IsolationLevel isolation) throws Exception {
        return admin.listOffsets(partitions.stream().collect(Collectors.toMap(p -> p, p -> which)), new ListOffsetsOptions(isolation)).all().get();
    }

    private static Map<String, Object> partition(TopicPartition p) {
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("topic", p.topic());
        row.put("partition", p.partition());
        return row;
    }
}
