/** Cards that people ask about, and what fits them. */

import { type MemoryRequest, memoryParts, totalOf } from './memory.js';
import type { ModelSizes } from './model-sizes.js';

export interface Card {
  readonly name: string;
  readonly computeCapability: string;
  /** Bytes that a program can have of it: what is left of the nominal size beside driver and display. */
  readonly memory: number;
}

const GiB = 2 ** 30;

/** Nominal sizes hold a few hundred megabytes less for a program. */
const nominal = (gibibytes: number): number => Math.floor(0.96 * gibibytes * GiB);

export const cards: readonly Card[] = [
  { name: '4 GB card', computeCapability: '7.5', memory: nominal(4) },
  { name: '6 GB card', computeCapability: '7.5', memory: nominal(6) },
  { name: '8 GB card', computeCapability: '8.6', memory: nominal(8) },
  { name: '12 GB card', computeCapability: '8.6', memory: nominal(12) },
  { name: 'T4 16 GB', computeCapability: '7.5', memory: nominal(15) },
  { name: 'A10G 24 GB', computeCapability: '8.6', memory: nominal(22.5) },
  { name: 'A100 40 GB', computeCapability: '8.0', memory: nominal(39.5) },
];

/** The dtype that `auto` takes on a card. */
const dtypeOf = ({ computeCapability }: Card) =>
  Number(computeCapability) < 8 ? ('float16' as const) : ('bfloat16' as const);

export const cardForms = [
  { quantization: 'none', decoder: 'encodec' },
  { quantization: 'int8', decoder: 'encodec' },
  { quantization: 'int4', decoder: 'encodec' },
  { quantization: 'none', decoder: 'diffusion' },
  { quantization: 'int8', decoder: 'diffusion' },
  { quantization: 'int4', decoder: 'diffusion' },
] as const satisfies readonly Pick<MemoryRequest, 'quantization' | 'decoder'>[];

export interface CardRow {
  readonly card: Card;
  readonly dtype: 'float16' | 'bfloat16';
  /** For each of `cardForms`: its bytes, and how many utterances of the longest kind fit at a time; 0 is none. */
  readonly forms: readonly { total: number; batch: number }[];
}

/** What fits each card: utterances as long as the window holds. */
export function cardTable(sizes: ModelSizes): CardRow[] {
  return cards.map((card) => {
    const dtype = dtypeOf(card);
    const forms = cardForms.map((form) => {
      const bytes = (batchSize: number) =>
        totalOf(memoryParts(sizes, { ...form, dtype, batchSize, maxSeconds: null }, true));
      const total = bytes(1);
      const each = bytes(2) - total;
      const spare = card.memory - total;
      return { total, batch: spare < 0 ? 0 : Math.min(256, 1 + Math.floor(spare / each)) };
    });
    return { card, dtype, forms };
  });
}
