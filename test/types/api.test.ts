/** The public types, as a user sees them. Checked by `npm run types`. */

import type { Readable } from 'node:stream';
import { describe, expectTypeOf, it } from 'vitest';
import type {
  AudioChunk,
  CheckReport,
  Device,
  ErrorCode,
  Finding,
  LoadOptions,
  MemoryPlan,
  PlanOptions,
  SpeakOptions,
  Speech,
  SpeechHealth,
  SpeechStream,
  TextSource,
  VoiceSource,
} from '../../dist/index.js';
import * as api from '../../dist/index.js';
import { type Codes, Stages } from '../../dist/stages.js';

describe('the types', () => {
  it('of the entry points', () => {
    expectTypeOf(api.synthesize).parameters.toEqualTypeOf<
      [text: TextSource, options?: LoadOptions & SpeakOptions]
    >();
    expectTypeOf(api.synthesize).returns.resolves.toEqualTypeOf<Speech>();
    expectTypeOf(api.MetaVoice.load).returns.resolves.toEqualTypeOf<api.MetaVoice>();
    expectTypeOf(api.plan).parameters.toEqualTypeOf<[options?: PlanOptions]>();
    expectTypeOf(api.plan).returns.toEqualTypeOf<MemoryPlan>();
    expectTypeOf<api.MetaVoice['plan']>().toEqualTypeOf<MemoryPlan>();
    expectTypeOf<api.MetaVoice['peakMemory']>().returns.resolves.toEqualTypeOf<number>();
    expectTypeOf(api.devices).returns.toEqualTypeOf<Device[]>();
    expectTypeOf<api.MetaVoice>().toExtend<AsyncDisposable>();
    expectTypeOf<api.MetaVoice['stream']>().returns.toEqualTypeOf<SpeechStream>();
    expectTypeOf<api.MetaVoice['voice']>().parameter(0).toEqualTypeOf<VoiceSource>();
    expectTypeOf<api.MetaVoice['voice']>().returns.resolves.toEqualTypeOf<api.Voice>();
  });

  it('of what may be spoken', () => {
    expectTypeOf<api.MetaVoice['stream']>().parameter(0).toEqualTypeOf<TextSource>();
    expectTypeOf<string | string[] | Set<string>>().toExtend<TextSource>();
    expectTypeOf<AsyncGenerator<string, void>>().toExtend<TextSource>();
    expectTypeOf<ReadableStream<string>>().toExtend<TextSource>();
    expectTypeOf<Uint8Array | number[] | AsyncIterable<{ text: string }>>().not.toExtend<TextSource>();
  });

  it('of options', () => {
    expectTypeOf<'cuda:1'>().toExtend<NonNullable<LoadOptions['device']>>();
    expectTypeOf<Omit<PlanOptions, 'decoder' | 'device'>>().toExtend<LoadOptions>();
    expectTypeOf<'none' | 'int8' | 'int4'>().toEqualTypeOf<NonNullable<LoadOptions['quantization']>>();
    expectTypeOf<api.MetaVoice['quantization']>().toEqualTypeOf<NonNullable<LoadOptions['quantization']>>();
    expectTypeOf<'gpu'>().not.toExtend<NonNullable<LoadOptions['device']>>();
    expectTypeOf<{ speaker: 'ada' }>().toExtend<VoiceSource>();
    expectTypeOf<number | { speaker?: number; prompt?: number }>().toEqualTypeOf<
      NonNullable<NonNullable<SpeakOptions['sampling']>['guidance']>
    >();
    expectTypeOf<typeof console>().toExtend<NonNullable<LoadOptions['logger']>>();
  });

  it('of what comes back', () => {
    expectTypeOf<SpeechStream>().toExtend<AsyncIterable<AudioChunk>>();
    expectTypeOf<SpeechStream['toNodeReadable']>().returns.toEqualTypeOf<Readable>();
    expectTypeOf<SpeechStream['toWebStream']>().returns.toEqualTypeOf<ReadableStream<Uint8Array>>();
    expectTypeOf<Speech['toWav']>().returns.toEqualTypeOf<Uint8Array>();
    expectTypeOf<Speech['endReason']>().toEqualTypeOf<'end' | 'limit'>();
    expectTypeOf<Speech['health']>().toEqualTypeOf<Readonly<SpeechHealth>>();
    expectTypeOf<SpeechStream['health']>().toEqualTypeOf<SpeechHealth>();
    expectTypeOf<Speech['check']>().toEqualTypeOf<Readonly<CheckReport>>();
    expectTypeOf<SpeechStream['check']>().toEqualTypeOf<CheckReport>();
    expectTypeOf<CheckReport['findings']>().toEqualTypeOf<Finding[]>();
    expectTypeOf<AudioChunk['samples']>().toEqualTypeOf<Float32Array>();
    expectTypeOf<api.MetaVoiceError['code']>().toEqualTypeOf<ErrorCode>();
  });

  it('of the stages', () => {
    expectTypeOf(Stages.open).returns.resolves.toEqualTypeOf<Stages>();
    expectTypeOf<Stages['encode']>().returns.resolves.toEqualTypeOf<Codes>();
    expectTypeOf<Stages['sampleDistribution']>().returns.toEqualTypeOf<Float32Array>();
  });

  it('cannot be constructed by users', () => {
    expectTypeOf<typeof api.MetaVoice>().not.toExtend<new (...args: never[]) => unknown>();
    expectTypeOf<typeof Stages>().not.toExtend<new (...args: never[]) => unknown>();
  });
});
