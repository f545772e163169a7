/** Builds WAV files for the tests, the broken ones included. */

export interface WavParts {
  tag?: number;
  channels?: number;
  sampleRate?: number;
  bits?: number;
  frameBytes?: number;
  data: Uint8Array;
  /** Size said in the header of the samples. */
  dataSize?: number;
  riff?: string;
  riffSize?: number;
  /** Chunks between format and samples, as name, content and the size that is said. */
  between?: [name: string, content: Uint8Array, size?: number][];
}

function chunk(name: string, content: Uint8Array, size = content.length): Buffer {
  const head = Buffer.alloc(8);
  head.write(name, 'latin1');
  head.writeUInt32LE(size, 4);
  return Buffer.concat([head, content, Buffer.alloc(content.length % 2)]);
}

export function wavFile(parts: WavParts): Uint8Array {
  const { tag = 1, channels = 1, sampleRate = 8000, bits = 16, data } = parts;
  const frameBytes = parts.frameBytes ?? (channels * bits) / 8;
  const format = Buffer.alloc(16);
  format.writeUInt16LE(tag, 0);
  format.writeUInt16LE(channels, 2);
  format.writeUInt32LE(sampleRate, 4);
  format.writeUInt32LE(sampleRate * frameBytes, 8);
  format.writeUInt16LE(frameBytes, 12);
  format.writeUInt16LE(bits, 14);
  const body = Buffer.concat([
    Buffer.from('WAVE'),
    chunk('fmt ', format),
    ...(parts.between ?? []).map(([name, content, size]) => chunk(name, content, size)),
    chunk('data', data, parts.dataSize),
  ]);
  const head = Buffer.alloc(8);
  head.write(parts.riff ?? 'RIFF', 'latin1');
  head.writeUInt32LE(parts.riffSize ?? body.length, 4);
  return new Uint8Array(Buffer.concat([head, body]));
}

/** A tone with a pause every second, so that it has speech and noise in it. */
export function toneAndPauses(seconds: number, sampleRate: number): Float32Array {
  return Float32Array.from({ length: Math.round(seconds * sampleRate) }, (_, index) => {
    const time = index / sampleRate;
    return time % 1 < 0.8
      ? 0.3 * Math.sin(2 * Math.PI * 440 * time) + 0.1 * Math.sin(2 * Math.PI * 7_300 * time)
      : 0;
  });
}
