import java.io.IOException;

/** Runs Kafka's own main, and exits when standard input closes, so that a broker never outlives its test. */
public class Broker {
    public static void main(String[] args) {
        Thread watcher = new Thread(Broker::exitWithParent, "exit-with-parent");
        watcher.setDaemon(true);
        watcher.start();
        kafka.Kafka.main(args);
    }

    private static void exitWithParent() {
        try {
            while (System.in.read() >= 0) { }
        } catch (IOException closed) {
            // treated as the end of the stream
        }
        System.exit(0); // runs Kafka's shutdown hook
    }
}
