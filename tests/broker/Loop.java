import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;

/** Reads the committed offsets of all groups with AdminClient, group by group. Prints counts and time as JSON. */
public class Loop {
    public static void main(String[] args) throws Exception {
        long groups = 0, offsets = 0;
        try (var admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
            admin.describeCluster().nodes().get(); // The connection is not measured.
            long start = System.nanoTime();
            for (var group : admin.listConsumerGroups().all().get()) {
                offsets += admin.listConsumerGroupOffsets(group.groupId()).partitionsToOffsetAndMetadata().get().size();
                groups++;
            }
            double seconds = (System.nanoTime() - start) / 1e9;
            System.out.println(new ObjectMapper().writeValueAsString(Map.of("groups", groups, "offsets", offsets, "seconds", seconds)));
        }
    }
}
