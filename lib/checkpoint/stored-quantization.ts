import { MetaVoiceError } from '../errors.js';
import type { Quantization } from '../native/contract.js';
import type { Manifest } from './manifest.js';

/** What the matrices of the first stage are stored as. */
export const storedQuantization = ({ firstStage }: Pick<Manifest, 'firstStage'>): Quantization =>
  firstStage?.quantization ?? 'none';

/** What is stored quantised can't be had otherwise. */
export const isLoadable = (stored: Quantization, asked: Quantization): boolean =>
  stored === 'none' || stored === asked;

/**
 * What a model is loaded as: as it is stored, or as was asked for, where it is stored whole. ERR_UNSUPPORTED for what is
 * stored in another form than the one asked for.
 */
export function loadedQuantization(
  stored: Quantization,
  asked: Quantization | null,
  model: string,
): Quantization {
  if (asked === null) return stored;
  if (isLoadable(stored, asked)) return asked;
  throw new MetaVoiceError(
    'ERR_UNSUPPORTED',
    `expected the first stage of ${model} to be loaded in ${stored}, as it is stored, but quantization '${asked}' was asked for; leave the option out, or convert the published files with \`--quantization ${asked}\``,
    { details: { model, expected: stored, found: asked } },
  );
}
