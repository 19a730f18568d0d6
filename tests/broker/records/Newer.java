import java.nio.file.Files;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.state.Stores;

/** Creates groups of Kafka 4.1: consumer groups, a group with both protocols, share and streams groups. */
public class Newer {
    public static void main(String[] args) throws Exception {
        Play.brokers = args[0];
        consumers();
        mixed();
        shares();
        streams();
        System.exit(0);
    }

    /** One member subscribes to names, another to a pattern; the first one leaves. */
    private static void consumers() {
        var names = Play.consumer("consumer", Map.of("group.protocol", "consumer", "client.rack", "rack-1", "group.instance.id", "i-1"));
        var pattern = Play.consumer("consumer", Map.of("group.protocol", "consumer", "client.id", "pattern", "group.remote.assignor", "range"));
        names.subscribe(Play.TOPICS);
        Play.until(() -> names.assignment().size() == 3, names);
        names.commitSync();
        pattern.subscribe(new SubscriptionPattern("orders|pay.*"));
        Play.until(() -> !pattern.assignment().isEmpty() && names.assignment().size() < 3, names, pattern);
        pattern.commitSync();
        pattern.unsubscribe();
        pattern.close();
        names.close();
    }

    /** A classic group that is upgraded while its member runs. */
    private static void mixed() {
        var older = Play.consumer("mixed", Map.of("client.id", "older"));
        var newer = Play.consumer("mixed", Map.of("client.id", "newer", "group.protocol", "consumer"));
        older.subscribe(List.of("orders"));
        Play.until(() -> older.assignment().size() == 2, older);
        newer.subscribe(List.of("orders"));
        Play.until(() -> older.assignment().size() == 1 && newer.assignment().size() == 1, older, newer);
        older.commitSync();
        newer.close();
        Play.until(() -> older.assignment().size() == 2, older);
        older.close();
    }

    private static void shares() {
        Map<String, Object> settings = Map.of("bootstrap.servers", Play.brokers, "group.id", "share", "client.id", "sharer");
        try (var one = new KafkaShareConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            one.subscribe(List.of("orders", "payments"));
            for (int turn = 0; turn < 60; turn++) one.poll(Duration.ofMillis(100));
        }
    }

    private static void streams() throws Exception {
        var builder = new StreamsBuilder();
        builder.stream(List.of("orders", "payments"), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
            .selectKey((key, value) -> "one", Named.as("select"))
            .repartition(Repartitioned.with(Serdes.String(), Serdes.ByteArray()).withName("again").withNumberOfPartitions(2))
            .groupByKey()
            .count(Materialized.<String, Long>as(Stores.inMemoryKeyValueStore("counts")));
        Properties settings = new Properties();
        settings.putAll(Map.of("bootstrap.servers", Play.brokers, "application.id", "streams", "group.protocol", "streams",
            "application.server", "streams.example:7070", "client.tag.zone", "a", "commit.interval.ms", 500,
            "state.dir", Files.createTempDirectory("streams").toString()));
        var streams = new KafkaStreams(builder.build(), settings);
        streams.start();
        long end = System.nanoTime() + 60_000_000_000L;
        while (streams.state() != KafkaStreams.State.RUNNING) {
            if (System.nanoTime() > end) throw new IllegalStateException("streams are " + streams.state());
            Thread.sleep(100);
        }
        Thread.sleep(3000); // until they commit
        streams.close(Duration.ofSeconds(20));
    }
}
