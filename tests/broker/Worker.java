/** Work that goes on beside the commands, on a thread of its own, until it is closed. */
abstract class Worker extends Thread {
    private volatile boolean stopping;
    private volatile Exception failure;

    /** One turn, well under a second. */
    abstract void turn() throws Exception;

    /** Lets go of the client, on the thread that used it. */
    abstract void release();

    @Override
    public void run() {
        try {
            while (!stopping) turn();
        } catch (Exception e) {
            failure = e;
        } finally {
            release();
        }
    }

    /** Ends the work; what went wrong meanwhile is thrown here. */
    void close() throws Exception {
        stopping = true;
        join();
        if (failure != null) throw failure;
    }
}
