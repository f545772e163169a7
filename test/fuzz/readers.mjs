/** The readers under test: where their inputs come from, and what reading one is. */
import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { decodeBytes } from '../../dist/audio/decode-bytes.js';
import { AudioProblem } from '../../dist/audio/limits.js';
import { readPages } from '../../dist/audio/ogg.js';
import { decodeWav } from '../../dist/audio/riff.js';
import { sniffAudio } from '../../dist/audio/sniff.js';
import { namedProblem } from '../../dist/audio/source.js';
import { MemoryReader } from '../../dist/checkpoint/byte-reader.js';
import { planCodecFromTorch } from '../../dist/checkpoint/codec.js';
import { planDiffusion } from '../../dist/checkpoint/diffusion.js';
import { planEnhancer } from '../../dist/checkpoint/enhancer.js';
import { parseIni, readingEnhancerZip } from '../../dist/checkpoint/enhancer-file.js';
import { checkManifest } from '../../dist/checkpoint/manifest-check.js';
import { unpickling } from '../../dist/checkpoint/pickle.js';
import { readAsync, readSync } from '../../dist/checkpoint/reading.js';
import { readingSafetensors } from '../../dist/checkpoint/safetensors.js';
import { planSpeakerEncoder } from '../../dist/checkpoint/speaker-encoder.js';
import { TorchFile } from '../../dist/checkpoint/torch-file.js';
import { planTransformer } from '../../dist/checkpoint/transformer.js';
import { MetaVoiceError } from '../../dist/errors.js';
import { lyingLegacy, lyingSafetensors, lyingWav, lyingZip, zip } from './containers.mjs';
import { lyingManifests } from './manifests.mjs';
import { mutated } from './mutate.mjs';
import { pickle } from './pickles.mjs';
import { reusedInstances } from './wasm.mjs';

/**
 * @typedef {object} Reader
 * @property {string} corpus folder of it under corpus/
 * @property {(files: readonly Buffer[]) => import('fast-check').Arbitrary<Buffer>} inputs
 * @property {(bytes: Buffer) => unknown} read returns or throws; a promise where it takes one
 * @property {string} code of the error that it may throw
 * @property {() => Promise<void>} [prepare]
 */

/** What reads the values of a checkpoint; each refuses most of them. */
const planners = [
  (/** @type {TorchFile} */ file) => planTransformer(file, 'first', 'float16'),
  (/** @type {TorchFile} */ file) => planTransformer(file, 'second', 'float16'),
  planSpeakerEncoder,
  planCodecFromTorch,
  (/** @type {TorchFile} */ file) => planDiffusion(file, 'float16'),
];

/** @param {Buffer} bytes */
function readTorch(bytes) {
  const file = readSync(TorchFile.reading(new MemoryReader('input', bytes)));
  for (const plan of planners) {
    try {
      plan(file);
    } catch (error) {
      if (!isRefusal(error, 'ERR_CHECKPOINT')) throw error;
    }
  }
}

/** The weights that a hostile configuration stands beside. */
const enhancer = once(() =>
  readSync(
    readingEnhancerZip(new MemoryReader('corpus', /** @type {Buffer} */ (corpusOf('enhancer').find(isZip)))),
  ),
);

const isZip = (/** @type {Buffer} */ bytes) => bytes.subarray(0, 2).toString('latin1') === 'PK';

/** @template T @param {() => T} make @returns {() => T} */
function once(make) {
  /** @type {T | undefined} */
  let made;
  return () => (made ??= make());
}

/**
 * An archive, or what may lie in it as config.ini. Awaited, for what fails to unpack at once keeps its memory until the event
 * loop turns.
 *
 * @param {Buffer} bytes
 */
async function readEnhancer(bytes) {
  if (isZip(bytes))
    return planEnhancer(await readAsync(readingEnhancerZip(new MemoryReader('input', bytes))));
  return planEnhancer({ ...enhancer(), config: parseIni(bytes.toString('utf8')) });
}

/** @param {unknown} error @param {string} code */
export const isRefusal = (error, code) => MetaVoiceError.isInstance(error) && error.code === code;

/** Through the error that a user gets. @param {() => unknown} read */
function named(read) {
  const fail = (/** @type {unknown} */ error) => {
    throw error instanceof AudioProblem ? namedProblem(error, null) : error;
  };
  try {
    const result = read();
    return result instanceof Promise ? result.catch(fail) : result;
  } catch (error) {
    return fail(error);
  }
}

/** Two kinds of input, so many of each. @param {number} share of the second, in percent */
const both = (
  /** @type {import('fast-check').Arbitrary<Buffer>} */ first,
  /** @type {import('fast-check').Arbitrary<Buffer>} */ second,
  share = 50,
) => fc.oneof({ weight: 100 - share, arbitrary: first }, { weight: share, arbitrary: second });

/** @param {string[]} words @returns {Reader} */
const compressed = (words) => ({
  corpus: '',
  inputs: (files) => mutated(files, words),
  read: (bytes) => named(() => decodeBytes(new Uint8Array(bytes), () => {})),
  code: 'ERR_REFERENCE_AUDIO',
  prepare: reusedInstances,
});

/** @type {Record<string, Reader>} */
export const readers = {
  pickle: {
    corpus: 'pickle',
    inputs: (files) =>
      both(mutated(files, ['\x80\x02', '}q\0', 'h\0', ')R', '(tR', '\x8a\xff', 'X\xff\xff\xff\xff']), pickle),
    read(bytes) {
      readSync(unpickling(bytes, 'input'));
      readTorch(zip([{ name: 'a/data.pkl', data: bytes }]));
    },
    code: 'ERR_CHECKPOINT',
  },
  'torch-zip': {
    corpus: 'torch-zip',
    inputs: (files) =>
      both(
        mutated(files, [
          'PK\x01\x02',
          'PK\x03\x04',
          'PK\x05\x06',
          'PK\x06\x06',
          'PK\x06\x07',
          '/data.pkl',
          'data/',
        ]),
        lyingZip,
      ),
    read: readTorch,
    code: 'ERR_CHECKPOINT',
  },
  'torch-legacy': {
    corpus: 'torch-legacy',
    inputs: (files) => both(mutated(files, ['\x80\x02', '.', 'storage', '\x04\0\0\0\0\0\0\0']), lyingLegacy),
    read: readTorch,
    code: 'ERR_CHECKPOINT',
  },
  safetensors: {
    corpus: 'safetensors',
    inputs: (files) =>
      both(
        mutated(files, [
          '"dtype":',
          '"shape":[',
          '"data_offsets":[',
          '__metadata__',
          '__proto__',
          '{}',
          '1e999',
          '[[[[',
        ]),
        lyingSafetensors,
      ),
    read: (bytes) => readSync(readingSafetensors(new MemoryReader('input', bytes))),
    code: 'ERR_CHECKPOINT',
  },
  enhancer: {
    corpus: 'enhancer',
    inputs: (files) =>
      mutated(files, [
        'PK\x01\x02',
        'PK\x03\x04',
        'PK\x05\x06',
        'config.ini',
        '.ckpt.best',
        '[df]',
        '__proto__',
        '\n',
        ' = ',
        '1e999',
      ]),
    read: readEnhancer,
    code: 'ERR_CHECKPOINT',
    prepare: async () => {},
  },
  manifest: {
    corpus: 'manifest',
    inputs: (files) =>
      both(
        mutated(files, ['null', '"toString"', '"__proto__"', '{}', '[]', '1e999', '-1', '"constructor"']),
        lyingManifests(files),
        90,
      ),
    read(bytes) {
      let value;
      try {
        value = JSON.parse(bytes.toString('utf8'));
      } catch {
        return;
      }
      checkManifest('input', value);
    },
    code: 'ERR_CHECKPOINT',
  },
  sniff: {
    corpus: 'audio',
    inputs: (files) =>
      mutated(files, ['ID3', 'RIFF', 'OggS', 'fLaC', '\xff\xfb', '\x01vorbis', 'OpusHead', 'ftyp']),
    read: (bytes) => sniffAudio(bytes),
    code: 'ERR_REFERENCE_AUDIO',
  },
  wav: {
    corpus: 'wav',
    inputs: (files) =>
      both(mutated(files, ['RIFF', 'RF64', 'WAVE', 'fmt ', 'data', 'ds64', 'LIST']), lyingWav),
    read: (bytes) => named(() => decodeWav(bytes)),
    code: 'ERR_REFERENCE_AUDIO',
  },
  ogg: {
    corpus: 'opus',
    inputs: (files) => mutated(files, ['OggS', 'OpusHead', '\x01vorbis', '\xff\xff\xff\xff', '\0\0\0\0']),
    read: (bytes) =>
      named(() => {
        const { pieces } = readPages(bytes, 'OGG');
        if (pieces.some((end, index) => end <= (pieces[index - 1] ?? 0) || end > bytes.length))
          throw new Error(`pieces that end at ${pieces}`);
      }),
    code: 'ERR_REFERENCE_AUDIO',
  },
  flac: { ...compressed(['fLaC', '\xff\xf8', '\xff\xf9', 'OggS', '\x7fFLAC']), corpus: 'flac' },
  mp3: { ...compressed(['ID3', 'Xing', 'Info', '\xff\xfb', '\xff\xf3', '\xff\xe3']), corpus: 'mp3' },
  vorbis: { ...compressed(['OggS', '\x01vorbis', '\x03vorbis', '\x05vorbis', 'BCV']), corpus: 'vorbis' },
  opus: { ...compressed(['OggS', 'OpusHead', 'OpusTags', '\0\x02', '\x04\x05']), corpus: 'opus' },
};

/** @param {string} name */
export function corpusOf(name) {
  const folder = new URL(`./corpus/${/** @type {Reader} */ (readers[name]).corpus}/`, import.meta.url);
  return readdirSync(folder)
    .sort()
    .map((file) => readFileSync(new URL(file, folder)));
}
