import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.errors.*;

final class Workers {
    /** A consumer that commits after every poll that brought records. */
    static final class Consume extends Worker {
        private final Consumer<byte[], byte[]> consumer;

        Consume(String brokers, JsonNode c) {
            Map<String, Object> settings = new HashMap<>();
            settings.put("group.id", Driver.text(c, "group"));
            settings.put("client.id", Driver.text(c, "name"));
            if (c.has("instance_id")) settings.put("group.instance.id", Driver.text(c, "instance_id"));
            if (c.path("protocol").asText("classic").equals("consumer")) {
                settings.put("group.protocol", "consumer");
                // Said aloud, since the broker's default is not in the log.
                settings.put("group.remote.assignor", c.path("assignor").asText("uniform"));
            }
            else settings.put("partition.assignment.strategy", assignor(c.path("assignor").asText("range")));
            consumer = Driver.consumer(brokers, settings);
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
                if (!consumer.poll(Duration.ofMillis(100)).isEmpty()) consumer.commitSync(Duration.ofSeconds(5));
            } catch (CommitFailedException | RetriableException | FencedInstanceIdException e) {
                // a rebalance came between, or the broker is away: the next turn tries again
            }
        }

        @Override
        void release() {
            consumer.close();
        }
    }

    /** Records to every partition of some topics, a few at a time. */
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

    private Workers() { }
}
