import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZKUtil;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.server.auth.DigestAuthenticationProvider;

/** Writes znodes: a command per line of standard input, with arguments separated by tabs, and "ok" or the error for each. */
public final class Zk {
    private static final int IN_FLIGHT = 500;
    private static ZooKeeper client;

    public static void main(String[] args) throws Exception {
        // Requests that are sent before the first connection may fail.
        CountDownLatch connected = new CountDownLatch(1);
        client = new ZooKeeper(args[0], 30_000, event -> {
            if (event.getState() == KeeperState.SyncConnected) {
                connected.countDown();
            }
        });
        if (!connected.await(60, TimeUnit.SECONDS)) {
            throw new IllegalStateException("no connection to " + args[0]);
        }
        if (args.length > 1) {
            client.addAuthInfo("digest", args[1].getBytes(StandardCharsets.UTF_8));
        }
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            try {
                run(line.split("\t", -1));
                System.out.println("ok");
            } catch (KeeperException | IllegalArgumentException error) {
                System.out.println(error.toString().replace('\n', ' '));
            }
        }
        client.close();
    }

    private static void run(String[] words) throws Exception {
        switch (words[0]) {
            case "set" -> set(words[1], words[2].getBytes(StandardCharsets.UTF_8), CreateMode.PERSISTENT);
            case "ephemeral" -> set(words[1], words[2].getBytes(StandardCharsets.UTF_8), CreateMode.EPHEMERAL);
            case "bytes" -> set(words[1], new byte[Integer.parseInt(words[2])], CreateMode.PERSISTENT);
            case "delete" -> ZKUtil.deleteRecursive(client, words[1]);
            case "only" -> client.setACL(words[1], only(words[2]), -1);
            case "fill" -> fill(words);
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    /** Writes a znode, and creates it and its parents if they are missing. */
    private static void set(String path, byte[] data, CreateMode mode) throws Exception {
        try {
            client.setData(path, data, -1);
        } catch (KeeperException.NoNodeException missing) {
            for (int at = path.indexOf('/', 1); at > 0; at = path.indexOf('/', at + 1)) {
                try {
                    client.create(path.substring(0, at), new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
                } catch (KeeperException.NodeExistsException exists) {
                    continue;
                }
            }
            client.create(path, data, Ids.OPEN_ACL_UNSAFE, mode);
        }
    }

    /** Returns the ACL that permits everything to one user, given as USER:PASSWORD. */
    private static List<ACL> only(String login) throws Exception {
        ACL acl = new ACL(Perms.ALL, new Id("digest", DigestAuthenticationProvider.generateDigest(login)));
        // The client looks for null in the list, which an immutable list does not allow.
        return new ArrayList<>(List.of(acl));
    }

    /** fill ROOT GROUPS TOPICS PARTITIONS OFFSET: writes many offsets in the layout of the high-level consumers. */
    private static void fill(String[] words) throws Exception {
        int[] counts = {Integer.parseInt(words[2]), Integer.parseInt(words[3]), Integer.parseInt(words[4])};
        byte[] data = words[5].getBytes(StandardCharsets.UTF_8);
        List<String> paths = new ArrayList<>();
        for (int group = 0; group < counts[0]; group++) {
            for (int topic = 0; topic < counts[1]; topic++) {
                String folder = words[1] + "/g" + group + "/offsets/topic-" + topic;
                set(folder, new byte[0], CreateMode.PERSISTENT);
                for (int partition = 0; partition < counts[2]; partition++) {
                    paths.add(folder + "/" + partition);
                }
            }
        }
        Semaphore free = new Semaphore(IN_FLIGHT);
        AtomicReference<Code> failed = new AtomicReference<>(Code.OK);
        for (String path : paths) {
            free.acquire();
            client.create(path, data, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, (code, at, context, name) -> {
                if (code == Code.NODEEXISTS.intValue()) {
                    client.setData(path, data, -1, (again, where, what, stat) -> done(again, failed, free), null);
                } else {
                    done(code, failed, free);
                }
            }, null);
        }
        free.acquire(IN_FLIGHT);
        if (failed.get() != Code.OK) {
            throw KeeperException.create(failed.get());
        }
    }

    private static void done(int code, AtomicReference<Code> failed, Semaphore free) {
        if (code != Code.OK.intValue()) {
            failed.set(Code.get(code));
        }
        free.release();
    }
}
