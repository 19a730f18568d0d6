import com.fasterxml.jackson.databind.JsonNode;
import java.io.*;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.protocol.Errors;

/**
 * An OffsetCommit request over a plain socket, for offsets that Kafka's own clients refuse to send, such as -1.
 * Version 2 is the oldest version that every release in ./versions supports. `__consumer_offsets` must exist.
 */
final class RawCommit {
    private static final short API_KEY = 8, VERSION = 2;
    private static final int ATTEMPTS = 300, PAUSE_MS = 100;

    private RawCommit() {}

    /** Sends {"group", "offsets": [{topic, partition, offset, metadata?}]}, with one request per offset. */
    static void send(Collection<Node> brokers, JsonNode command) throws Exception {
        for (JsonNode o : command.path("offsets")) {
            byte[] request = request(Driver.text(command, "group"), o);
            Errors error = Errors.COORDINATOR_NOT_AVAILABLE;
            for (int attempt = 0; attempt < ATTEMPTS && isTransient(error); attempt++) {
                if (attempt > 0) Thread.sleep(PAUSE_MS);
                error = sendToCoordinator(brokers, request);
            }
            if (error != Errors.NONE) throw error.exception();
        }
    }

    /** Sends the request to one broker after another until one accepts it as the coordinator. */
    private static Errors sendToCoordinator(Collection<Node> brokers, byte[] request) throws IOException {
        Errors error = Errors.COORDINATOR_NOT_AVAILABLE;
        for (Node broker : brokers) {
            error = exchange(broker, request);
            if (!isTransient(error)) break;
        }
        return error;
    }

    private static boolean isTransient(Errors error) {
        return error == Errors.COORDINATOR_LOAD_IN_PROGRESS || error == Errors.COORDINATOR_NOT_AVAILABLE || error == Errors.NOT_COORDINATOR;
    }

    private static byte[] request(String group, JsonNode o) throws IOException {
        var bytes = new ByteArrayOutputStream();
        var out = new DataOutputStream(bytes);
        out.writeShort(API_KEY);
        out.writeShort(VERSION);
        out.writeInt(1); // correlation id
        string(out, "raw");
        string(out, group);
        out.writeInt(-1); // generation: no member
        string(out, ""); // member id
        out.writeLong(-1); // retention
        out.writeInt(1); // topics
        string(out, Driver.text(o, "topic"));
        out.writeInt(1); // partitions
        out.writeInt(o.path("partition").asInt());
        out.writeLong(o.path("offset").asLong());
        string(out, o.path("metadata").asText(""));
        return bytes.toByteArray();
    }

    private static Errors exchange(Node broker, byte[] request) throws IOException {
        try (var socket = new Socket(broker.host(), broker.port())) {
            socket.setSoTimeout(30_000);
            var out = new DataOutputStream(socket.getOutputStream());
            out.writeInt(request.length);
            out.write(request);
            out.flush();
            var in = new DataInputStream(socket.getInputStream());
            in.readInt(); // size
            in.readInt(); // correlation id
            in.readInt(); // topics
            in.skipNBytes(in.readShort());
            in.readInt(); // partitions
            in.readInt(); // partition
            return Errors.forCode(in.readShort());
        }
    }

    private static void string(DataOutputStream out, String text) throws IOException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        out.writeShort(bytes.length);
        out.write(bytes);
    }
}
