import com.fasterxml.jackson.databind.JsonNode;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;

/** Commands for transactions, and for commits at the same time. */
final class Transactions {
    private final String brokers;
    private final Admin admin;
    /** Producers that run one transaction after another, by transactional id. */
    private final Map<String, Producer<byte[], byte[]>> producers = new HashMap<>();
    /** Consumers that commit manually, by group. */
    private final Map<String, Consumer<byte[], byte[]>> committers = new HashMap<>();

    Transactions(String brokers, Admin admin) {
        this.brokers = brokers;
        this.admin = admin;
    }

    Object run(JsonNode c) throws Exception {
        switch (Driver.text(c, "what")) {
            case "whole": return whole(Driver.text(c, "name"), Driver.text(c, "group"), Driver.offsets(c));
            case "plain": return plain(Driver.text(c, "group"), Driver.offsets(c));
            case "list_offsets": return listOffsets(new TopicPartition("__consumer_offsets", c.path("partition").asInt()));
            default: throw new IllegalArgumentException("unknown command " + c);
        }
    }

    /** Runs a transaction from its begin to its acknowledged end. */
    private Object whole(String name, String group, Map<TopicPartition, OffsetAndMetadata> offsets) {
        var producer = producers.computeIfAbsent(name, id -> {
            var made = Driver.producer(brokers, Map.of("transactional.id", id));
            made.initTransactions();
            return made;
        });
        producer.beginTransaction();
        producer.sendOffsetsToTransaction(offsets, new ConsumerGroupMetadata(group));
        producer.commitTransaction();
        return Map.of();
    }

    /** Commits offsets, and waits for the acknowledgement. */
    private Object plain(String group, Map<TopicPartition, OffsetAndMetadata> offsets) {
        var consumer = committers.computeIfAbsent(group, id -> Driver.consumer(brokers, Map.of("group.id", id)));
        consumer.assign(offsets.keySet());
        consumer.commitSync(offsets);
        return Map.of();
    }

    /** Returns the duration of a single ListOffsets request. */
    private Object listOffsets(TopicPartition partition) throws Exception {
        long start = System.nanoTime();
        admin.listOffsets(Map.of(partition, OffsetSpec.latest()), new ListOffsetsOptions(IsolationLevel.READ_UNCOMMITTED)).all().get();
        return Map.of("nanos", System.nanoTime() - start);
    }

    /** Plain commits of several groups in turn, with increasing offsets. */
    static final class Commits extends Worker {
        private final List<Consumer<byte[], byte[]>> consumers = new ArrayList<>();
        private final TopicPartition partition;
        private long offset;

        Commits(String brokers, JsonNode c) {
            partition = new TopicPartition(Driver.text(c, "topic"), 0);
            for (JsonNode group : c.path("groups")) {
                var consumer = Driver.consumer(brokers, Map.of("group.id", group.asText()));
                consumer.assign(List.of(partition));
                consumers.add(consumer);
            }
        }

        @Override
        void turn() throws Exception {
            offset++;
            for (var consumer : consumers) consumer.commitSync(Map.of(partition, new OffsetAndMetadata(offset)));
            Thread.sleep(2);
        }

        @Override
        void release() {
            consumers.forEach(Consumer::close);
        }
    }
}
