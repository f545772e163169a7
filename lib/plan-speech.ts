/** From a request to the facts that speaking it needs: segments, ends of chunks, limits, and what the engine is asked. */

import { requireConvertible } from './audio/resampler.js';
import type { CallSite } from './call-site.js';
import { Checker, voiceReference } from './check/checker.js';
import { restsOf } from './check/rests.js';
import type { Manifest } from './checkpoint/manifest.js';
import { chooseDecoder } from './choose-decoder.js';
import { chooseEnhancer } from './choose-enhancer.js';
import { requirePart } from './describe-model.js';
import { MetaVoiceError } from './errors.js';
import { expectedRange } from './is.js';
import type { LoadedModel } from './load-model.js';
import type { UtteranceRequest } from './native/contract.js';
import { defaults, type TextSource } from './options.js';
import { encodeText, planText, streamedText, wholeText } from './plan-text.js';
import type { ResolvedSpeakOptions } from './resolve-options.js';
import { fillSampling } from './resolve-sampling.js';
import type { SpokenContext } from './stream/context.js';
import { pauseSamples } from './stream/joins.js';
import type { SpeechPlan } from './stream/plan.js';
import { chunkEnds, fitChunks, longestChunk, lookAhead } from './stream/schedule.js';
import { expectedSeconds } from './text/spoken-length.js';

/** Finished chunks that may wait for a slow reader before the engine rests. */
const waitingChunks = 2;

/** Segments of one text that are spoken at the same time: more would only be further ahead of the ear. */
const mostConcurrent = 4;

/** What a segment will hardly exceed: the memory that is set aside for it. One that does gets more, if need be later. */
const likelySeconds = (expected: number): number => 1 + 1.5 * expected;

/** Hz; below it there is no room for the filters of BS.1770. */
const leastLoudnessRate = 4000;

function requireMeasurable(rate: number): void {
  if (rate >= leastLoudnessRate) return;
  throw new MetaVoiceError(
    'ERR_UNSUPPORTED',
    `expected a model that speaks at ${leastLoudnessRate} Hz or more for \`loudness\` but this one speaks at ${rate} Hz; leave \`loudness\` off`,
  );
}

export interface RequestLimits {
  /** Null: as long as the windows allow. */
  readonly maxSeconds: number | null;
  /** Utterances that the model speaks at a time. */
  readonly batchSize: number;
  readonly site: CallSite;
}

type PlanFacts = Pick<
  SpeechPlan,
  | 'seed'
  | 'decoder'
  | 'enhancement'
  | 'spokenRate'
  | 'enhancedRate'
  | 'sampleRate'
  | 'hop'
  | 'loudness'
  | 'text'
  | 'pauseSamples'
  | 'maximumFrames'
  | 'concurrent'
  | 'continues'
  | 'start'
  | 'leveller'
  | 'enhancer'
  | 'check'
  | 'checker'
>;

/**
 * Judges the text against the windows of the model; one that comes in pieces will be when it is read.
 *
 * @throws RangeError for chunks that the windows do not hold; MetaVoiceError ERR_TEXT, ERR_TEXT_TOO_LONG,
 * ERR_MODEL_NOT_FOUND and ERR_CHECKPOINT for an enhancer or diffusion that was asked for and can't be had, ERR_UNSUPPORTED for a rate or a loudness that its own rate does not allow
 */
export function planSpeech(
  model: LoadedModel,
  text: TextSource,
  options: ResolvedSpeakOptions,
  { maxSeconds, batchSize, site }: RequestLimits,
): PlanFacts {
  const { manifest, native, source } = model;
  const firstStage = requirePart(manifest, 'firstStage', source);
  const secondStage = requirePart(manifest, 'secondStage', source);
  const { sampleRate: spokenRate, ratios } = requirePart(manifest, 'codec', source);
  const hop = ratios.reduce((product, ratio) => product * ratio, 1);
  const frameRate = spokenRate / hop;
  const enhancement = chooseEnhancer(options.enhance, model);
  const enhancedRate = enhancement.enhanced ? manifest.enhancer!.sampleRate : spokenRate;
  const sampleRate = options.sampleRate ?? enhancedRate;
  requireConvertible(enhancedRate, sampleRate);
  const decoder = chooseDecoder(options, model);
  const loudness = options.loudness ?? defaults.loudness[decoder.decoder];
  if (loudness !== 'off') requireMeasurable(spokenRate);

  // Two tokens per frame: the first stage's window bounds an utterance whatever the text.
  const windowFrames = Math.ceil(firstStage.positions / 2);
  const diffuses = decoder.decoder === 'diffusion';
  const behind = lookAhead + (diffuses ? (native.facts.diffusionContext ?? 0) : 0);
  const schedule = fitChunks(options.chunkSeconds, frameRate, secondStage.positions, behind);
  const ends = chunkEnds(frameRate, schedule, windowFrames, native.facts.firstFrames ?? 1);
  const chunkFrames = longestChunk(ends) + behind;
  const limits = { chunkFrames, frameRate };
  const maximumFrames =
    maxSeconds === null ? Infinity : Math.max(1, Math.floor(maxSeconds * frameRate + 1e-6));
  const continues = options.continuity === 'continue';
  /** Ids and codes of a segment behind the one before; null where the windows do not hold both, and it begins anew. */
  const goingOn = (text: string, { text: past, codes, frames }: SpokenContext) => {
    const ids = encodeText(`${past} ${text}`, firstStage, secondStage);
    const room = firstStage.positions - ids.firstStageIds.length - 2 * frames;
    const fits =
      room >= 2 * Math.ceil(likelySeconds(expectedSeconds(text)) * frameRate) &&
      secondStage.positions - 1 - ids.secondStageIds.length - frames >= chunkFrames;
    return fits ? { ...ids, context: codes } : null;
  };
  const whole = options.quality === 'whole';
  const request = {
    seed: options.seed,
    sampling: fillSampling(options.sampling, manifest.sampling),
    chunkEnds: ends,
    lookAhead,
    whole,
    diffusionSteps: diffuses ? stepsOf(manifest, options.diffusionSteps) : 0,
    loudness: whole && loudness !== 'off' ? loudness : null,
    // The same for every segment: what is left for it depends on those before, which may not be spoken yet.
    maximumFrames: Math.min(maximumFrames, windowFrames),
  };
  return {
    seed: options.seed,
    decoder,
    enhancement,
    spokenRate,
    enhancedRate,
    sampleRate,
    hop,
    loudness,
    text:
      typeof text === 'string'
        ? wholeText(planText(text, firstStage, secondStage, limits))
        : streamedText(text, firstStage, secondStage, { ...limits, ...options, site }),
    pauseSamples: (kind) => pauseSamples(kind, options.pauseSeconds, spokenRate),
    maximumFrames,
    concurrent: continues ? 1 : Math.min(batchSize, mostConcurrent),
    continues,
    start: (segment, index, speaker, ahead, attempt, before) =>
      native.start({
        ...((before && goingOn(segment.text, before)) ?? {
          ...segment.encode(),
          context: new Uint16Array(0),
        }),
        ...request,
        speaker,
        segment: index,
        attempt,
        likelyFrames: Math.ceil(likelySeconds(expectedSeconds(segment.text)) * frameRate),
        waitingChunks: ahead ? ends.length : waitingChunks,
      } satisfies UtteranceRequest),
    leveller: () => (whole || loudness === 'off' ? null : native.leveller(loudness, ends[0]! * hop)),
    enhancer: () => (enhancement.enhanced ? native.enhancer(spokenRate) : null),
    check: options.check,
    checker: ({ text: spoken }, index, speaker, attempt) =>
      new Checker({
        segment: index,
        attempt,
        sampleRate: spokenRate,
        expected: { seconds: expectedSeconds(spoken), rests: restsOf(spoken, expectedSeconds) },
        voice: manifest.speakerEncoder ? voiceReference(native, speaker) : null,
      }),
  };
}

/** No more evaluations than noise levels that the networks were trained on. */
function stepsOf({ diffusion }: Manifest, asked: number | null): number {
  const most = Math.min(...(diffusion?.bands ?? []).map(({ steps }) => steps));
  if (asked === null) return Math.min(defaults.speak.diffusionSteps, most);
  if (asked > most)
    throw expectedRange(`at most ${most}, which the model was trained on`, 'diffusionSteps', asked);
  return asked;
}
