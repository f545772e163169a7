/**
 * The decoders make a WebAssembly instance with 16 MB or more of memory for every file, which takes most of the time of
 * a small one. Here an instance serves many inputs: before each its memory is put back to what it was when it was new,
 * as far up as it was ever seen in use. That is the state of a fresh one, without making it.
 */

import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { FLACDecoder } from '@wasm-audio-decoders/flac';
import { OggVorbisDecoder } from '@wasm-audio-decoders/ogg-vorbis';
import { MPEGDecoder } from 'mpg123-decoder';

/** Inputs that an instance serves; then what lay above the known part goes with it. */
const mostUses = 200;

/** Bytes above the highest one in use that are put back, too. */
const margin = 1 << 20;

/** @typedef {{ HEAP: ArrayBuffer, ready: Promise<void> }} Wasm */

/**
 * @param {any} decoder an instance, from which its class and the class of its WebAssembly are taken
 * @returns {() => void} to be called when an instance may be broken
 */
function reuse(decoder) {
  const Original = decoder._EmscriptenWASM;
  /** @type {Wasm | null} */
  let live = null;
  /** @type {Uint8Array | null} */
  let fresh = null;
  let highest = 0;
  let uses = 0;
  decoder.constructor.EmscriptenWASM = /** @this {any} @param {unknown} common */ function (common) {
    this.instantiate = () => {
      if (live && uses === 8) highest = Math.max(highest, lastUsed(live.HEAP));
      if (!live || ++uses > mostUses) {
        const made = /** @type {Wasm} */ (new Original(common).instantiate());
        live = made;
        fresh = null;
        uses = 0;
        made.ready = made.ready.then(() => {
          fresh = new Uint8Array(made.HEAP).slice();
        });
      } else if (fresh) {
        const whole = highest === 0;
        new Uint8Array(live.HEAP).set(whole ? fresh : fresh.subarray(0, highest + margin));
      }
      return live;
    };
  };
  return () => {
    live = null;
  };
}

/** @param {ArrayBuffer} memory */
function lastUsed(memory) {
  const bytes = new Uint8Array(memory);
  let at = bytes.length - 1;
  while (at > 0 && bytes[at] === 0) at--;
  return at;
}

/** @type {(() => void)[]} */
const drops = [];

/** Makes the decoders of this thread reuse their instances. */
export async function reusedInstances() {
  if (drops.length > 0) return;
  // The Opus decoder proper is a dependency of the package that reads OGG.
  const from = createRequire(createRequire(import.meta.url).resolve('ogg-opus-decoder'));
  const { OpusDecoder } = await import(pathToFileURL(from.resolve('opus-decoder')).href);
  const flac = /** @type {any} */ (new FLACDecoder());
  const vorbis = /** @type {any} */ (new OggVorbisDecoder());
  const decoders = [flac._decoder, vorbis._decoder, new MPEGDecoder(), new OpusDecoder()];
  for (const decoder of decoders) {
    await decoder.ready;
    drops.push(reuse(decoder));
    decoder.free();
  }
}

/** After a trap nothing in an instance is what it was. */
export const dropInstances = () => {
  for (const drop of drops) drop();
};
