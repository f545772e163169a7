/** Options of how the next token is drawn; `resolve-sampling.ts` applies and checks them. */

/**
 * How the first stage draws its next token. The second stage draws as published (temperature 1, the 200 most likely), so
 * that the seed is heard at temperature 0, too.
 */
export interface SamplingOptions {
  /**
   * Logits are divided by it: lower is steadier, 0 takes the most likely token. 0 to 1,000,000.
   * @default what the model advises, else 1
   */
  temperature?: number;
  /**
   * Only the most likely tokens with together this probability stay. 0 to 1; 1 switches it off, 0 leaves one token.
   * @default what the model advises, else 0.95
   */
  topP?: number;
  /**
   * Only so many most likely tokens stay. Integer, at least 1; as many as the vocabulary has switch it off.
   * @default what the model advises, else off
   */
  topK?: number;
  /**
   * How strongly the speech follows the speaker: a number (0 to 1,000; 1 is no guidance), or with the weight of the
   * text as `prompt` (1 to 1,000; above 1 each step costs a third row).
   * @default what the model advises, each of the two for itself, else 3 and a `prompt` of 1
   */
  guidance?: number | { speaker?: number; prompt?: number };
  /**
   * Mask tokens that cannot follow, so that each frame gets its two codes. `false` draws freely.
   * @default true
   */
  constrain?: boolean;
}

/** What the makers of a model may advise in its manifest. A request's own options win over it, and it over the defaults. */
export type AdvisedSampling = Pick<SamplingOptions, 'temperature' | 'topP' | 'topK' | 'guidance'>;

/** Beyond these, float32 arithmetic on logits ends in infinities and no distribution is left. */
export const samplingLimits = { temperature: 1e6, guidance: 1000 } as const;
