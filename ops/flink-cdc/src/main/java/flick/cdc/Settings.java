package flick.cdc;

import java.io.IOException;
import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

/** What the job reads from its environment, under the names that all our programs use; {@code NAME_FILE} stands for any {@code NAME}. */
record Settings(URI mysql, String brokers, String serverId) {
    static Settings read(Map<String, String> env) {
        URI mysql = URI.create(required(env, "MYSQL_URL"));
        if (!"mysql".equals(mysql.getScheme()) || mysql.getHost() == null || mysql.getRawUserInfo() == null
                || mysql.getPath().length() < 2) {
            throw new IllegalArgumentException("MYSQL_URL must be mysql://user:password@host:3306/database");
        }
        return new Settings(mysql, required(env, "KAFKA_BROKERS"), optional(env, "CDC_SERVER_ID", "8094"));
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
