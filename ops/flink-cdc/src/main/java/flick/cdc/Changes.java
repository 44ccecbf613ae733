package flick.cdc;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import java.io.IOException;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Base64;
import java.util.HexFormat;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.cdc.connectors.shaded.org.apache.kafka.connect.data.Field;
import org.apache.flink.cdc.connectors.shaded.org.apache.kafka.connect.data.Schema;
import org.apache.flink.cdc.connectors.shaded.org.apache.kafka.connect.data.Struct;
import org.apache.flink.cdc.connectors.shaded.org.apache.kafka.connect.source.SourceRecord;
import org.apache.flink.cdc.debezium.DebeziumDeserializationSchema;
import org.apache.flink.util.Collector;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Makes of Debezium's row changes the records that platform/cdc/ describes and its tailer writes: topic {@code cdc.<table>}, the
 * primary key with colons between its columns, and {@code {before, after, op, source, ts_ms}} in JSON.
 */
class Changes implements DebeziumDeserializationSchema<ChangeRecord> {
    private static final Logger log = LoggerFactory.getLogger(Changes.class);
    private static final JsonFactory json = new JsonFactory();

    /** In no event, whatever their table: secretColumns of platform/cdc/change-publisher.ts. */
    private static final Set<String> secretColumns = Set.of("password_hash");

    /** platform/event-log/limits.ts */
    private static final int longestKey = 255;
    private static final int largestValue = 1024 * 1024;

    private static final long settleMs = 250;

    /** Beyond it, a number is rounded by whoever reads it in JavaScript. */
    private static final BigInteger largestSafeInteger = BigInteger.TWO.pow(53).subtract(BigInteger.ONE);

    /** The source's settings that {@link #writeColumn} relies on. */
    static final Map<String, String> debeziumProperties =
            Map.of(
                    "decimal.handling.mode", "string",
                    "bigint.unsigned.handling.mode", "precise",
                    // So that a time is written with as many digits as its column has.
                    "column.propagate.source.type", ".*",
                    "tombstones.on.delete", "false");

    @Override
    public void deserialize(SourceRecord record, Collector<ChangeRecord> out) throws IOException {
        if (!(record.value() instanceof Struct change) || change.schema().field("op") == null) return;
        awaitCommit(change);
        Struct before = change.getStruct("before");
        String table = change.getStruct("source").getString("table");
        String topic = "cdc." + table.replaceAll("[^A-Za-z0-9._-]", "_");
        String key = keyOf(table, (Struct) record.key());
        String value = toJson(change, before);
        if (tooLarge(value) && change.getStruct("after") != null) value = toJson(change, null);
        if (tooLarge(value)) {
            log.error("a changed row of {} is larger than {} bytes and is skipped", table, largestValue);
            return;
        }
        out.collect(new ChangeRecord(topic, key, value));
    }

    /** A change is read up to 120 ms before others can see its row, and by then nobody must be told of it (docs/decisions/0022). */
    private static void awaitCommit(Struct change) {
        long now = System.currentTimeMillis();
        // In whole seconds.
        Long writtenAt = change.getStruct("source").getInt64("ts_ms");
        if (writtenAt == null || now - writtenAt > 1_000 + settleMs) return;
        Long readAt = change.getInt64("ts_ms");
        long remainingMs = readAt == null ? settleMs : Math.min(settleMs, readAt + settleMs - now);
        if (remainingMs <= 0) return;
        try {
            Thread.sleep(remainingMs);
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public TypeInformation<ChangeRecord> getProducedType() {
        return TypeInformation.of(ChangeRecord.class);
    }

    private static boolean tooLarge(String value) {
        return value.length() > largestValue / 4 && value.getBytes(StandardCharsets.UTF_8).length > largestValue;
    }

    /** A table without a primary key keeps the order of all its changes. */
    private static String keyOf(String table, Struct key) {
        if (key == null) return table.substring(0, Math.min(table.length(), longestKey));
        String text =
                key.schema().fields().stream().map(field -> String.valueOf(key.get(field))).collect(Collectors.joining(":"));
        return text.length() <= longestKey ? text : sha256(text);
    }

    private static String sha256(String text) {
        try {
            byte[] hash = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(hash);
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    private static String toJson(Struct change, Struct before) throws IOException {
        StringWriter text = new StringWriter(512);
        try (JsonGenerator out = json.createGenerator(text)) {
            out.writeStartObject();
            writeRow(out, "before", before);
            writeRow(out, "after", change.getStruct("after"));
            out.writeStringField("op", change.getString("op"));
            writeSource(out, change.getStruct("source"), change.getString("op").equals("r"));
            out.writeNumberField("ts_ms", System.currentTimeMillis());
            out.writeEndObject();
        }
        return text.toString();
    }

    /** A row that a snapshot found has no place in the log, and nobody knows when it was written. */
    private static void writeSource(JsonGenerator out, Struct source, boolean snapshot) throws IOException {
        out.writeObjectFieldStart("source");
        out.writeStringField("connector", "mysql");
        out.writeStringField("db", source.getString("db"));
        out.writeStringField("table", source.getString("table"));
        if (!snapshot) {
            if (source.getString("gtid") != null) out.writeStringField("gtid", source.getString("gtid"));
            out.writeStringField("file", source.getString("file"));
            out.writeNumberField("pos", source.getInt64("pos"));
            out.writeNumberField("row", source.getInt32("row"));
            out.writeNumberField("ts_ms", source.getInt64("ts_ms"));
        }
        out.writeEndObject();
    }

    private static void writeRow(JsonGenerator out, String name, Struct row) throws IOException {
        if (row == null) {
            out.writeNullField(name);
            return;
        }
        out.writeObjectFieldStart(name);
        for (Field column : row.schema().fields()) {
            if (secretColumns.contains(column.name())) continue;
            out.writeFieldName(column.name());
            writeColumn(out, column.schema(), row.get(column));
        }
        out.writeEndObject();
    }

    /** Times without a zone come as counts since 1970, with one as text in UTC. */
    private static void writeColumn(JsonGenerator out, Schema schema, Object value) throws IOException {
        String type = schema.name() == null ? "" : schema.name();
        if (value == null) out.writeNull();
        else if (type.equals("io.debezium.time.Timestamp")) out.writeString(dateTime(schema, (long) value * 1_000));
        else if (type.equals("io.debezium.time.MicroTimestamp")) out.writeString(dateTime(schema, (long) value));
        else if (type.equals("io.debezium.time.ZonedTimestamp"))
            out.writeString(dateTime(schema, micros(Instant.parse((String) value))));
        else if (type.equals("io.debezium.time.Date"))
            out.writeString(LocalDate.ofEpochDay((int) value).toString());
        else if (value instanceof Long number) writeInteger(out, BigInteger.valueOf(number));
        else if (value instanceof BigDecimal number) writeInteger(out, number.toBigIntegerExact());
        else if (value instanceof ByteBuffer bytes) out.writeString(base64(bytes));
        else if (value instanceof byte[] bytes) out.writeString(base64(ByteBuffer.wrap(bytes)));
        else if (value instanceof Boolean flag) out.writeNumber(flag ? 1 : 0);
        else if (value instanceof Number number) out.writeNumber(number.toString());
        else out.writeString(value.toString());
    }

    private static void writeInteger(JsonGenerator out, BigInteger number) throws IOException {
        if (number.abs().compareTo(largestSafeInteger) > 0) out.writeString(number.toString());
        else out.writeNumber(number);
    }

    private static String base64(ByteBuffer bytes) {
        byte[] copy = new byte[bytes.remaining()];
        bytes.duplicate().get(copy);
        return Base64.getEncoder().encodeToString(copy);
    }

    private static long micros(Instant time) {
        return Math.addExact(Math.multiplyExact(time.getEpochSecond(), 1_000_000L), time.getNano() / 1_000);
    }

    private static final DateTimeFormatter toTheSecond = DateTimeFormatter.ofPattern("uuuu-MM-dd HH:mm:ss");

    /** {@code 2026-01-02 03:04:05.678}, with the digits that the column has. */
    private static String dateTime(Schema schema, long micros) {
        LocalDateTime time =
                LocalDateTime.ofEpochSecond(Math.floorDiv(micros, 1_000_000L), 0, ZoneOffset.UTC);
        String length = schema.parameters() == null ? null : schema.parameters().get("__debezium.source.column.length");
        int digits = length == null ? 0 : Integer.parseInt(length);
        String fraction = String.format("%06d", Math.floorMod(micros, 1_000_000L));
        return toTheSecond.format(time) + (digits == 0 ? "" : "." + fraction.substring(0, digits));
    }
}
