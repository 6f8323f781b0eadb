// Nexmark's queries on Flink: SQL over one file, told query after query on standard input. See ../../../src/bench/peer.rs.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.lang.management.ManagementFactory;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.TableDescriptor;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.types.Row;
import org.apache.flink.types.RowKind;
import org.apache.flink.util.CloseableIterator;

public class Nexmark {
    static final PrintStream SAYS = System.out;

    static TableEnvironment open(String file, String workers) {
        TableEnvironment env = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
        Map<String, String> settings = Map.of(
            "table.local-time-zone", "UTC",
            "parallelism.default", workers,
            "table.exec.mini-batch.enabled", "true",
            "table.exec.mini-batch.allow-latency", "2 s",
            "table.exec.mini-batch.size", "50000",
            "table.optimizer.distinct-agg.split.enabled", "true",
            "taskmanager.memory.network.max", "256m",
            "taskmanager.numberOfTaskSlots", workers);
        settings.forEach((key, value) -> env.getConfig().set(key, value));
        env.executeSql(
            "CREATE TABLE events (kind INT, `at` BIGINT, n1 BIGINT, n2 BIGINT, n3 BIGINT, n4 BIGINT, n5 BIGINT, n6 BIGINT,"
                + " s1 STRING, s2 STRING, s3 STRING, s4 STRING, s5 STRING, s6 STRING,"
                + " `dateTime` AS CAST(TO_TIMESTAMP_LTZ(`at`, 3) AS TIMESTAMP(3)), WATERMARK FOR `dateTime` AS `dateTime`)"
                + " WITH ('connector' = 'filesystem', 'path' = '" + file + "', 'format' = 'csv',"
                + " 'csv.field-delimiter' = '|', 'csv.disable-quote-character' = 'true')");
        env.executeSql("CREATE VIEW person AS SELECT n1 AS id, s1 AS name, s2 AS emailAddress, s3 AS creditCard,"
            + " s4 AS city, s5 AS state, `dateTime`, s6 AS extra FROM events WHERE kind = 0");
        env.executeSql("CREATE VIEW auction AS SELECT n1 AS id, s1 AS itemName, s2 AS description, n4 AS initialBid,"
            + " n5 AS reserve, `dateTime`, CAST(TO_TIMESTAMP_LTZ(n6, 3) AS TIMESTAMP(3)) AS expires, n2 AS seller,"
            + " n3 AS category, s3 AS extra FROM events WHERE kind = 1");
        env.executeSql("CREATE VIEW bid AS SELECT n1 AS auction, n2 AS bidder, n3 AS price, s1 AS channel, s2 AS url,"
            + " `dateTime`, s3 AS extra FROM events WHERE kind = 2");
        return env;
    }

    static long cpuNanos() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
            .getProcessCpuTime();
    }

    /** Seconds the job took once the cluster was there, and seconds of CPU altogether. */
    static double[] run(TableEnvironment env, String sql) throws Exception {
        long cpu = cpuNanos();
        Table table = env.sqlQuery(sql);
        TableResult result =
            table.insertInto(TableDescriptor.forConnector("blackhole").build()).execute();
        long ms = result.getJobClient().orElseThrow().getJobExecutionResult().get().getNetRuntime();
        return new double[] {ms / 1e3, (cpuNanos() - cpu) / 1e9};
    }

    static String text(Row row) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < row.getArity(); i++) {
            Object field = row.getField(i);
            if (field instanceof LocalDateTime time) {
                field = time.toInstant(ZoneOffset.UTC).toEpochMilli();
            } else if (field instanceof BigDecimal number) {
                field = number.toPlainString();
            }
            text.append(i == 0 ? "" : "|").append(field);
        }
        return text.toString();
    }

    static void check(TableEnvironment env, String sql, String file) throws Exception {
        Map<String, Integer> rows = new HashMap<>();
        try (CloseableIterator<Row> changes = env.sqlQuery(sql).execute().collect()) {
            while (changes.hasNext()) {
                Row row = changes.next();
                boolean comes = row.getKind() == RowKind.INSERT || row.getKind() == RowKind.UPDATE_AFTER;
                rows.merge(text(row), comes ? 1 : -1, Integer::sum);
            }
        }
        try (PrintWriter out = new PrintWriter(file)) {
            rows.forEach((row, count) -> {
                for (int i = 0; i < count; i++) {
                    out.println(row);
                }
            });
        }
    }

    public static void main(String[] args) throws Exception {
        System.setOut(System.err);
        TableEnvironment env = open(args[0], args[1]);
        Path queries = Path.of(args[2]);
        // What a job costs that does nothing: its cluster is started and stopped with it.
        Path nothing = Files.createTempFile("nexmark", ".psv");
        Files.writeString(nothing, "3|0|0|0|0|0|0|0||||||\n");
        TableEnvironment idle = open(nothing.toString(), args[1]);
        double wall = Double.MAX_VALUE;
        double cpu = Double.MAX_VALUE;
        for (int i = 0; i < 4; i++) {
            double[] took = run(idle, Files.readString(queries.resolve("q0.sql")));
            wall = Math.min(wall, took[0]);
            cpu = Math.min(cpu, took[1]);
        }
        SAYS.println("ready Flink " + org.apache.flink.runtime.util.EnvironmentInformation.getVersion());
        BufferedReader told = new BufferedReader(new InputStreamReader(System.in));
        for (String line = told.readLine(); line != null; line = told.readLine()) {
            String[] words = line.split(" ");
            try {
                String sql = Files.readString(queries.resolve(words[1] + ".sql"));
                if (words[0].equals("check")) {
                    check(env, sql, words[2]);
                    SAYS.println("done");
                } else {
                    double[] took = run(env, sql);
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
