/**
 * Decode steps of one loaded model, in a process of its own: `node bench/steps-part.mjs '{…}'`, JSON on stdout. Each round
 * measures what memory can be read at, the steps, and one step at each position by libtorch alone.
 */
import { callSite } from '../dist/call-site.js';
import { devices } from '../dist/index.js';
import { loadModel } from '../dist/load-model.js';
import { resolveLoadOptions } from '../dist/resolve-options.js';
import { isPublishedSize, planPositions, summarizeSteps } from './step-figures.mjs';

/** @param {{ model: string, device: string, dtype: string, quantization?: string, kvCache?: string, repeats: number, steps: number, libtorch: boolean }} settings */
async function measure({ repeats, steps, libtorch, ...options }) {
  const start = performance.now();
  const {
    native,
    manifest,
    policy,
    libtorch: runtime,
  } = await loadModel(resolveLoadOptions(options), callSite(measure));
  const loadSeconds = (performance.now() - start) / 1000;
  const stage = manifest.firstStage;
  if (!stage) throw new Error(`expected a first stage in ${options.model}`);
  const plan = planPositions(stage.positions);
  const positions = Int32Array.from([...plan.reported, ...plan.mean]);
  const times = async (/** @type {number} */ count, /** @type {boolean} */ libtorchOnly) => {
    const { seconds, ...bytes } = await native.stepTimes(positions, count, libtorchOnly);
    return { seconds: [...seconds], ...bytes };
  };
  /** @type {import('./step-figures.mjs').Round[]} */
  const rounds = [];
  for (let round = 0; round < repeats; round++)
    rounds.push({
      bandwidth: await native.readBandwidth(),
      own: await times(steps, false),
      libtorch: libtorch ? await times(1, true) : null,
    });
  const peakDeviceBytes = await native.peakDeviceBytes();
  await native.dispose();
  return {
    device: policy.device,
    gpu: devices().find(({ id }) => id === policy.device && id !== 'cpu')?.name ?? null,
    dtype: policy.dtype,
    quantization: policy.quantization,
    kvCache: policy.kvCache,
    libtorch: runtime.version,
    publishedSize: isPublishedSize(stage),
    loadSeconds,
    peakDeviceBytes,
    ...{ repeats, steps },
    ...summarizeSteps(rounds, plan),
  };
}

process.stdout.write(JSON.stringify(await measure(JSON.parse(process.argv[2] ?? '{}'))));
