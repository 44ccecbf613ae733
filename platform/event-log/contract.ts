import { afterAll, beforeAll, describe } from "bun:test";

import { deliveryContract } from "./contract-delivery.ts";
import { failureContract } from "./contract-failures.ts";
import { handlerContract } from "./contract-handlers.ts";
import { outageContract } from "./contract-outages.ts";
import { recordContract } from "./contract-records.ts";
import { createContractTest, type ContractBroker } from "./contract-test.ts";

/** The suite that every driver of {@link EventLog} must pass. */
export function eventLogContract(name: string, startBroker: () => Promise<ContractBroker>): void {
  describe(`${name} as an event log`, () => {
    let broker: ContractBroker;
    beforeAll(async () => {
      broker = await startBroker();
    }, 60_000);
    afterAll(() => broker.remove());

    const it = createContractTest(() => broker);
    deliveryContract(it);
    failureContract(it);
    handlerContract(it);
    recordContract(it);
    outageContract(it);
  });
}
