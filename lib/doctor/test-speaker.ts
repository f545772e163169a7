/** A recording that nobody spoke: it only has to pass for a voice where a model ships none. */

const sampleRate = 16_000;
const seconds = 6;
/** Hz, of the pitch and of the vowels' resonances, which are passed through in turn. */
const pitch = 120;
const vowels = [
  [700, 1220, 2600],
  [300, 2300, 3000],
  [450, 800, 2830],
] as const;
const syllableSeconds = 0.3;

/** Harmonics of a pitch, shaped by resonances, in syllables. The same samples each time. */
export function testSpeaker(): { samples: Float32Array; sampleRate: number } {
  const samples = new Float32Array(seconds * sampleRate);
  let phase = 0;
  for (let i = 0; i < samples.length; i++) {
    const time = i / sampleRate;
    const syllable = Math.floor(time / syllableSeconds);
    const within = (time % syllableSeconds) / syllableSeconds;
    const hertz = pitch * (1 + 0.05 * Math.sin(2 * Math.PI * 3 * time));
    phase = (phase + hertz / sampleRate) % 1;
    // Not quite silent between the syllables, so that nothing is cut off at the ends.
    const loudness = 0.1 + 0.9 * Math.sin(Math.PI * within) ** 2;
    samples[i] = 0.3 * loudness * voiced(phase, hertz, vowels[syllable % vowels.length]!);
  }
  return { samples, sampleRate };
}

function voiced(phase: number, hertz: number, resonances: readonly number[]): number {
  let sum = 0;
  for (let n = 1; n * hertz < 4000; n++) {
    const nearest = Math.min(...resonances.map((centre) => Math.abs(n * hertz - centre)));
    sum += (Math.sin(2 * Math.PI * n * phase) / n) * (0.2 + Math.exp(-((nearest / 150) ** 2)));
  }
  return sum;
}
