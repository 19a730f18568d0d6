import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

/** Creates groups of every Kafka since 2.8: classic, static, manual commits, transactions; and deletions. */
public class Play {
    static final List<String> TOPICS = List.of("orders", "payments");

    static String brokers;

    public static void main(String[] args) throws Exception {
        brokers = args[0];
        try (var admin = Admin.create(Map.of("bootstrap.servers", brokers))) {
            admin.createTopics(List.of(new NewTopic("orders", 2, (short) 1), new NewTopic("payments", 1, (short) 1))).all().get();
            produce();
            classic();
            fixed();
            byHand();
            byTransaction();
            // The default group id of older clients.
            admin.alterConsumerGroupOffsets("", Map.of(new TopicPartition("orders", 0), new OffsetAndMetadata(1))).all().get();
            admin.deleteConsumerGroupOffsets("by hand", Set.of(new TopicPartition("payments", 0))).all().get();
            admin.deleteConsumerGroups(List.of("deleted")).all().get();
        }
    }

    private static void produce() {
        try (var producer = producer(Map.of())) {
            for (int n = 0; n < 30; n++)
                for (String topic : TOPICS) producer.send(new ProducerRecord<>(topic, n % (topic.equals("orders") ? 2 : 1), bytes("k" + n), bytes("v")));
        }
    }

    /** Two members, which leave one after the other. */
    private static void classic() {
        var one = consumer("classic", Map.of("client.id", "un", "client.rack", "rack-1"));
        var two = consumer("classic", Map.of("client.id", "deux"));
        one.subscribe(TOPICS);
        two.subscribe(TOPICS);
        until(() -> !one.assignment().isEmpty() && !two.assignment().isEmpty(), one, two);
        one.commitSync();
        two.close();
        until(() -> one.assignment().size() == 3, one);
        one.commitSync();
        one.close();
    }

    /** A static member that leaves and rejoins. */
    private static void fixed() {
        for (int life = 0; life < 2; life++) {
            var consumer = consumer("static", Map.of("group.instance.id", "instance-1",
                "partition.assignment.strategy", CooperativeStickyAssignor.class.getName()));
            consumer.subscribe(List.of("orders"));
            until(() -> consumer.assignment().size() == 2, consumer);
            consumer.commitSync();
            consumer.close();
        }
    }

    private static void byHand() {
        for (String group : List.of("by hand", "deleted", "消费者")) {
            try (var consumer = consumer(group, Map.of())) {
                Map<TopicPartition, OffsetAndMetadata> offsets = new LinkedHashMap<>();
                offsets.put(new TopicPartition("orders", 1), new OffsetAndMetadata(7, Optional.of(0), "métadonnées 😀"));
                offsets.put(new TopicPartition("payments", 0), new OffsetAndMetadata(5, Optional.empty(), ""));
                consumer.assign(offsets.keySet());
                consumer.commitSync(offsets);
            }
        }
    }

    private static void byTransaction() {
        for (boolean commit : List.of(true, false)) {
            try (var producer = producer(Map.of("transactional.id", "transaction"))) {
                producer.initTransactions();
                producer.beginTransaction();
                producer.sendOffsetsToTransaction(Map.of(new TopicPartition("orders", 0), new OffsetAndMetadata(commit ? 9 : 666)),
                    new ConsumerGroupMetadata("transactional"));
                if (commit) producer.commitTransaction();
                else producer.abortTransaction();
            }
        }
    }

    interface Condition {
        boolean holds();
    }

    @SafeVarargs
    static void until(Condition condition, Consumer<byte[], byte[]>... consumers) {
        long end = System.nanoTime() + 60_000_000_000L;
        while (!condition.holds()) {
            if (System.nanoTime() > end) throw new IllegalStateException("waited too long");
            for (var consumer : consumers) consumer.poll(Duration.ofMillis(100));
        }
    }

    static Consumer<byte[], byte[]> consumer(String group, Map<String, Object> more) {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", brokers, "group.id", group,
            "auto.offset.reset", "earliest", "enable.auto.commit", false));
        settings.putAll(more);
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static Producer<byte[], byte[]> producer(Map<String, Object> more) {
        Map<String, Object> settings = new HashMap<>(more);
        settings.put("bootstrap.servers", brokers);
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
