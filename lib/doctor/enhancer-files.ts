/** DeepFilterNet3 (audio, sections 5.8 and 5.9): a folder, its zip, or a safetensors file with the same names. */

import { basename } from 'node:path';
import { readingEnhancer, type Sections } from '../checkpoint/enhancer-file.js';
import { readAsync } from '../checkpoint/reading.js';
import type { Check } from './check.js';
import { compare, type Difference } from './compare.js';
import { describe } from './describe.js';
import { enhancer, enhancerConfig } from './published.js';

/** Also its file in a converted folder. Rejects with ERR_CHECKPOINT or ERR_MODEL_NOT_FOUND for what cannot be read. */
export async function checkEnhancer(name: string, path: string, converted = false): Promise<Check> {
  const { tensors, config } = await readAsync(readingEnhancer(path));
  const comparison = compare(enhancer, tensors, {
    converted,
    // Conversions to safetensors leave the counters out.
    withoutCounters: ![...tensors.keys()].some((tensor) => tensor.endsWith('.num_batches_tracked')),
    values: config ? configDifferences(config) : [],
  });
  const { status, found, details } = describe(basename(path), comparison);
  return {
    name,
    status,
    found,
    details:
      config || converted ? details : [...details, 'no config.ini in this form: its values are not compared'],
    facts: { file: path, ...comparison, config },
  };
}

function configDifferences(sections: Sections): Difference[] {
  return Object.entries(enhancerConfig).flatMap(([section, text]) =>
    text.split(';').flatMap((pair) => {
      const [key = '', expected = ''] = pair.trim().split(' ');
      const found = sections[section]?.[key];
      const same = found === expected || (found !== undefined && Number(found) === Number(expected));
      return same ? [] : [{ name: `config.ini, ${section}.${key}`, expected, found: found ?? null }];
    }),
  );
}
