import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.*;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;

/** Prints records of __consumer_offsets as HEXKEY, tab, HEXVALUE: for every group, two of each kind of record. */
public class Dump {
    private static final int EACH = 2;

    public static void main(String[] args) {
        Play.brokers = args[0];
        Map<String, Integer> printed = new HashMap<>();
        try (var consumer = Play.consumer("dump", Map.of("isolation.level", "read_committed"))) {
            var partitions = consumer.partitionsFor("__consumer_offsets").stream()
                .map(p -> new TopicPartition(p.topic(), p.partition())).collect(Collectors.toList());
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            var ends = consumer.endOffsets(partitions);
            List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
            while (partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p)))
                for (var record : consumer.poll(Duration.ofMillis(200))) records.add(record);
            records.sort(Comparator.comparingInt((ConsumerRecord<byte[], byte[]> r) -> r.partition()).thenComparingLong(r -> r.offset()));
            for (var record : records)
                if (printed.merge(kind(record), 1, Integer::sum) <= EACH)
                    System.out.println(hex(record.key()) + "\t" + (record.value() == null ? "-" : hex(record.value())));
        }
    }

    /** Returns type, group, and version or deletion. */
    private static String kind(ConsumerRecord<byte[], byte[]> record) {
        var key = ByteBuffer.wrap(record.key());
        short type = key.getShort();
        byte[] group = new byte[key.getShort()];
        key.get(group);
        return type + " " + hex(group) + " " + (record.value() == null ? "-" : ByteBuffer.wrap(record.value()).getShort());
    }

    private static String hex(byte[] bytes) {
        var text = new StringBuilder();
        for (byte b : bytes) text.append(String.format("%02x", b));
        return text.toString();
    }
}
