import { describe, expect, it, test } from 'vitest';
import { chooseDecoder } from '../../dist/choose-decoder.js';
import { publishedSizes } from '../../dist/device/model-sizes.js';
import { planMemory } from '../../dist/device/plan.js';
import { MetaVoiceError } from '../../dist/errors.js';
import type { LoadedModel } from '../../dist/load-model.js';
import { fakeLoaded } from './fake-metavoice.js';
import { FakeModel } from './fake-native.js';

type Card = { computeCapability: string | null; dtype: 'float32' | 'float16' | 'bfloat16'; memory?: number };

/** A model on a card of which this is known. */
function on({ computeCapability, dtype, memory = 40e9 }: Card) {
  const model = fakeLoaded(new FakeModel());
  const device = { id: 'cuda:0', name: 'a card', computeCapability, available: memory };
  const request = {
    dtype,
    quantization: 'none',
    decoder: 'diffusion',
    batchSize: 1,
    maxSeconds: null,
  } as const;
  return {
    ...model,
    policy: { ...model.policy, name: 'a card', computeCapability, dtype },
    diffusionPlan: (quality: 'stream' | 'whole') =>
      planMemory(publishedSizes, device, { ...request, quality }, { model: 'm' }),
  };
}

const choose = (
  decoder: 'auto' | 'encodec' | 'diffusion',
  model: LoadedModel,
  quality: 'stream' | 'whole' = 'stream',
) => chooseDecoder({ decoder, quality }, model);

const t4: Card = { computeCapability: '7.5', dtype: 'float16' };

describe('the decoder that speaks', () => {
  test.each<[string, Card, 'encodec' | 'diffusion', RegExp]>([
    ['a T4 in 16 bit', t4, 'diffusion', /a card computes it faster than speech/],
    ['a T4 in float32', { ...t4, dtype: 'float32' }, 'encodec', /in float32 is slower than speech on a card/],
    ['an A100 in float32', { computeCapability: '8.0', dtype: 'float32' }, 'diffusion', /faster/],
    ['a Blackwell', { computeCapability: '12.0', dtype: 'bfloat16' }, 'diffusion', /faster/],
    ['a CPU', { computeCapability: null, dtype: 'bfloat16' }, 'encodec', /slower than speech on a card/],
    ['a small card', { ...t4, memory: 6e9 }, 'encodec', /no room for diffusion: float16 .* needs/],
  ])('by itself, on %s', (_, card, decoder, reason) => {
    const choice = choose('auto', on(card));
    expect(choice).toMatchObject({ decoder });
    expect(choice.reason).toMatch(reason);
  });

  it('is EnCodec of a model without diffusion, and diffusion asked for is refused there', () => {
    const model = fakeLoaded(new FakeModel(), { diffusion: undefined });
    const without = { ...model, diffusionPlan: null };
    expect(choose('auto', without)).toEqual({
      decoder: 'encodec',
      reason: 'the model has no diffusion decoder',
    });
    expect(() => choose('diffusion', without)).toThrow(
      expect.objectContaining({ code: 'ERR_MODEL_NOT_FOUND' }),
    );
  });

  it('is judged by the room that there is when it is asked', () => {
    let memory = 40e9;
    const model = {
      ...on(t4),
      diffusionPlan: (quality: 'stream' | 'whole') => on({ ...t4, memory }).diffusionPlan(quality),
    };
    expect(choose('auto', model).decoder).toBe('diffusion');
    memory = 6e9;
    expect(choose('auto', model)).toEqual({
      decoder: 'encodec',
      reason: expect.stringMatching(/no room for diffusion: .* a card has 6\.0 GB free/),
    });
    expect(() => choose('diffusion', model)).toThrow(
      expect.objectContaining({
        code: 'ERR_OUT_OF_MEMORY',
        message: expect.stringMatching(/expected room for the diffusion decoder but .* has 6\.0 GB free/),
        details: { plan: expect.objectContaining({ available: 6e9, fits: false, decoder: 'diffusion' }) },
      }),
    );
    memory = 40e9;
    expect(choose('auto', model).decoder).toBe('diffusion');
  });

  it('needs more room over a whole utterance than in windows', () => {
    const { total } = on(t4).diffusionPlan('stream');
    const tight = on({ ...t4, memory: total });
    expect(choose('auto', tight, 'stream').decoder).toBe('diffusion');
    expect(choose('auto', tight, 'whole')).toEqual({
      decoder: 'encodec',
      reason: expect.stringMatching(/diffusion of the whole needs/),
    });
  });

  it('is told why it is not there where its file was refused', () => {
    const cause = new MetaVoiceError('ERR_CHECKPOINT', 'mbd_comp_8.pt: is cut short');
    const model = {
      ...fakeLoaded(new FakeModel(), { diffusion: undefined }),
      diffusionPlan: null,
      leftOut: new Map([['diffusion', cause]] as const),
    };
    expect(choose('auto', model)).toEqual({
      decoder: 'encodec',
      reason: 'the diffusion decoder could not be read: mbd_comp_8.pt: is cut short',
    });
    expect(() => choose('diffusion', model)).toThrow(
      expect.objectContaining({
        code: 'ERR_CHECKPOINT',
        cause,
        details: expect.objectContaining({ part: 'diffusion' }),
      }),
    );
  });

  it('is what was asked for, however slow, but not without room', () => {
    const slow = on({ computeCapability: null, dtype: 'float32' });
    expect(choose('diffusion', slow)).toEqual({ decoder: 'diffusion', reason: 'it was asked for' });
    expect(choose('encodec', on(t4))).toEqual({ decoder: 'encodec', reason: 'it was asked for' });
    expect(() => choose('diffusion', on({ ...t4, memory: 6e9 }))).toThrow(
      expect.objectContaining({ code: 'ERR_OUT_OF_MEMORY' }),
    );
  });
});
