// Words counted on Flink: one file, told on standard input when to run. See ../../../src/bench/peer.rs.
//
// Counts are told of once, when the file has ended: that is the least there is to do. State is on the heap, objects are
// used again, and nothing is checkpointed.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.TextLineInputFormat;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.util.CloseableIterator;
import org.apache.flink.util.Collector;

public class WordCount {
    static final PrintStream SAYS = System.out;

    /** How many times a word came, told at the end of time. */
    static class Count extends KeyedProcessFunction<String, String, Tuple2<String, Long>> {
        transient ValueState<Long> counts;

        @Override
        public void open(OpenContext context) {
            counts = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.LONG));
        }

        @Override
        public void processElement(String word, Context context, Collector<Tuple2<String, Long>> out) throws Exception {
            Long count = counts.value();
            if (count == null) {
                context.timerService().registerEventTimeTimer(Long.MAX_VALUE - 1);
                count = 0L;
            }
            counts.update(count + 1);
        }

        @Override
        public void onTimer(long at, OnTimerContext context, Collector<Tuple2<String, Long>> out) throws Exception {
            out.collect(Tuple2.of(context.getCurrentKey(), counts.value()));
        }
    }

    static StreamExecutionEnvironment open(int workers) {
        Configuration settings = new Configuration();
        settings.setString("taskmanager.memory.network.max", "256m");
        settings.setString("taskmanager.numberOfTaskSlots", Integer.toString(workers));
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(settings);
        env.setParallelism(workers);
        env.getConfig().enableObjectReuse();
        return env;
    }

    static DataStream<Tuple2<String, Long>> counts(StreamExecutionEnvironment env, String file) {
        FileSource<String> lines =
            FileSource.forRecordStreamFormat(new TextLineInputFormat(), new org.apache.flink.core.fs.Path(file)).build();
        return env.fromSource(lines, WatermarkStrategy.noWatermarks(), "lines")
            .flatMap((FlatMapFunction<String, String>) (line, out) -> {
                int at = 0;
                while (at < line.length()) {
                    int end = line.indexOf(' ', at);
                    end = end < 0 ? line.length() : end;
                    if (end > at) {
                        out.collect(line.substring(at, end));
                    }
                    at = end + 1;
                }
            }).returns(Types.STRING)
            .keyBy(word -> word, Types.STRING)
            .process(new Count()).returns(Types.TUPLE(Types.STRING, Types.LONG));
    }

    static long cpuNanos() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
            .getProcessCpuTime();
    }

    /** Seconds the job took once the cluster was there, and seconds of CPU altogether. */
    static double[] run(int workers, String file) throws Exception {
        long cpu = cpuNanos();
        StreamExecutionEnvironment env = open(workers);
        counts(env, file).sinkTo(new DiscardingSink<>());
        long ms = env.execute().getNetRuntime();
        return new double[] {ms / 1e3, (cpuNanos() - cpu) / 1e9};
    }

    static void check(int workers, String file, String result) throws Exception {
        StreamExecutionEnvironment env = open(workers);
        try (CloseableIterator<Tuple2<String, Long>> rows = counts(env, file).executeAndCollect();
            PrintWriter out = new PrintWriter(result)) {
            while (rows.hasNext()) {
                Tuple2<String, Long> row = rows.next();
                out.println(row.f0 + "|" + row.f1);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        System.setOut(System.err);
        int workers = Integer.parseInt(args[1]);
        // What a job costs that does nothing: its cluster is started and stopped with it.
        Path nothing = Files.createTempFile("words", ".txt");
        Files.writeString(nothing, "nothing\n");
        double wall = Double.MAX_VALUE;
        double cpu = Double.MAX_VALUE;
        for (int i = 0; i < 4; i++) {
            double[] took = run(workers, nothing.toString());
            wall = Math.min(wall, took[0]);
            cpu = Math.min(cpu, took[1]);
        }
        SAYS.println("ready Flink " + org.apache.flink.runtime.util.EnvironmentInformation.getVersion());
        BufferedReader told = new BufferedReader(new InputStreamReader(System.in));
        for (String line = told.readLine(); line != null; line = told.readLine()) {
            String[] words = line.split(" ");
            try {
                if (words[0].equals("check")) {
                    check(workers, args[0], words[2]);
                    SAYS.println("done");
                } else {
                    double[] took = run(workers, args[0]);
                    SAYS.println("done " + Math.max(took[0] - wall, 0.001) + " " + Math.max(took[1] - cpu, 0.001) + " 0");
                }
            } catch (Throwable why) {
                why.printStackTrace();
                SAYS.println("failed " + why.toString().replace('\n', ' '));
            }
        }
        System.exit(0);
    }
}
