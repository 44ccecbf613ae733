package flick.cdc;

import java.io.IOException;
import java.net.URI;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.Properties;
import java.util.regex.Pattern;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.cdc.connectors.mysql.source.MySqlSource;
import org.apache.flink.cdc.connectors.mysql.table.StartupOptions;
import org.apache.flink.client.deployment.StandaloneClusterId;
import org.apache.flink.client.program.rest.RestClusterClient;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.DeploymentOptions;
import org.apache.flink.configuration.GlobalConfiguration;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.core.fs.FileStatus;
import org.apache.flink.core.fs.FileSystem;
import org.apache.flink.core.fs.Path;
import org.apache.flink.runtime.client.JobStatusMessage;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.ExceptionUtils;

/**
 * Carries every change of one MySQL database to Kafka. It goes on from the newest checkpoint; where there is none, it reads all rows
 * first (op r), and then what has changed since. It runs in this process, or with {@code -Dexecution.target=remote} on a cluster that has these
 * classes, too, and then this process waits for its end.
 *
 * <p>Arguments are settings of Flink's, {@code -Dname=value}, which go before those of {@code config.yaml} in {@code FLINK_CONF_DIR}.
 */
public final class Main {
    private static final String jobName = "flick-cdc";
    private static final String positionGone = "is no longer available on the server";

    private Main() {}

    public static void main(String[] args) {
        try {
            run(Settings.read(System.getenv()), flinkSettings(args));
            System.exit(0);
        } catch (IllegalArgumentException error) {
            System.err.println("flick-cdc: " + error.getMessage());
        } catch (Throwable error) {
            boolean gone = ExceptionUtils.findThrowableWithMessage(error, positionGone).isPresent();
            System.err.println(
                    gone
                            ? "flick-cdc: MySQL has deleted the log that comes after the newest checkpoint: changes are missing. Take the checkpoints"
                                    + " away and start again, then everything is read anew (docs/flink-cdc.md, Resync)."
                            : "flick-cdc: " + ExceptionUtils.stringifyException(error));
        }
        System.exit(1);
    }

    private static void run(Settings settings, Configuration flink) throws Exception {
        boolean remote = "remote".equals(flink.get(DeploymentOptions.TARGET));
        if (remote) {
            flink.set(DeploymentOptions.ATTACHED, true);
            cancelPredecessors(flink);
        }
        Optional<String> checkpoint = newestCheckpoint(flink);
        checkpoint.ifPresent(path -> flink.set(StateRecoveryOptions.SAVEPOINT_PATH, path));
        System.err.println("flick-cdc: starting with " + checkpoint.orElse("a snapshot"));
        StreamExecutionEnvironment env =
                remote ? new StreamExecutionEnvironment(flink) : StreamExecutionEnvironment.getExecutionEnvironment(flink);
        // One reader, one writer: the order of the log.
        env.setParallelism(1);
        env.fromSource(source(settings), WatermarkStrategy.noWatermarks(), "mysql")
                .uid("mysql")
                .sinkTo(sink(settings))
                .name("kafka")
                .uid("kafka");
        env.execute(jobName);
    }

    /** On a cluster the job outlives the program that submitted it, and must not run twice. */
    private static void cancelPredecessors(Configuration flink) throws Exception {
        try (RestClusterClient<StandaloneClusterId> cluster =
                new RestClusterClient<>(flink, StandaloneClusterId.getInstance())) {
            for (JobStatusMessage job : cluster.listJobs().get()) {
                if (!job.getJobName().equals(jobName) || job.getJobState().isTerminalState()) continue;
                cluster.cancel(job.getJobId()).get();
                while (!cluster.getJobStatus(job.getJobId()).get().isTerminalState()) Thread.sleep(100);
            }
        }
    }

    private static Configuration flinkSettings(String[] args) {
        Configuration given = new Configuration();
        for (String arg : args) {
            String[] pair = arg.split("=", 2);
            if (!pair[0].startsWith("-D") || pair.length < 2) {
                throw new IllegalArgumentException(arg + " is not understood; an argument must be -Dname=value");
            }
            given.setString(pair[0].substring(2), pair[1]);
        }
        return GlobalConfiguration.loadConfiguration(given);
    }

    private static MySqlSource<ChangeRecord> source(Settings settings) {
        Properties debezium = new Properties();
        debezium.putAll(Changes.debeziumProperties);
        // How long a change may lie in the reader's queue; Debezium's default is half a second.
        debezium.setProperty("poll.interval.ms", "50");
        Properties driver = new Properties();
        driver.setProperty("queryInterceptors", LogStatus.class.getName());
        // For logging in without TLS, as inside a private network.
        driver.setProperty("allowPublicKeyRetrieval", "true");
        return MySqlSource.<ChangeRecord>builder()
                .hostname(settings.mysql().getHost())
                .port(settings.port())
                .username(settings.user())
                .password(settings.password())
                .databaseList(settings.database())
                .tableList(Pattern.quote(settings.database()) + "\\.(?!__drizzle_migrations$).*")
                .serverId(settings.serverId())
                .serverTimeZone("UTC")
                .startupOptions(StartupOptions.initial())
                .debeziumProperties(debezium)
                .jdbcProperties(driver)
                .deserializer(new Changes())
                .build();
    }

    private static KafkaSink<ChangeRecord> sink(Settings settings) {
        return KafkaSink.<ChangeRecord>builder()
                .setKafkaProducerConfig(settings.kafka())
                .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
                .setRecordSerializer(new KafkaRecords())
                .setProperty("compression.type", "gzip")
                // Fewer and larger requests, at so many milliseconds.
                .setProperty("linger.ms", "5")
                .setProperty("max.request.size", String.valueOf(2 * 1024 * 1024))
                .build();
    }

    /** Checkpoints lie in {@code <folder>/<job>/chk-<number>/}, and are complete once there is {@code _metadata}. */
    private static Optional<String> newestCheckpoint(Configuration flink) throws IOException {
        String folder = flink.get(CheckpointingOptions.CHECKPOINTS_DIRECTORY);
        if (folder == null) {
            throw new IllegalArgumentException("execution.checkpointing.dir is missing: without it nothing survives a stop");
        }
        FileSystem files = FileSystem.get(URI.create(folder));
        List<FileStatus> found = new ArrayList<>();
        for (FileStatus job : list(files, new Path(folder))) {
            for (FileStatus checkpoint : list(files, job.getPath())) {
                Path metadata = new Path(checkpoint.getPath(), "_metadata");
                if (files.exists(metadata)) found.add(files.getFileStatus(metadata));
            }
        }
        return found.stream()
                .max(Comparator.comparingLong(FileStatus::getModificationTime))
                .map(file -> file.getPath().getParent().toString());
    }

    private static FileStatus[] list(FileSystem files, Path folder) throws IOException {
        FileStatus[] found = files.exists(folder) ? files.listStatus(folder) : null;
        return found == null ? new FileStatus[0] : found;
    }
}
