import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.resource.*;
import org.apache.kafka.common.serialization.*;

/**
 * Real Kafka clients, controlled by a test: one JSON command per line on stdin ({"do": NAME, ...}), one answer per line
 * on stdout, errors as {"error": TEXT}. Exits at the end of its input. Compiles against every version in ./versions.
 */
public class Driver {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final String brokers;
    private final Admin admin;
    private final Transactions transactional;
    private final Map<String, Worker> workers = new HashMap<>();
    private final Map<String, Producer<byte[], byte[]>> transactions = new HashMap<>();

    private Driver(String brokers) {
        this.brokers = brokers;
        admin = Admin.create(Map.of("bootstrap.servers", brokers, "client.id", "driver"));
        transactional = new Transactions(brokers, admin);
    }

    public static void main(String[] args) throws IOException {
        var answers = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        var commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var driver = new Driver(args[0]);
        for (String line; (line = commands.readLine()) != null; ) answers.println(driver.answer(line));
        System.exit(0); // running consumers must not keep the process alive
    }

    private String answer(String line) throws IOException {
        try {
            return JSON.writeValueAsString(run(JSON.readTree(line)));
        } catch (Exception e) {
            var causes = new StringJoiner(", by ");
            for (Throwable t = e instanceof ExecutionException ? e.getCause() : e; t != null; t = t.getCause()) causes.add(t.toString());
            return JSON.writeValueAsString(Map.of("error", causes.toString()));
        }
    }

    private Object run(JsonNode c) throws Exception {
        String what = c.path("do").asText();
        switch (what) {
            case "state": return new State(admin, c.path("log_partitions").asInt()).read();
            case "leaders":
                return Map.of("leaders", admin.describeTopics(List.of(text(c, "topic"))).allTopicNames().get().get(text(c, "topic"))
                    .partitions().stream().map(p -> p.leader() == null ? -1 : p.leader().id()).toList());
            case "committed":
                return Map.of("offsets", State.offsets(admin.listConsumerGroupOffsets(text(c, "group")).partitionsToOffsetAndMetadata().get()));
            case "create":
                admin.createTopics(List.of(new NewTopic(text(c, "topic"), c.path("partitions").asInt(), (short) c.path("replicas").asInt(1)))).all().get();
                await(text(c, "topic"), true);
                break;
            case "delete":
                admin.deleteTopics(List.of(text(c, "topic"))).all().get();
                await(text(c, "topic"), false);
                break;
            case "grow":
                admin.createPartitions(Map.of(text(c, "topic"), NewPartitions.increaseTo(c.path("partitions").asInt()))).all().get();
                break;
            case "produce": produce(text(c, "topic"), c.path("records").asInt()); break;
            case "produce_transaction": produceTransaction(text(c, "topic"), c.path("partition").asInt(), c.path("records").asInt()); break;
            case "append": append(c); break;
            case "deny_describe": admin.createAcls(List.of(denyDescribe(text(c, "topic")))).all().get(); break;
            case "allow_describe": admin.deleteAcls(List.of(denyDescribe(text(c, "topic")).toFilter())).all().get(); break;
            case "grant": admin.createAcls(List.of(right(c))).all().get(); break;
            case "revoke": admin.deleteAcls(List.of(right(c).toFilter())).all().get(); break;
            case "delete_records":
                admin.deleteRecords(Map.of(partition(c), RecordsToDelete.beforeOffset(c.path("before").asLong()))).all().get();
                break;
            case "consume": start(c, new Workers.Consume(brokers, c)); break;
            case "share": start(c, Newer.instance().share(brokers, c)); break;
            case "streams": start(c, Newer.instance().streams(brokers, c)); break;
            case "traffic": start(c, new Workers.Traffic(brokers, c)); break;
            case "paced": start(c, new Workers.Paced(brokers, c)); break;
            case "held_back": start(c, new Workers.HeldBack(brokers, c)); break;
            case "timestamps": return Map.of("timestamps", timestamps(text(c, "topic")));
            case "stop": workers.remove(text(c, "name")).close(); break;
            case "commit": commit(text(c, "group"), offsets(c)); break;
            case "alter": admin.alterConsumerGroupOffsets(text(c, "group"), offsets(c)).all().get(); break;
            case "raw_commit": RawCommit.send(admin.describeCluster().nodes().get(), c); break;
            case "delete_offsets": admin.deleteConsumerGroupOffsets(text(c, "group"), offsets(c).keySet()).all().get(); break;
            case "delete_group": admin.deleteConsumerGroups(List.of(text(c, "group"))).all().get(); break;
            case "begin": begin(text(c, "name"), text(c, "group"), offsets(c)); break;
            case "end": end(text(c, "name"), c.path("commit").asBoolean()); break;
            case "transaction": return transactional.run(c);
            case "commits": start(c, new Transactions.Commits(brokers, c)); break;
            default: throw new IllegalArgumentException("unknown command " + what);
        }
        return Map.of();
    }

    private void start(JsonNode c, Worker worker) {
        if (workers.putIfAbsent(text(c, "name"), worker) != null) throw new IllegalArgumentException("running already: " + text(c, "name"));
        worker.start();
    }

    /** Waits until the broker knows the topic, because the controller answers earlier. */
    private void await(String topic, boolean there) throws Exception {
        while (admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get().contains(topic) != there) Thread.sleep(20);
    }

    /** Produces the same number of records to every partition of the topic. */
    private void produce(String topic, int records) throws Exception {
        int partitions = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
        try (var producer = producer(brokers, Map.of())) {
            for (int p = 0; p < partitions; p++)
                for (int r = 0; r < records; r++) producer.send(new ProducerRecord<>(topic, p, null, new byte[] {'x'}));
        }
    }

    /** Produces records to a partition in one committed transaction, so that a marker follows them. */
    private void produceTransaction(String topic, int partition, int records) {
        try (var producer = producer(brokers, Map.of("transactional.id", "produces " + topic))) {
            producer.initTransactions();
            producer.beginTransaction();
            for (int r = 0; r < records; r++) producer.send(new ProducerRecord<>(topic, partition, null, new byte[] {'x'}));
            producer.commitTransaction();
        }
    }

    /** Returns the timestamps of all records in partition 0 of a topic. */
    private List<Long> timestamps(String topic) {
        var partition = new TopicPartition(topic, 0);
        List<Long> all = new ArrayList<>();
        try (var consumer = consumer(brokers, Map.of())) {
            consumer.assign(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            while (consumer.position(partition) < end) consumer.poll(Duration.ofMillis(100)).forEach(r -> all.add(r.timestamp()));
        }
        return all;
    }

    /** Commits like a consumer that assigns its partitions itself. */
    private void commit(String group, Map<TopicPartition, OffsetAndMetadata> offsets) {
        try (var consumer = consumer(brokers, Map.of("group.id", group))) {
            consumer.assign(offsets.keySet());
            consumer.commitSync(offsets);
        }
    }

    /**
     * Appends commits to the log without the coordinator, which sees them only when it loads the log again:
     * for "partitions" of a topic, in "rounds" rounds with increasing offsets, "age_ms" milliseconds old.
     */
    private void append(JsonNode c) throws Exception {
        String group = text(c, "group"), log = "__consumer_offsets";
        int logPartitions = admin.describeTopics(List.of(log)).allTopicNames().get().get(log).partitions().size();
        int logPartition = Math.abs(group.hashCode()) % logPartitions;
        // Brokers accept writes to internal topics only with this client id. Idempotence would add a producer id.
        try (var producer = producer(brokers, Map.of("client.id", "__admin_client", "enable.idempotence", false))) {
            Future<RecordMetadata> last = null;
            for (int round = 0; round < c.path("rounds").asInt(1); round++)
                for (int p = 0; p < c.path("partitions").asInt(1); p++) {
                    byte[] value = commitValue(c.path("offset").asLong() + round, c.path("age_ms").asLong());
                    last = producer.send(new ProducerRecord<>(log, logPartition, commitKey(group, text(c, "topic"), p), value));
                }
            if (last != null) last.get();
        }
    }

    /** Encodes OffsetCommitKey, version 1. */
    private static byte[] commitKey(String group, String topic, int partition) throws IOException {
        var bytes = new ByteArrayOutputStream();
        var out = new DataOutputStream(bytes);
        out.writeShort(1);
        out.writeUTF(group);
        out.writeUTF(topic);
        out.writeInt(partition);
        return bytes.toByteArray();
    }

    /** Encodes OffsetCommitValue, version 3. */
    private static byte[] commitValue(long offset, long age) throws IOException {
        var bytes = new ByteArrayOutputStream();
        var out = new DataOutputStream(bytes);
        out.writeShort(3);
        out.writeLong(offset);
        out.writeInt(-1); // leader epoch
        out.writeUTF(""); // metadata
        out.writeLong(System.currentTimeMillis() - age);
        return bytes.toByteArray();
    }

    private static AclBinding denyDescribe(String topic) {
        return new AclBinding(new ResourcePattern(ResourceType.TOPIC, topic, PatternType.LITERAL),
            new AccessControlEntry("User:ANONYMOUS", "*", AclOperation.DESCRIBE, AclPermissionType.DENY));
    }

    /** Returns the ACL that allows {user, operation, resource, name}. */
    private static AclBinding right(JsonNode c) {
        return new AclBinding(new ResourcePattern(ResourceType.fromString(text(c, "resource")), text(c, "name"), PatternType.LITERAL),
            new AccessControlEntry("User:" + text(c, "user"), "*", AclOperation.fromString(text(c, "operation")), AclPermissionType.ALLOW));
    }

    private void begin(String name, String group, Map<TopicPartition, OffsetAndMetadata> offsets) {
        // Longer than any test keeps the transaction open.
        var producer = producer(brokers, Map.of("transactional.id", name, "transaction.timeout.ms", 600_000));
        transactions.put(name, producer);
        producer.initTransactions();
        producer.beginTransaction();
        producer.sendOffsetsToTransaction(offsets, new ConsumerGroupMetadata(group));
        producer.flush();
    }

    private void end(String name, boolean commit) {
        try (var producer = transactions.remove(name)) {
            if (commit) producer.commitTransaction();
            else producer.abortTransaction();
        }
    }

    static Producer<byte[], byte[]> producer(String brokers, Map<String, Object> more) {
        Map<String, Object> settings = new HashMap<>(more);
        settings.put("bootstrap.servers", brokers);
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static Consumer<byte[], byte[]> consumer(String brokers, Map<String, Object> more) {
        Map<String, Object> settings = new HashMap<>(more);
        settings.put("bootstrap.servers", brokers);
        settings.put("enable.auto.commit", false);
        settings.put("auto.offset.reset", "earliest");
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static String text(JsonNode c, String field) {
        if (!c.path(field).isTextual()) throw new IllegalArgumentException("no text in " + field + ": " + c);
        return c.get(field).asText();
    }

    private static TopicPartition partition(JsonNode c) {
        return new TopicPartition(text(c, "topic"), c.path("partition").asInt());
    }

    /** Parses "offsets": [{topic, partition, offset, metadata?, leader_epoch?}]. */
    static Map<TopicPartition, OffsetAndMetadata> offsets(JsonNode c) {
        Map<TopicPartition, OffsetAndMetadata> all = new HashMap<>();
        for (JsonNode o : c.path("offsets")) {
            Optional<Integer> epoch = o.has("leader_epoch") ? Optional.of(o.get("leader_epoch").asInt()) : Optional.empty();
            all.put(partition(o), new OffsetAndMetadata(o.path("offset").asLong(), epoch, o.path("metadata").asText("")));
        }
        return all;
    }
}
