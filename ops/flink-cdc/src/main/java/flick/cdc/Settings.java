package flick.cdc;

import java.io.IOException;
import java.net.URI;
import java.net.URISyntaxException;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;

/** What the job reads from its environment, under the names that all our programs use; {@code NAME_FILE} stands for any {@code NAME}. */
record Settings(URI mysql, String serverId, Properties kafka) {
    static Settings read(Map<String, String> env) {
        URI mysql = mysqlUrl(required(env, "MYSQL_URL"));
        return new Settings(mysql, optional(env, "CDC_SERVER_ID", "8094"), kafkaSettings(env));
    }

    /** Complaints leave the URL out: its password must not reach a log. */
    private static URI mysqlUrl(String text) {
        try {
            URI url = new URI(text);
            boolean complete = url.getHost() != null && url.getRawUserInfo() != null && url.getPath().length() > 1;
            if (complete && "mysql".equals(url.getScheme())) return url;
        } catch (URISyntaxException notOne) {
            // Said below.
        }
        throw new IllegalArgumentException("MYSQL_URL must be mysql://user:password@host:3306/database");
    }

    /** For Kafka's client, out of what platform/event-log/open.ts describes. */
    private static Properties kafkaSettings(Map<String, String> env) {
        boolean tls = optional(env, "KAFKA_TLS", "false").equals("true");
        String mechanism = optional(env, "KAFKA_SASL_MECHANISM", null);
        Properties kafka = new Properties();
        kafka.setProperty("bootstrap.servers", required(env, "KAFKA_BROKERS"));
        kafka.setProperty("security.protocol", (mechanism == null ? "" : "SASL_") + (tls ? "SSL" : "PLAINTEXT"));
        String authorities = optional(env, "KAFKA_CA", null);
        if (authorities != null) {
            kafka.setProperty("ssl.truststore.type", "PEM");
            kafka.setProperty("ssl.truststore.certificates", authorities);
        }
        if (mechanism != null) {
            String login = mechanism.equals("plain") ? "plain.PlainLoginModule" : "scram.ScramLoginModule";
            kafka.setProperty("sasl.mechanism", mechanism.toUpperCase(Locale.ROOT));
            kafka.setProperty(
                    "sasl.jaas.config",
                    "org.apache.kafka.common.security.%s required username=\"%s\" password=\"%s\";"
                            .formatted(
                                    login,
                                    quoted(required(env, "KAFKA_SASL_USERNAME")),
                                    quoted(required(env, "KAFKA_SASL_PASSWORD"))));
        }
        return kafka;
    }

    private static String quoted(String text) {
        return text.replace("\\", "\\\\").replace("\"", "\\\"");
    }

    int port() {
        return mysql.getPort() < 0 ? 3306 : mysql.getPort();
    }

    String user() {
        return decoded(mysql.getRawUserInfo().split(":", 2)[0]);
    }

    String password() {
        String[] parts = mysql.getRawUserInfo().split(":", 2);
        return parts.length < 2 ? "" : decoded(parts[1]);
    }

    String database() {
        return mysql.getPath().substring(1);
    }

    private static String decoded(String text) {
        return URLDecoder.decode(text.replace("+", "%2B"), StandardCharsets.UTF_8);
    }

    private static String required(Map<String, String> env, String name) {
        String value = optional(env, name, null);
        if (value == null) throw new IllegalArgumentException(name + " is missing");
        return value;
    }

    private static String optional(Map<String, String> env, String name, String otherwise) {
        String value = env.get(name);
        if (value != null && !value.isEmpty()) return value;
        String file = env.get(name + "_FILE");
        if (file == null || file.isEmpty()) return otherwise;
        try {
            return Files.readString(Path.of(file)).strip();
        } catch (IOException error) {
            throw new IllegalArgumentException(name + "_FILE cannot be read: " + error.getMessage());
        }
    }
}
