// The smallest job on Flink's MiniCluster, which says when it saw its first tuple. See ../main.rs.

import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;

public class First {
    public static void main(String[] args) throws Exception {
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment();
        env.setParallelism(1);
        env.disableOperatorChaining();
        env.fromSequence(0, Long.MAX_VALUE).map(First::text).returns(String.class).sinkTo(new DiscardingSink<>());
        env.execute();
    }

    /** Says that it is the first, and takes no other for a day. On Linux `nanoTime` is the monotonic clock. */
    static String text(long n) throws InterruptedException {
        System.out.println("first " + System.nanoTime());
        System.out.flush();
        Thread.sleep(24L * 3600 * 1000);
        return Long.toString(n);
    }
}
