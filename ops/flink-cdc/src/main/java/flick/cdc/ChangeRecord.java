package flick.cdc;

/** One record for Kafka. Flink carries it from the source to the sink, and wants public fields and a constructor without arguments. */
public class ChangeRecord {
    public String topic;
    public String key;
    public String value;

    public ChangeRecord() {}

    ChangeRecord(String topic, String key, String value) {
        this.topic = topic;
        this.key = key;
        this.value = value;
    }
}
