import java.io.IOException;

/** Kafka's own main, ended when standard input closes: so a broker never outlives the test that started it. */
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
            // as good as the end of the stream
        }
        System.exit(0); // runs Kafka's shutdown hook
    }
}
