/**
 * What an address is counted as: an IPv4 address as itself, also when it is written as an IPv6 one; an IPv6 address as its /64, which is
 * what one household or one machine has. What is no address is counted together.
 */
export function addressGroup(address: string | undefined): string {
  const bare = (address ?? "")
    .trim()
    .replace(/^\[|\]$/g, "")
    .replace(/%.*$/, "")
    .toLowerCase();
  if (ipv4.test(bare)) return bare;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(bare)?.[1];
  if (mapped !== undefined && ipv4.test(mapped)) return mapped;
  return networkOf(bare) ?? "unknown";
}

const ipv4 = /^(\d{1,3}\.){3}\d{1,3}$/;

function networkOf(address: string): string | null {
  const [head = "", tail, ...more] = address.split("::");
  if (more.length > 0 || !address.includes(":")) return null;
  const first = groupsOf(head);
  const last = groupsOf(tail ?? "");
  const missing = 8 - first.length - last.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return null;
  const groups = [...first, ...Array.from({ length: missing }, () => "0"), ...last];
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/.test(group))) return null;
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":")}::/64`;
}

/** A dotted end stands for two groups, whose digits are of no matter here: they are beyond the /64. */
function groupsOf(part: string): string[] {
  return part === "" ? [] : part.split(":").flatMap((group) => (ipv4.test(group) ? ["0", "0"] : [group]));
}
