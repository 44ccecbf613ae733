package flick.cdc;

import java.nio.charset.StandardCharsets;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Leaves the choice of the partition to Kafka's client, which hashes the key as the tailer's does. */
class KafkaRecords implements KafkaRecordSerializationSchema<ChangeRecord> {
    @Override
    public ProducerRecord<byte[], byte[]> serialize(ChangeRecord record, KafkaSinkContext context, Long timestamp) {
        byte[] key = record.key.getBytes(StandardCharsets.UTF_8);
        return new ProducerRecord<>(record.topic, null, key, record.value.getBytes(StandardCharsets.UTF_8));
    }
}
