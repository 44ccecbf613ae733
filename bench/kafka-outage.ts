/**
 * Stops Kafka under load, starts it again, and looks whether everything comes right; on a small fleet of its own:
 *
 *     bun bench/kafka-outage.ts [seconds]
 *
 * Kafka is away for 30 s unless said otherwise. Prints how many writes were acknowledged meanwhile, how long it took to catch up, and what was
 * wrong afterwards: nothing should be.
 */
import { startFleet } from "@flick/e2e/fleet.ts";
import { signUpViewers } from "@flick/e2e/fleet-viewers.ts";
import { kafkaOutage } from "@flick/e2e/kafka-outage.ts";

const seconds = Number(process.argv[2] ?? 30);
const services = ["user,video,favorite,comment,relation,message"];
const fleet = await startFleet({ services, workers: 1, gateways: 1, kafka: true });
try {
  const viewers = await signUpViewers(fleet, 4);
  const outage = await kafkaOutage(fleet, viewers, seconds * 1000);
  process.stdout.write(`${JSON.stringify(outage, undefined, 2)}\n`);
} finally {
  await fleet.stop();
}
