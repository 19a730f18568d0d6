import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.*;

final class Workers {
    /** A consumer that commits after every poll that returned records, or never if "commit" is false. */
    static final class Consume extends Worker {
        private final Consumer<byte[], byte[]> consumer;
        private final boolean commits;

        Consume(String brokers, JsonNode c) {
            Map<String, Object> settings = new HashMap<>();
            settings.put("group.id", Driver.text(c, "group"));
            settings.put("client.id", Driver.text(c, "name"));
            if (c.has("instance_id")) settings.put("group.instance.id", Driver.text(c, "instance_id"));
            if (c.path("protocol").asText("classic").equals("consumer")) {
                settings.put("group.protocol", "consumer");
                // Set explicitly, because the broker's default is not written to the log.
                settings.put("group.remote.assignor", c.path("assignor").asText("uniform"));
            }
            else settings.put("partition.assignment.strategy", assignor(c.path("assignor").asText("range")));
            consumer = Driver.consumer(brokers, settings);
            commits = c.path("commit").asBoolean(true);
            List<String> topics = new ArrayList<>();
            c.path("topics").forEach(t -> topics.add(t.asText()));
            if (c.has("regex")) Newer.instance().subscribe(consumer, Driver.text(c, "regex"));
            else consumer.subscribe(topics);
        }

        private static String assignor(String name) {
            switch (name) {
                case "range": return RangeAssignor.class.getName();
                case "roundrobin": return RoundRobinAssignor.class.getName();
                case "cooperative-sticky": return CooperativeStickyAssignor.class.getName();
                default: throw new IllegalArgumentException("unknown assignor " + name);
            }
        }

        @Override
        void turn() {
            try {
                if (!consumer.poll(Duration.ofMillis(100)).isEmpty() && commits) consumer.commitSync(Duration.ofSeconds(5));
            } catch (CommitFailedException | RetriableException | FencedInstanceIdException e) {
                // a rebalance happened, or the broker is down: the next step retries
            }
        }

        @Override
        void release() {
            consumer.close();
        }
    }

    /** Produces a few records at a time to every partition of some topics. */
    static final class Traffic extends Worker {
        private final Producer<byte[], byte[]> producer;
        private final List<String> topics = new ArrayList<>();

        Traffic(String brokers, JsonNode c) {
            producer = Driver.producer(brokers, Map.of());
            c.path("topics").forEach(t -> topics.add(t.asText()));
        }

        @Override
        void turn() throws Exception {
            for (String topic : topics)
                for (var partition : producer.partitionsFor(topic))
                    producer.send(new ProducerRecord<>(topic, partition.partition(), null, new byte[] {'x'}));
            producer.flush();
            Thread.sleep(5);
        }

        @Override
        void release() {
            producer.close();
        }
    }

    /** Produces records to partition 0 of a topic at a fixed rate, each with the time at which it was sent. */
    static final class Paced extends Worker {
        private final Producer<byte[], byte[]> producer;
        private final String topic;
        private final long perSecond;
        private final long started = System.nanoTime();
        private long sent;

        Paced(String brokers, JsonNode c) {
            producer = Driver.producer(brokers, Map.of());
            topic = Driver.text(c, "topic");
            perSecond = c.path("per_second").asLong();
        }

        @Override
        void turn() throws Exception {
            for (long due = (System.nanoTime() - started) * perSecond / 1_000_000_000L; sent < due; sent++)
                producer.send(new ProducerRecord<>(topic, 0, System.currentTimeMillis(), null, new byte[] {'x'}));
            producer.flush();
            Thread.sleep(5);
        }

        @Override
        void release() {
            producer.close();
        }
    }

    /** A throttled consumer of partition 0 of a topic: it reads at most "per_second" records per second. */
    static final class HeldBack extends Worker {
        private final Consumer<byte[], byte[]> consumer;
        private final TopicPartition partition;
        private final double perSecond;
        private final long started = System.nanoTime();
        private long committed;

        HeldBack(String brokers, JsonNode c) {
            partition = new TopicPartition(Driver.text(c, "topic"), 0);
            perSecond = c.path("per_second").asDouble();
            consumer = Driver.consumer(brokers, Map.of("group.id", Driver.text(c, "group"), "max.poll.records", 5));
            consumer.assign(List.of(partition));
        }

        @Override
        void turn() throws Exception {
            if (consumer.position(partition) < (System.nanoTime() - started) / 1e9 * perSecond) consumer.poll(Duration.ofMillis(100));
            else Thread.sleep(20);
            long position = consumer.position(partition);
            if (position > committed) consumer.commitSync(Duration.ofSeconds(5));
            committed = position;
        }

        @Override
        void release() {
            consumer.close();
        }
    }

    private Workers() { }
}
