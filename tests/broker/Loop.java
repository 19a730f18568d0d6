import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;

/** What is committed by every group, asked for by AdminClient, one group after the other. Prints what that took, as JSON. */
public class Loop {
    public static void main(String[] args) throws Exception {
        long groups = 0, offsets = 0;
        try (var admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
            admin.describeCluster().nodes().get(); // Connecting is not part of it.
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
