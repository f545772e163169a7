import { expectedRange, expectedType, isString } from '../is.js';

/**
 * The layers that `0-11,18-23` names, in order: [0 … 11, 18 … 23]. They must grow; TypeError or RangeError otherwise.
 */
export function parseLayers(text: string): number[] {
  if (!isString(text)) throw expectedType('a string such as 0-11,18-23', 'keepLayers', text);
  const layers: number[] = [];
  for (const part of text.split(',')) {
    const match = /^\s*(\d{1,5})(?:\s*-\s*(\d{1,5}))?\s*$/.exec(part);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? match?.[1]);
    if (!match || last < first || first <= (layers.at(-1) ?? -1))
      throw expectedRange('growing layers and ranges such as 0-11,18-23', 'keepLayers', text);
    for (let layer = first; layer <= last; layer++) layers.push(layer);
  }
  return layers;
}
