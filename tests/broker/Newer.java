import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.Consumer;

/** Clients that some releases lack. Implemented by since-4.0/Since4.java, compiled for releases that have them. */
abstract class Newer {
    static Newer instance() {
        try {
            return (Newer) Class.forName("Since4").getDeclaredConstructor().newInstance();
        } catch (ReflectiveOperationException e) {
            throw new UnsupportedOperationException("this Kafka release has no such client", e);
        }
    }

    static boolean isThere() {
        return Newer.class.getClassLoader().getResource("Since4.class") != null;
    }

    /** KIP-848: the broker evaluates the regular expression. */
    abstract void subscribe(Consumer<byte[], byte[]> consumer, String regex);

    /** A share consumer that accepts whatever it polls. */
    abstract Worker share(String brokers, JsonNode c);

    /** A stateless Kafka Streams application that reads "topics", by the streams protocol. */
    abstract Worker streams(String brokers, JsonNode c);

    /** Returns share and streams groups, in the form of State. */
    abstract List<Object> groups(Admin admin, int logPartitions) throws Exception;

    abstract Integer epoch(MemberDescription member);
}
