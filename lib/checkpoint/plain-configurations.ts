import type { BuildContext } from './pickle-globals.js';
import { PickleObject } from './pickle-values.js';
import { ask, pause, type Reading } from './reading.js';
import { nameOfKey } from './refuse.js';

/** Values between two turns of the event loop. */
const slice = 4096;

const isNode = (value: unknown): value is PickleObject =>
  value instanceof PickleObject && /^omegaconf\.nodes\.\w+Node$/.test(value.type);

const field = (value: PickleObject, name: string): unknown =>
  value.state instanceof Map ? value.state.get(name) : undefined;

/**
 * Replaces every omegaconf configuration in a value by what it stands for: DictConfig → plain object, ListConfig →
 * array, typed node → its value. Works in place and without recursion, so neither depth nor cycles can hurt; what is made
 * is counted, since many configurations may share one content.
 */
export function* plainConfigurations(root: unknown, context: BuildContext): Reading<unknown> {
  const made = new Map<PickleObject, unknown>();
  const seen = new Set<object>();
  const waiting: (() => void)[] = [];

  const visit = (value: object, work: () => void) => {
    if (seen.has(value)) return;
    seen.add(value);
    waiting.push(work);
  };

  const configuration = (value: PickleObject): unknown => {
    const content = field(value, '_content');
    if (content instanceof Map) {
      context.spend(256 + 128 * content.size);
      const object: Record<string, unknown> = {};
      made.set(value, object);
      waiting.push(() => {
        for (const [key, item] of content)
          Object.defineProperty(object, nameOfKey(key), {
            value: resolve(item),
            configurable: true,
            enumerable: true,
            writable: true,
          });
      });
      return object;
    }
    if (Array.isArray(content)) {
      context.spend(256 + 16 * content.length);
      const list: unknown[] = [];
      made.set(value, list);
      waiting.push(() => {
        for (const item of content) list.push(resolve(item));
      });
      return list;
    }
    // Absent, missing (`???`) or an interpolation.
    return content ?? null;
  };

  const resolve = (given: unknown): unknown => {
    let value = given;
    for (let depth = 0; isNode(value) && depth < 8; depth++) value = field(value, '_val') ?? null;
    if (value instanceof PickleObject) {
      if (made.has(value)) return made.get(value);
      return /^omegaconf\.(dictconfig\.DictConfig|listconfig\.ListConfig)$/.test(value.type)
        ? configuration(value)
        : value;
    }
    if (value instanceof Map) {
      const map = value;
      visit(map, () => {
        for (const [key, item] of map) map.set(key, resolve(item));
      });
    } else if (Array.isArray(value)) {
      const list: unknown[] = value;
      visit(list, () => {
        for (let i = 0; i < list.length; i++) list[i] = resolve(list[i]);
      });
    }
    return value;
  };

  const result = resolve(root);
  let count = 0;
  for (let work = waiting.pop(); work; work = waiting.pop()) {
    work();
    if (++count % slice === 0) yield* ask(pause);
  }
  return result;
}
