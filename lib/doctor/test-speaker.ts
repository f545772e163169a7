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
  const strengths = vowels.map(harmonicsOf);
  let phase = 0;
  for (let i = 0; i < samples.length; i++) {
    const time = i / sampleRate;
    const syllable = Math.floor(time / syllableSeconds);
    const within = (time % syllableSeconds) / syllableSeconds;
    const hertz = pitch * (1 + 0.05 * Math.sin(2 * Math.PI * 3 * time));
    phase = (phase + hertz / sampleRate) % 1;
    // Not quite silent between the syllables, so that nothing is cut off at the ends.
    const loudness = 0.1 + 0.9 * Math.sin(Math.PI * within) ** 2;
    let sum = 0;
    for (const [n, strength] of strengths[syllable % vowels.length]!.entries())
      sum += strength * Math.sin(2 * Math.PI * (n + 1) * phase);
    samples[i] = 0.3 * loudness * sum;
  }
  return { samples, sampleRate };
}

/** How strong each harmonic of the pitch is: falling, and lifted near a resonance. */
function harmonicsOf(resonances: readonly number[]): number[] {
  return Array.from({ length: Math.floor(4000 / pitch) }, (_, index) => {
    const n = index + 1;
    const nearest = Math.min(...resonances.map((centre) => Math.abs(n * pitch - centre)));
    return (0.2 + Math.exp(-((nearest / 150) ** 2))) / n;
  });
}
