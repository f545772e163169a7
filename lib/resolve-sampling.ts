/**
 * How the first stage draws: judged before the model is known, filled in where it is. What a request gives wins over
 * what the makers of the model advise, and that over the defaults of the package.
 */

import { expectedType, isPlainObject } from './is.js';
import type { NativeSampling } from './native/contract.js';
import { booleanOf, copyOptions, integerOf, numberOf } from './option-values.js';
import { type AdvisedSampling, defaults, samplingLimits } from './options.js';

/** What a request gives; null is not given. */
export interface AskedSampling {
  readonly temperature: number | null;
  readonly topP: number | null;
  readonly topK: number | null;
  readonly guidance: { readonly speaker: number | null; readonly prompt: number | null };
  readonly constrain: boolean;
}

export const samplingKeys = ['temperature', 'topP', 'topK', 'guidance', 'constrain'] as const;

/** Throws TypeError or RangeError. */
export function resolveSampling(value: unknown): AskedSampling {
  const { temperature, topP, topK, guidance, constrain } = copyOptions(value, 'sampling', samplingKeys);
  return {
    temperature: givenNumber(temperature, 'sampling.temperature', 0, samplingLimits.temperature),
    topP: givenNumber(topP, 'sampling.topP', 0, 1),
    topK: topK === undefined ? null : integerOf(topK, 'sampling.topK', 1, Number.MAX_SAFE_INTEGER),
    guidance: resolveGuidance(guidance),
    constrain: booleanOf(constrain, 'sampling.constrain', defaults.sampling.constrain),
  };
}

function resolveGuidance(value: unknown): AskedSampling['guidance'] {
  const most = samplingLimits.guidance;
  if (value === undefined) return { speaker: null, prompt: null };
  if (typeof value === 'number')
    return { speaker: givenNumber(value, 'sampling.guidance', 0, most), prompt: null };
  if (!isPlainObject(value))
    throw expectedType('a number or { speaker, prompt }', 'sampling.guidance', value);
  const { speaker, prompt } = copyOptions(value, 'sampling.guidance', ['speaker', 'prompt']);
  return {
    speaker: givenNumber(speaker, 'sampling.guidance.speaker', 0, most),
    prompt: givenNumber(prompt, 'sampling.guidance.prompt', 1, most),
  };
}

const givenNumber = (value: unknown, name: string, low: number, high: number): number | null =>
  value === undefined ? null : numberOf(value, name, low, high, low);

/** Every setting of a draw; `advised` is the manifest's. */
export function fillSampling(asked: AskedSampling, advised: AdvisedSampling = {}): NativeSampling {
  const { guidance } = advised;
  const { speaker, prompt } = typeof guidance === 'object' ? guidance : { speaker: guidance };
  return {
    temperature: asked.temperature ?? advised.temperature ?? defaults.sampling.temperature,
    topP: asked.topP ?? advised.topP ?? defaults.sampling.topP,
    // 0 is off.
    topK: asked.topK ?? advised.topK ?? 0,
    guidance: {
      speaker: asked.guidance.speaker ?? speaker ?? defaults.guidance.speaker,
      prompt: asked.guidance.prompt ?? prompt ?? defaults.guidance.prompt,
    },
    constrain: asked.constrain,
  };
}
