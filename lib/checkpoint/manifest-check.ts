import { inRange, isBoolean, isFiniteNumber, isInteger, isPlainObject, isString, received } from '../is.js';
import { samplingLimits } from '../options.js';
import { unsound } from './enhancer.js';
import { mostParts } from './limits.js';
import type { Manifest } from './manifest.js';
import { partNames } from './part.js';
import { refuseCheckpoint } from './refuse.js';
import { largestId } from './tokenizer-data.js';

/** Throws when a value is not of its kind; `path` names it: `firstStage.layers`. */
type Check = (value: unknown, path: string, refuse: Refuse) => void;
type Refuse = (path: string, expected: string, value: unknown) => Error;

const that =
  (expected: string, holds: (value: unknown) => boolean): Check =>
  (value, path, refuse) => {
    if (!holds(value)) throw refuse(path, expected, value);
  };

const most = 2 ** 31;
const isNatural = (value: unknown): boolean => isInteger(value) && value >= 0 && value < most;
const isBase64 = (value: unknown): boolean =>
  isString(value) && value.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(value);

const text = that('text', isString);
const spokenName = that('a name that is not empty', (value) => isString(value) && value.trim() !== '');
const natural = that('a natural number', isNatural);
const size = that('a positive integer', (value) => isNatural(value) && value !== 0);
const count = that(
  `an integer from 1 to ${mostParts}`,
  (value) => isNatural(value) && value !== 0 && (value as number) <= mostParts,
);
const bytes = that('a number of bytes', (value) => Number.isSafeInteger(value) && (value as number) > 0);
const positive = that('a positive number', (value) => isFiniteNumber(value) && value > 0);
const flag = that('true or false', isBoolean);
const base64 = that('base64', isBase64);
// A name from a file must not lead out of the folder.
const fileName = that('the name of a .safetensors file in the folder', (value) => {
  return isString(value) && /^[^/\\:]+\.safetensors$/.test(value) && !value.startsWith('.');
});
const oneOf = (...values: string[]): Check =>
  that(values.join(' or '), (value) => isString(value) && values.includes(value));

const list =
  (item: Check, least = 0): Check =>
  (value, path, refuse) => {
    if (!Array.isArray(value) || value.length < least)
      throw refuse(path, least > 0 ? 'a list that is not empty' : 'a list', value);
    value.forEach((entry, index) => {
      item(entry, `${path}[${index}]`, refuse);
    });
  };

const object =
  (fields: Record<string, Check>): Check =>
  (value, path, refuse) => {
    if (!isPlainObject(value)) throw refuse(path, 'an object', value);
    for (const [name, check] of Object.entries(fields))
      check(Object.hasOwn(value, name) ? value[name] : undefined, path ? `${path}.${name}` : name, refuse);
  };

/** An object of optional fields and no others: a misspelt one would be passed over in silence. */
const options =
  (fields: Record<string, Check>): Check =>
  (value, path, refuse) => {
    if (!isPlainObject(value)) throw refuse(path, 'an object', value);
    for (const [name, item] of Object.entries(value)) {
      if (!Object.hasOwn(fields, name))
        throw refuse(`${path}.${name}`, `${Object.keys(fields).join(', ')} and nothing else`, item);
      fields[name]!(item, `${path}.${name}`, refuse);
    }
  };

const nullable =
  (check: Check): Check =>
  (value, path, refuse) => {
    if (value !== null) check(value, path, refuse);
  };

const optional =
  (check: Check): Check =>
  (value, path, refuse) => {
    if (value !== undefined) check(value, path, refuse);
  };

const ids: Check = (value, path, refuse) => {
  if (!isPlainObject(value) || !Object.values(value).every(isNatural))
    throw refuse(path, 'ids by token', value);
};

const between = (low: number, high: number): Check =>
  that(`a number between ${low} and ${high}`, (value) => isFiniteNumber(value) && inRange(value, low, high));

const share = that(
  'a number above 0 and below 1',
  (value) => isFiniteNumber(value) && value > 0 && value < 1,
);

const part = { file: fileName, bytes };

/** The ranges of the option `sampling`. */
const speakerGuidance = between(0, samplingLimits.guidance);
const bothGuidances = options({ speaker: speakerGuidance, prompt: between(1, samplingLimits.guidance) });
const sampling = options({
  temperature: between(0, samplingLimits.temperature),
  topP: between(0, 1),
  topK: that('a safe integer of at least 1', (value) => Number.isSafeInteger(value) && (value as number) > 0),
  guidance: (value, path, refuse) => {
    const check = isPlainObject(value) ? bothGuidances : speakerGuidance;
    check(value, path, refuse);
  },
});

const stage = {
  ...part,
  dtype: oneOf('float32', 'float16', 'bfloat16'),
  layers: count,
  heads: size,
  width: size,
  feedForward: size,
  positions: size,
  vocabularies: list(size, 1),
  outputs: list(size, 1),
  tied: flag,
  speakerEmbedding: natural,
  norm: oneOf('rmsnorm', 'layernorm'),
  normEpsilon: positive,
  activation: oneOf('swiglu', 'gelu'),
  tokenizer: object({
    name: text,
    pattern: text,
    ranks: list(base64, 1),
    special: ids,
    offset: natural,
  }),
};
const firstStage = object({ ...stage, quantization: optional(oneOf('none', 'int8', 'int4')) });
const secondStage = object({
  ...stage,
  quantization: that('nothing, as only the first stage is quantised,', (value) => value === undefined),
});

const diffusion = object({
  ...part,
  dtype: oneOf('float32', 'float16', 'bfloat16'),
  sampleRate: size,
  latent: size,
  bands: list(
    object({
      channels: list(size, 1),
      kernel: size,
      stride: size,
      residualBlocks: count,
      normGroups: size,
      steps: size,
      schedule: object({
        betaStart: share,
        betaEnd: share,
        exponent: positive,
        noiseScale: between(0, 1e3),
        clip: nullable(positive),
      }),
      processor: nullable(object({ bands: count, power: between(-100, 100) })),
    }),
    1,
  ),
});

const refused = object({ reason: text, modified: that('a time in milliseconds', isFiniteNumber) });

const manifest = object({
  format: oneOf('metavoice-model'),
  version: that('1, the version that this package reads', (value) => value === 1),
  firstStage: nullable(firstStage),
  secondStage: nullable(secondStage),
  speakerEncoder: nullable(object({ ...part, layers: count, hidden: size, mels: size, embedding: size })),
  codec: nullable(
    object({
      ...part,
      sampleRate: size,
      ratios: list(size, 1),
      dimension: size,
      codebookSize: size,
      storedCodebooks: count,
      codebooks: count,
      encoder: flag,
    }),
  ),
  enhancer: optional(
    object({
      ...part,
      sampleRate: size,
      window: size,
      bands: size,
      deepBins: size,
      order: count,
      lookAhead: size,
      leastBandBins: size,
      meanSeconds: positive,
      channels: size,
      hidden: size,
    }),
  ),
  diffusion: optional(diffusion),
  speakers: list(object({ name: spokenName, embedding: base64 })),
  sampling: optional(sampling),
  provenance: object({
    sources: list(object({ file: text, bytes })),
    digest: text,
    layers: optional(text),
    leftOut: optional(options({ diffusion: refused, enhancer: refused })),
    converter: text,
  }),
});

/** The value as a manifest. Throws ERR_CHECKPOINT that names the field, what was expected and what was found. */
export function checkManifest(file: string, value: unknown): Manifest {
  const refuse: Refuse = (path, expected, found) =>
    refuseCheckpoint(
      file,
      `expected ${expected} for \`${path || 'the manifest'}\` but found ${received(found)}; convert the model again`,
      { field: path, expected, found },
    );
  manifest(value, '', refuse);
  const checked = value as Manifest;
  checkSense(checked, refuse);
  return checked;
}

/** What single fields can't show. */
function checkSense(checked: Manifest, refuse: Refuse): void {
  for (const name of ['firstStage', 'secondStage'] as const) {
    const stage = checked[name];
    if (!stage) continue;
    if (stage.width % stage.heads !== 0)
      throw refuse(`${name}.heads`, `a divisor of the width ${stage.width}`, stage.heads);
    const largest = stage.tokenizer.offset + largestId(stage.tokenizer);
    if (largest >= stage.vocabularies[0]!)
      throw refuse(`${name}.tokenizer`, `ids below ${stage.vocabularies[0]}`, largest);
  }
  const { codec } = checked;
  if (codec && codec.codebooks > codec.storedCodebooks)
    throw refuse('codec.codebooks', `at most ${codec.storedCodebooks}`, codec.codebooks);
  // A frame of many seconds would be blamed on the lengths of chunks that the user asked for.
  const hop = codec?.ratios.reduce((product, ratio) => product * ratio, 1) ?? 0;
  if (codec && codec.sampleRate < Math.max(1000, hop))
    throw refuse('codec.sampleRate', 'a rate of sound, with frames of less than a second', codec.sampleRate);
  checkDiffusion(checked, refuse);
  const wrong = checked.enhancer && unsound(checked.enhancer);
  if (wrong) throw refuse(`enhancer.${wrong.field}`, wrong.expected, checked.enhancer?.[wrong.field]);
  checkSpeakers(checked, refuse);
  if (!partNames.some((name) => checked[name])) throw refuse('firstStage', 'at least one part', null);
}

function checkDiffusion({ diffusion: found, codec }: Manifest, refuse: Refuse): void {
  for (const [index, { channels, normGroups }] of found?.bands.entries() ?? [])
    if (channels.some((width) => width % normGroups !== 0))
      throw refuse(
        `diffusion.bands[${index}].normGroups`,
        'a divisor of every number of channels',
        normGroups,
      );
  if (!found || !codec) return;
  for (const [name, value, expected] of [
    ['latent', found.latent, codec.dimension],
    ['sampleRate', found.sampleRate, codec.sampleRate],
  ] as const)
    if (value !== expected) throw refuse(`diffusion.${name}`, `${expected} as in the codec`, value);
}

function checkSpeakers({ speakers, speakerEncoder, firstStage }: Manifest, refuse: Refuse): void {
  const embedding = speakerEncoder?.embedding ?? firstStage?.speakerEmbedding;
  const names = new Set<string>();
  for (const [index, speaker] of speakers.entries()) {
    if (names.has(speaker.name))
      throw refuse(`speakers[${index}].name`, 'a name that no other speaker has', speaker.name);
    names.add(speaker.name);
    const numbers = Buffer.from(speaker.embedding, 'base64').length / 4;
    if (!Number.isInteger(numbers) || numbers === 0 || (embedding && numbers !== embedding))
      throw refuse(`speakers[${index}].embedding`, `${embedding ?? 'some'} float32 numbers`, numbers);
  }
}
