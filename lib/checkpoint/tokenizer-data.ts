import { isString } from '../is.js';
import type { TokenizerData } from './manifest.js';
import { refuseCheckpoint } from './refuse.js';

const endOfText = '<|endoftext|>';
const isNatural = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** The tokenizer in `meta.tokenizer` of a language model. Throws ERR_CHECKPOINT when it is not a whole one. */
export function readTokenizer(file: string, stored: unknown): TokenizerData {
  const refuse = (what: string, details: Record<string, unknown> = {}) =>
    refuseCheckpoint(file, `meta.tokenizer ${what}`, details);
  if (!(stored instanceof Map))
    throw refuse('is missing; expected the tokenizer that the model was trained with');
  const [name, pattern, offset] = [stored.get('name'), stored.get('pat_str'), stored.get('offset') ?? 0];
  if (!isString(name) || !isString(pattern)) throw refuse('has no name or no pattern (pat_str)');
  if (!isNatural(offset)) throw refuse('has an offset that is not a natural number', { found: offset });
  const ranks = readRanks(stored.get('mergeable_ranks'), refuse);
  const special = readSpecial(stored.get('special_tokens'), refuse);
  const ids = Object.values(special).sort((a, b) => a - b);
  if (ids.some((id, index) => id < ranks.length || id === ids[index - 1]))
    throw refuse('gives one id to two tokens');
  if (!Object.hasOwn(special, endOfText)) throw refuse(`has no special token ${endOfText}`);
  return { name, pattern, ranks, special, offset };
}

type Refuse = (what: string, details?: Record<string, unknown>) => Error;

function readRanks(stored: unknown, refuse: Refuse): string[] {
  if (!(stored instanceof Map) || stored.size === 0) throw refuse('has no mergeable_ranks');
  const ranks: string[] = new Array(stored.size);
  let filled = 0;
  for (const [bytes, rank] of stored) {
    if (!(bytes instanceof Uint8Array)) throw refuse('has a token that is not a byte string');
    if (!isNatural(rank) || rank >= stored.size || ranks[rank] !== undefined)
      throw refuse(`must number its ${stored.size} tokens from 0 without gaps`, { found: rank });
    ranks[rank] = Buffer.from(bytes).toString('base64');
    filled++;
  }
  if (filled !== stored.size || new Set(ranks).size !== filled) throw refuse('has the same token twice');
  return ranks;
}

function readSpecial(stored: unknown, refuse: Refuse): Record<string, number> {
  if (!(stored instanceof Map)) throw refuse('has no special_tokens');
  for (const [token, id] of stored)
    if (!isString(token) || !isNatural(id)) throw refuse('has a special token that is not text with an id');
  return Object.fromEntries(stored as Map<string, number>);
}

/** Ids from 0 to this one, before the offset. */
export const largestId = ({ ranks, special }: TokenizerData): number =>
  Object.values(special).reduce((largest, id) => Math.max(largest, id), ranks.length - 1);
