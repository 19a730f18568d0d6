/** Background work on a thread of its own, until it is closed. */
abstract class Worker extends Thread {
    private volatile boolean stopping;
    private volatile Exception failure;

    /** Runs one step, which takes well under a second. */
    abstract void turn() throws Exception;

    /** Closes the client, on the thread that used it. */
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

    /** Ends the work; throws the exception of a failed step. */
    void close() throws Exception {
        stopping = true;
        join();
        if (failure != null) throw failure;
    }
}
