import { PickleTensor } from './pickle-values.js';
import { nameOfKey } from './refuse.js';

/** The weights in what was saved: the first dictionary with a tensor of such a name, at most three levels down. */
export function findState(value: unknown, name: RegExp): Map<unknown, unknown> | null {
  let level = new Set([value]);
  for (let depth = 0; depth < 4; depth++) {
    const maps = [...level].filter((item) => item instanceof Map);
    const found = maps.find((map) =>
      [...map].some(([key, item]) => name.test(nameOfKey(key)) && item instanceof PickleTensor),
    );
    if (found) return found;
    // Each only once: a dictionary may hold another a million times.
    level = new Set(maps.flatMap((map) => [...map.values()].filter((item) => item instanceof Map)));
  }
  return null;
}
