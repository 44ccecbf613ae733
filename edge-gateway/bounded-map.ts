/** A map that forgets what was put in first when it would hold more than `most` entries. */
export function createBoundedMap<Key, Value>(most: number): Map<Key, Value> {
  const map = new Map<Key, Value>();
  const put = map.set.bind(map);
  map.set = (key, value) => {
    const [first] = map.keys();
    if (map.size >= most && first !== undefined && !map.has(key)) map.delete(first);
    return put(key, value);
  };
  return map;
}
