/** `metavoice convert`: published checkpoints in, a model folder out. */

import { parseArgs } from 'node:util';
import { convertModel } from '../checkpoint/convert.js';
import { type Manifest, readManifest } from '../checkpoint/manifest.js';
import type { PublishedPaths } from '../checkpoint/sources.js';
import { resolveDevicePolicy } from '../device/policy.js';
import { isString } from '../is.js';
import { findModel } from '../locate-model.js';
import type { Dtype } from '../native/contract.js';
import { resolveLoadOptions, resolveQuantization } from '../resolve-options.js';
import { loadDoor } from '../runtime/load.js';
import { requirePositionals, share, sizeWords } from './arguments.js';
import { type Terminal, write } from './terminal.js';

export const help = `Usage: metavoice convert IN OUT [OPTIONS]

Turns a folder of published files (first_stage.pt, second_stage.pt, speaker_encoder.pt, encodec_24khz*.th), or a hub id
that \`metavoice download\` has fetched, into a model folder, which loads in no time. To be quantised, IN may also be a model
folder with whole weights. OUT must not exist, or be empty.

  --dtype T           float32, float16, bfloat16, or auto (default): what this machine runs best; of a model folder its own
  --quantization Q    weights of the first stage: none (default), int8 or int4
  --keep-layers L     layers of the first stage to keep, such as 0-11,18-23
  --json              tell about it in JSON
`;

const known = {
  dtype: { type: 'string' },
  quantization: { type: 'string' },
  'keep-layers': { type: 'string' },
  json: { type: 'boolean' },
} as const;

export async function run(args: string[], terminal: Terminal): Promise<void> {
  const { values, positionals } = parseArgs({ args, options: known, allowPositionals: true });
  const [source, destination] = requirePositionals(positionals, ['IN', 'OUT']) as [string, string];
  const keepLayers = values['keep-layers'];
  const quantization = resolveQuantization(values.quantization) ?? 'none';
  const asked = resolveLoadOptions(values.dtype === undefined ? {} : { dtype: values.dtype }).dtype;
  const files = await findModel(source, { download: false, signal: null, onProgress: null });
  const dtype = asked === 'auto' ? await chooseDtype(files) : asked;
  const manifest = await convertModel(files, destination, {
    dtype,
    quantization,
    ...(keepLayers !== undefined && { keepLayers }),
    signal: terminal.signal,
    onProgress: ({ phase, bytes, totalBytes }) => terminal.progress(`${phase}, ${share(bytes, totalBytes)}`),
  });
  terminal.progress(null);
  const parts = partsOf(manifest);
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  const numbers = quantization === 'none' ? dtype : `${dtype} and ${quantization}`;
  await write(
    terminal.stdout,
    values.json
      ? `${JSON.stringify({ folder: destination, dtype, quantization, parts })}\n`
      : `${destination}: ${parts.map(({ part }) => part).join(', ')} in ${numbers}, ${sizeWords(total)}\n`,
  );
}

/** `auto` takes what a model folder has, and else asks the machine, without opening libtorch. */
async function chooseDtype(source: string | PublishedPaths): Promise<Dtype> {
  const manifest = isString(source) ? await readManifest(source).catch(() => null) : null;
  const stored = manifest?.firstStage?.dtype ?? manifest?.secondStage?.dtype;
  if (stored) return stored;
  const door = loadDoor();
  const facts = { cpu: door.cpuFacts(), cuda: door.cudaFacts(), libtorch: null };
  return resolveDevicePolicy(facts, { device: 'auto', dtype: 'auto', quantization: 'none' }).dtype;
}

function partsOf({ firstStage, secondStage, speakerEncoder, codec }: Manifest) {
  const named = {
    'first stage': firstStage,
    'second stage': secondStage,
    'speaker encoder': speakerEncoder,
    codec,
  };
  return Object.entries(named).flatMap(([part, entry]) => (entry ? [{ part, bytes: entry.bytes }] : []));
}
