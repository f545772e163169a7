/** Bytes that one decode step of the first stage reads, by arithmetic: what the engine's own count is held against. */

/** Numbers of a row that share a scale and a zero in int4. */
const int4Group = 128;
/** Of a scale or a zero, bfloat16. */
const scaleBytes = 2;

/** @typedef {Pick<import('../lib/checkpoint/manifest.js').TransformerManifest, 'width' | 'feedForward' | 'layers' | 'heads' | 'outputs' | 'activation'>} Sizes */
/** @typedef {'none' | 'int8' | 'int4'} Quantization */

/** @param {string} dtype */
const bytesOf = (dtype) => (dtype === 'float32' ? 4 : 2);

/**
 * One matrix as the files of a model hold it.
 *
 * @param {number} out @param {number} from Numbers of a row.
 * @param {Quantization} quantization @param {string} dtype Of a matrix that stays whole.
 */
export function matrixBytes(out, from, quantization, dtype) {
  if (quantization === 'int8') return out * from + out * scaleBytes;
  if (quantization === 'int4' && from % int4Group === 0)
    return (out * from) / 2 + out * (from / int4Group) * 2 * scaleBytes;
  return out * from * bytesOf(dtype);
}

/**
 * All matrices of the layers, and the output layer, which is read in float32.
 *
 * @param {Sizes} stage @param {{ dtype: string, quantization?: Quantization }} form
 */
export function stepWeightBytes(stage, { dtype, quantization = 'none' }) {
  const { width, feedForward, layers, outputs, activation } = stage;
  const of = (/** @type {number} */ out, /** @type {number} */ from) =>
    matrixBytes(out, from, quantization, dtype);
  const up = of(feedForward, width) * (activation === 'swiglu' ? 2 : 1);
  const layer = of(3 * width, width) + of(width, width) + up + of(width, feedForward);
  return layers * layer + (outputs[0] ?? 0) * width * 4;
}

/**
 * Keys and values of one position in all layers: in the dtype, in 16 bit, or in int8 with a float32 scale for each head's key and
 * one for its value.
 *
 * @param {Sizes} stage @param {{ dtype: string, kvCache?: string, rows?: number }} form `rows` of guidance.
 */
export function positionBytes({ width, layers, heads }, { dtype, kvCache = 'auto', rows = 2 }) {
  const size = kvCache === '16bit' ? 2 : bytesOf(dtype);
  const side = kvCache === 'int8' ? width + heads * 4 : width * size;
  return layers * rows * 2 * side;
}
