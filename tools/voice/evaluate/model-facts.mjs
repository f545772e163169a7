/** What a model folder says of itself: sizes for the report. */
import { join } from 'node:path';
import { readManifest } from '../../../dist/checkpoint/manifest.js';
import { readSafetensors } from '../../../dist/checkpoint/safetensors.js';

/** @param {string} folder */
export async function modelFacts(folder) {
  const manifest = await readManifest(folder);
  const { firstStage, secondStage, speakerEncoder, codec } = manifest;
  if (!firstStage || !secondStage || !speakerEncoder || !codec)
    throw new Error(`expected all four parts in ${folder}`);
  const hop = codec.ratios.reduce((product, ratio) => product * ratio, 1);
  const part = async (/** @type {{ file: string, bytes: number }} */ { file, bytes }) => ({
    bytes,
    parameters: await countParameters(join(folder, file)),
  });
  return {
    speakers: manifest.speakers.map(({ name }) => name),
    sampleRate: codec.sampleRate,
    framesPerSecond: codec.sampleRate / hop,
    codebooks: codec.codebooks,
    codebookSize: codec.codebookSize,
    sampling: /** @type {{ sampling?: object }} */ (manifest).sampling ?? null,
    parts: {
      firstStage: { ...(await part(firstStage)), form: formOf(firstStage) },
      secondStage: { ...(await part(secondStage)), form: formOf(secondStage) },
      speakerEncoder: {
        ...(await part(speakerEncoder)),
        form: `LSTM, ${speakerEncoder.layers} layers of ${speakerEncoder.hidden}, float32`,
      },
      codec: {
        ...(await part(codec)),
        form: `EnCodec ${codec.encoder ? '' : 'decoder '}× ${codec.ratios.join(' · ')}, ${codec.codebooks} codebooks of ${codec.codebookSize}, float32`,
      },
    },
  };
}

/** @param {import('../../../dist/checkpoint/manifest.js').TransformerManifest} stage */
const formOf = ({ layers, width, heads, positions, dtype }) =>
  `transformer, ${layers} layers of ${width}, ${heads} heads, window of ${positions}, ${dtype}`;

/** @param {string} file */
async function countParameters(file) {
  const { tensors } = await readSafetensors(file);
  return [...tensors.values()].reduce(
    (sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1),
    0,
  );
}
