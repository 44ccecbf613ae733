import { expect, test } from "bun:test";

import { addressGroup } from "./client-address.ts";

test.each<[string | undefined, string]>([
  ["203.0.113.7", "203.0.113.7"],
  ["::ffff:203.0.113.7", "203.0.113.7"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["2001:0DB8:0001:0002::1", "2001:db8:1:2::/64"],
  ["2001:db8::1", "2001:db8:0:0::/64"],
  ["[2001:db8:1:2::1]", "2001:db8:1:2::/64"],
  ["fe80::1%eth0", "fe80:0:0:0::/64"],
  ["::1", "0:0:0:0::/64"],
  ["::", "0:0:0:0::/64"],
  ["64:ff9b::203.0.113.7", "64:ff9b:0:0::/64"],
  ["1:2:3:4:5:6:7", "unknown"],
  ["1:2:3:4:5:6:7:8:9", "unknown"],
  ["1::2::3", "unknown"],
  ["2001:db8:xyz::1", "unknown"],
  ["12345::1", "unknown"],
  ["localhost", "unknown"],
  ["", "unknown"],
  [undefined, "unknown"],
])("%p is counted as %s", (address, group) => {
  expect(addressGroup(address)).toBe(group);
});
