import { open, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromNative, MetaVoiceError } from '../errors.js';
import type { CopyJob, CopyPiece, Dtype } from '../native/contract.js';
import { loadDoor } from '../runtime/load.js';
import { type OptionalPart, optionalParts } from './left-out.js';
import { type Manifest, manifestFile, type PartManifest, type RefusedPart } from './manifest.js';
import { checkModelFolder } from './model-folder.js';
import { isQuantized, quantizedTensors } from './names.js';
import { type PartName, type PlannedPart, partNames, sourceOf } from './part.js';
import { entryOf, type ModelPlan } from './plan-model.js';
import { quantizeFile } from './quantize.js';
import { type PlannedTensor, planSafetensors } from './safetensors.js';

export interface ConvertProgress {
  /** The part that is written: `first stage`, `second stage`, `speaker encoder`, `codec`, `diffusion` or `enhancer`. */
  phase: string;
  bytes: number;
  totalBytes: number;
}

export interface WriteOptions {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: ConvertProgress) => void) | undefined;
  /** An optional part whose numbers are refused is left out, and the manifest says why; else it is an error. */
  leavesOut?: boolean | undefined;
}

const files: Readonly<Record<PartName, { file: string; phase: string }>> = {
  firstStage: { file: 'first_stage.safetensors', phase: 'first stage' },
  secondStage: { file: 'second_stage.safetensors', phase: 'second stage' },
  speakerEncoder: { file: 'speaker_encoder.safetensors', phase: 'speaker encoder' },
  codec: { file: 'codec.safetensors', phase: 'codec' },
  diffusion: { file: 'diffusion.safetensors', phase: 'diffusion' },
  enhancer: { file: 'enhancer.safetensors', phase: 'enhancer' },
};

/** One file to be written: its header, and what is cast into it. */
interface PartJob {
  name: PartName;
  phase: string;
  entry: PartManifest;
  path: string;
  /** The file that its numbers come from. */
  source: string;
  header: Buffer;
  pieces: CopyPiece[];
  /** What is quantised on its way: `destinationOffset` is that of the numbers. */
  quantized: QuantizedPiece[];
  unpacked: Buffer | undefined;
}

interface QuantizedPiece {
  piece: CopyPiece;
  quantization: 'int8' | 'int4';
  /** Where the scales begin in the file. */
  scale: number;
}

/**
 * Writes the files of a model into an existing folder, the manifest last, everything flushed. The numbers are cast on a
 * native thread in small buffers. Rejects with ERR_CHECKPOINT, the errno errors of the file system, or the signal's
 * reason; what was written stays for the caller to remove.
 */
export async function writeModel(
  plan: ModelPlan,
  folder: string,
  { signal, onProgress, leavesOut = false }: WriteOptions,
): Promise<Manifest> {
  const jobs = partNames.flatMap((name) => {
    const part = plan[name];
    return part ? [jobFor(name, part, folder)] : [];
  });
  const totalBytes = jobs.reduce((sum, { entry }) => sum + entry.bytes, 0);
  const leftOut: Partial<Record<PartName, RefusedPart>> = {};
  let before = 0;
  for (const job of jobs) {
    const { name, phase, entry, path, source } = job;
    signal?.throwIfAborted();
    const progress = (bytes: number) => onProgress?.({ phase, bytes: before + bytes, totalBytes });
    progress(0);
    try {
      await writePart(job, signal, progress);
    } catch (error) {
      const others = jobs.length - Object.keys(leftOut).length > 1;
      const mayGo = leavesOut && others && optionalParts.includes(name as OptionalPart);
      if (!mayGo || !MetaVoiceError.isInstance(error) || error.code !== 'ERR_CHECKPOINT') throw error;
      leftOut[name] = { reason: error.message, modified: (await stat(source)).mtimeMs };
      await rm(path);
    }
    before += entry.bytes;
  }
  const written = jobs.filter(({ name }) => !leftOut[name]);
  const manifest: Manifest = {
    format: 'metavoice-model',
    version: 1,
    firstStage: null,
    secondStage: null,
    speakerEncoder: null,
    codec: null,
    ...Object.fromEntries(written.map(({ name, entry }) => [name, entry])),
    speakers: plan.speakers ?? [],
    ...(plan.sampling && { sampling: plan.sampling }),
    provenance: { ...plan.provenance, ...(written.length < jobs.length && { leftOut }) },
  };
  signal?.throwIfAborted();
  await writeFlushed(join(folder, manifestFile), `${JSON.stringify(manifest, null, 1)}\n`);
  await flushFolder(folder);
  // What was written is held to the same rules as what is read.
  return checkModelFolder(folder);
}

function jobFor(name: PartName, part: PlannedPart<PartManifest>, folder: string): PartJob {
  const { file, phase } = files[name];
  const { unpacked } = part;
  const tensors = part.tensors.map((tensor) => ({ dtype: part.dtype, ...tensor }));
  const { quantization } = part;
  const planned = tensors.flatMap(({ name: tensor, dtype, source }): PlannedTensor[] =>
    quantization && isQuantized(tensor, source.shape, quantization)
      ? quantizedTensors(tensor, source.shape as [number, number], quantization).map(([each, made]) => ({
          name: each,
          ...made,
        }))
      : [{ name: tensor, dtype, shape: source.shape }],
  );
  const { header, offsets, size } = planSafetensors(planned, { format: 'metavoice' });
  const all = tensors.map(({ name: tensor, source, dtype }): CopyPiece => {
    const { crc32 } = source;
    return {
      name: tensor,
      source: source.file,
      sourceOffset: source.offset,
      sourceDtype: source.dtype as 'float64' | Dtype,
      destinationOffset: offsets.get(tensor)!,
      destinationDtype: dtype,
      shape: [...source.shape],
      strides: source.strides && [...source.strides],
      ...(crc32 !== undefined && { crc32 }),
    };
  });
  // In the order of the source a disk reads forward.
  all.sort((a, b) => a.sourceOffset - b.sourceOffset);
  const quantizes = ({ name: tensor, shape }: CopyPiece) =>
    quantization !== undefined && isQuantized(tensor, shape, quantization);
  const pieces = all.filter((piece) => !quantizes(piece));
  const quantized = all.filter(quantizes).map((piece) => ({
    piece,
    quantization: quantization!,
    scale: offsets.get(piece.name.replace(/weight$/, 'scale'))!,
  }));
  const path = join(folder, file);
  const entry = entryOf(part, { file, bytes: size });
  return { name, phase, entry, path, source: sourceOf(part), header, pieces, quantized, unpacked };
}

async function writePart(
  { path, header, pieces, quantized, unpacked: bytes }: PartJob,
  signal: AbortSignal | undefined,
  onProgress: (bytes: number) => void,
): Promise<void> {
  await writeFile(path, header, { flag: 'wx' });
  let done = header.length;
  const unpacked = bytes && `${path}.unpacked`;
  if (unpacked) await writeFile(unpacked, bytes, { flag: 'wx' });
  try {
    await copy(
      {
        destination: path,
        pieces: unpacked ? pieces.map((piece) => ({ ...piece, source: unpacked })) : pieces,
      },
      signal,
      (bytes) => {
        done = header.length + bytes;
        onProgress(done);
      },
    );
  } finally {
    if (unpacked) await rm(unpacked);
  }
  if (quantized.length > 0)
    await writeQuantized(path, quantized, signal, (bytes) => onProgress(done + bytes));
}

/**
 * Each matrix is cast to bfloat16 in a file of its own, where its rows lie one after the other whatever it came from, and
 * goes from there through a buffer.
 */
async function writeQuantized(
  path: string,
  quantized: readonly QuantizedPiece[],
  signal: AbortSignal | undefined,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const whole = `${path}.whole`;
  const destination = await open(path, 'r+');
  try {
    let before = 0;
    for (const { piece, quantization, scale } of quantized) {
      const { name, shape, source: origin, destinationOffset: weight } = piece;
      await writeFile(whole, '', { flag: 'wx' });
      const job = {
        destination: whole,
        pieces: [{ ...piece, destinationOffset: 0, destinationDtype: 'bfloat16' as const }],
      };
      await copy(job, signal, () => {});
      before += await quantizeFile(
        whole,
        { name, shape: shape as [number, number], origin },
        quantization,
        destination,
        { weight, scale },
        (bytes) => {
          signal?.throwIfAborted();
          onProgress(before + bytes);
        },
      );
      await rm(whole);
    }
    await destination.sync();
  } finally {
    await destination.close();
    await rm(whole, { force: true });
  }
}

/** Runs a native copy; an aborted one rejects with the signal's reason. */
async function copy(
  job: CopyJob,
  signal: AbortSignal | undefined,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const running = loadDoor().copyTensors(job, onProgress);
  const cancel = () => running.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  if (signal?.aborted) cancel();
  try {
    await running.done;
  } catch (error) {
    signal?.throwIfAborted();
    throw fromNative(error);
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}

async function writeFlushed(path: string, text: string): Promise<void> {
  const handle = await open(path, 'wx');
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes the names in a folder last; where a folder can't be flushed, the system takes care of it. */
export async function flushFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    await handle.sync().finally(() => handle.close());
  } catch {
    // Not possible on Windows and on some network drives.
  }
}
