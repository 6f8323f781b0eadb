// How late Flink's windows tell of their counts, at a fixed rate; told on standard input when to run. See ../main.rs.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.LockSupport;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.legacy.SinkFunction;
import org.apache.flink.streaming.api.functions.source.legacy.SourceFunction;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.Schema;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;

public class WindowLatency {
    static final PrintStream SAYS = System.out;
    /** Results by how late they are, in 10 us; the last for all that are later. */
    static final int SLOTS = 6_000_000;
    static int[] late;
    static long latest;
    static long results;
    static long begun;
    static long warmMs;
    static final ConcurrentHashMap<Long, LongAdder> COUNTED = new ConcurrentHashMap<>();

    static class Due implements SourceFunction<Row> {
        final long events;
        final long rate;
        final long keys;

        Due(long events, long rate, long keys) {
            this.events = events;
            this.rate = rate;
            this.keys = keys;
        }

        @Override
        public void run(SourceContext<Row> out) {
            begun = System.nanoTime();
            long marked = 0;
            for (long next = 0; next < events;) {
                long due = Math.min(events, (System.nanoTime() - begun) * rate / 1_000_000_000L + 1);
                long ms = 0;
                synchronized (out.getCheckpointLock()) {
                    for (; next < due; next++) {
                        long mixed = (next * 0x9e3779b97f4a7c15L) >>> 20;
                        ms = next * 1000 / rate;
                        out.collectWithTimestamp(Row.of(mixed % keys, ms), ms);
                    }
                    // Nothing below this comes any more.
                    if (ms > marked) {
                        marked = ms;
                        out.emitWatermark(new Watermark(ms - 1));
                    }
                }
                LockSupport.parkNanos(200_000);
            }
        }

        @Override
        public void cancel() {
        }
    }

    static class Told implements SinkFunction<Row> {
        @Override
        public void invoke(Row row, Context context) {
            long end = ((java.time.LocalDateTime) row.getField(0)).toInstant(java.time.ZoneOffset.UTC).toEpochMilli();
            COUNTED.computeIfAbsent(end, unused -> new LongAdder()).add((Long) row.getField(2));
            long ns = System.nanoTime() - begun - end * 1_000_000L;
            if (end >= warmMs && ns >= 0) {
                synchronized (COUNTED) {
                    late[(int) Math.min(SLOTS - 1, ns / 10_000)]++;
                    latest = Math.max(latest, ns);
                    results++;
                }
            }
        }
    }

    static double percentile(double p) {
        long rank = (long) Math.ceil(results * p / 100);
        long seen = 0;
        for (int i = 0; i < SLOTS; i++) {
            seen += late[i];
            if (seen >= rank) {
                return i == SLOTS - 1 ? latest / 1e6 : (i + 1) / 100.0;
            }
        }
        return 0;
    }

    static String run(int workers, long seconds, long rate, long keys, long size, long slide) throws Exception {
        late = new int[SLOTS];
        latest = 0;
        results = 0;
        warmMs = seconds * 100;
        COUNTED.clear();
        Configuration settings = new Configuration();
        settings.setString("taskmanager.memory.network.max", "256m");
        settings.setString("execution.buffer-timeout.interval", "1 ms");
        settings.setString("pipeline.auto-watermark-interval", "1 ms");
        settings.setString("pipeline.object-reuse", "true");
        settings.setString("table.local-time-zone", "UTC");
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(settings);
        env.setParallelism(workers);
        StreamTableEnvironment tables = StreamTableEnvironment.create(env);
        DataStream<Row> events = env.addSource(new Due(seconds * rate, rate, keys), "events")
            .returns(Types.ROW_NAMED(new String[] {"k", "ms"}, Types.LONG, Types.LONG));
        tables.createTemporaryView("events", tables.fromDataStream(events, Schema.newBuilder()
            .column("k", DataTypes.BIGINT()).column("ms", DataTypes.BIGINT())
            .columnByMetadata("at", DataTypes.TIMESTAMP_LTZ(3), "rowtime").watermark("at", "SOURCE_WATERMARK()").build()));
        String interval = "INTERVAL '%d.%03d' SECOND(4, 3)";
        DataStream<Row> counts = tables.toDataStream(tables.sqlQuery(
            "SELECT CAST(window_end AS TIMESTAMP(3)), k, COUNT(*) FROM TABLE(HOP(TABLE events, DESCRIPTOR(`at`), "
                + String.format(interval, slide / 1000, slide % 1000) + ", "
                + String.format(interval, size / 1000, size % 1000) + ")) GROUP BY window_start, window_end, k"));
        counts.addSink(new Told());
        long cpu = cpuNanos();
        env.execute();
        double used = (cpuNanos() - cpu) / 1e9;
        for (long end = slide; end < seconds * 1000; end += slide) {
            long due = until(end, rate) - until(end - size, rate);
            LongAdder counted = COUNTED.get(end);
            if (counted == null || counted.sum() != due) {
                return "failed the window that ends at " + end + " ms counted " + counted + " of " + due;
            }
        }
        return "done " + percentile(50) + " " + percentile(99) + " " + percentile(99.9) + " " + percentile(99.99) + " "
            + latest / 1e6 + " " + results + " " + used;
    }

    /** How many events have an event time below this. */
    static long until(long ms, long rate) {
        return ms <= 0 ? 0 : (ms * rate + 999) / 1000;
    }

    static long cpuNanos() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
            .getProcessCpuTime();
    }

    public static void main(String[] args) throws Exception {
        System.setOut(System.err);
        SAYS.println("ready Flink " + org.apache.flink.runtime.util.EnvironmentInformation.getVersion());
        BufferedReader told = new BufferedReader(new InputStreamReader(System.in));
        for (String line = told.readLine(); line != null; line = told.readLine()) {
            String[] words = line.split(" ");
            try {
                long[] n = java.util.Arrays.stream(words).skip(1).mapToLong(Long::parseLong).toArray();
                SAYS.println(run(Integer.parseInt(args[1]), n[0], n[1], n[2], n[3], n[4]));
            } catch (Throwable why) {
                why.printStackTrace();
                SAYS.println("failed " + why.toString().replace('\n', ' '));
            }
        }
        System.exit(0);
    }
}
