/** `metavoice convert`: published checkpoints in, a model folder out. */

import { parseArgs } from 'node:util';
import { convertModel } from '../checkpoint/convert.js';
import type { Manifest } from '../checkpoint/manifest.js';
import { resolveDevicePolicy } from '../device/policy.js';
import { findModel } from '../locate-model.js';
import type { Dtype } from '../native/contract.js';
import { resolveLoadOptions } from '../resolve-options.js';
import { loadDoor } from '../runtime/load.js';
import { requirePositionals, share, sizeWords } from './arguments.js';
import { type Terminal, write } from './terminal.js';

export const help = `Usage: metavoice convert IN OUT [OPTIONS]

Turns a folder of published files (first_stage.pt, second_stage.pt, speaker_encoder.pt, encodec_24khz*.th), or a hub id
that \`metavoice download\` has fetched, into a model folder, which loads in no time. OUT must not exist, or be empty.

  --dtype T           float32, float16, bfloat16, or auto (default): what this machine runs best
  --keep-layers L     layers of the first stage to keep, such as 0-11,18-23
  --json              tell about it in JSON
`;

const known = {
  dtype: { type: 'string' },
  'keep-layers': { type: 'string' },
  json: { type: 'boolean' },
} as const;

export async function run(args: string[], terminal: Terminal): Promise<void> {
  const { values, positionals } = parseArgs({ args, options: known, allowPositionals: true });
  const [source, destination] = requirePositionals(positionals, ['IN', 'OUT']) as [string, string];
  const dtype = chooseDtype(values.dtype);
  const keepLayers = values['keep-layers'];
  const files = await findModel(source, { download: false, signal: null, onProgress: null });
  const manifest = await convertModel(files, destination, {
    dtype,
    ...(keepLayers !== undefined && { keepLayers }),
    signal: terminal.signal,
    onProgress: ({ phase, bytes, totalBytes }) => terminal.progress(`${phase}, ${share(bytes, totalBytes)}`),
  });
  terminal.progress(null);
  const parts = partsOf(manifest);
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  await write(
    terminal.stdout,
    values.json
      ? `${JSON.stringify({ folder: destination, dtype, parts })}\n`
      : `${destination}: ${parts.map(({ part }) => part).join(', ')} in ${dtype}, ${sizeWords(total)}\n`,
  );
}

/** `auto` asks the machine, without opening libtorch. */
function chooseDtype(asked: string | undefined): Dtype {
  const { dtype } = resolveLoadOptions(asked === undefined ? {} : { dtype: asked });
  if (dtype !== 'auto') return dtype;
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
