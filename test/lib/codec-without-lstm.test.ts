/** A codec that is SEANet alone, without the recurrent layers of the published one: modules are counted without them. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { convertModel } from '../../dist/checkpoint/convert.js';
import { Stages } from '../../dist/open-stages.js';
import { contents, makeFolder } from './checkpoint/model-files.js';
import { expectClose, peak } from './fixtures.js';

const file = 'encodec_24khz.th';
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

type State = Map<unknown, unknown>;

/** Takes both LSTMs away; the modules after them move up by one. */
function withoutLstm(value: State): void {
  for (const [name, tensor] of [...value]) {
    const match = /^(encoder|decoder)\.model\.(\d+)\.(.*)$/.exec(String(name));
    if (!match) continue;
    value.delete(name);
    const [, half, number, rest] = match;
    const place = half === 'decoder' ? 1 : 13;
    if (Number(number) === place) continue;
    value.set(`${half}.model.${Number(number) - (Number(number) > place ? 1 : 0)}.${rest}`, tensor);
  }
}

async function converted(name: string, edit: (value: State) => void): Promise<string> {
  const source = await makeFolder(join(folder, `${name}-source`), [file], {
    [file]: ({ value }) => edit(value),
  });
  await convertModel(source, join(folder, name), { dtype: 'float32' });
  return join(folder, name);
}

describe('a codec without an LSTM', () => {
  it('is opened, and decodes in pieces as it does whole, and encodes', async () => {
    const made = await converted('plain', withoutLstm);
    const names = [...(await contents(join(made, 'codec.safetensors'))).keys()];
    expect(names.filter((name) => name.includes('lstm'))).toEqual([]);
    expect(names).toContain('decoder.2.weight_v');

    await using stages = await Stages.open(made, { device: 'cpu' });
    expect(stages.manifest.codec).toMatchObject({ ratios: [8, 5, 4, 2], codebooks: 8, encoder: true });
    const frames = 60;
    const codebooks = Array.from({ length: 8 }, (_, k) =>
      Uint16Array.from({ length: frames }, (_, n) => (n * 37 + k * 101) % 1024),
    );
    const whole = await stages.decode({ codebooks, frames });
    expect(whole).toHaveLength(frames * 320);
    expect(peak(whole)).toBeGreaterThan(0);
    const pieces = await stages.decode({ codebooks, frames }, { pieces: [7, 1, 20, 32] });
    expectClose(pieces, whole, 1e-4 * peak(whole));

    const tone = Float32Array.from({ length: 3200 }, (_, n) => Math.sin(n / 9) / 2);
    expect(await stages.encode(tone, 24000)).toMatchObject({ frames: 10 });
  });

  it('may have one in either half alone', async () => {
    const made = await converted('half', (value) => {
      const encoder = [...value].filter(([name]) => String(name).startsWith('encoder.'));
      for (const [name] of encoder) value.delete(name);
      withoutLstm(value);
      for (const [name, tensor] of encoder) value.set(name, tensor);
    });
    await using stages = await Stages.open(made, { device: 'cpu' });
    const codes = await stages.encode(new Float32Array(3200).fill(0.1), 24000);
    expect(await stages.decode(codes)).toHaveLength(3200);
  });

  it('is not one whose LSTM was lost', async () => {
    const lost = converted('lost', (value) => {
      for (const name of [...value.keys()])
        if (String(name).startsWith('decoder.model.1.')) value.delete(name);
    });
    await expect(lost).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringMatching(/decoder\.1\.lstm\.weight_ih_l0/),
    });
  });

  it('is not one that has an LSTM besides', async () => {
    const both = converted('both', (value) => {
      const lstm = [...value].filter(([name]) => String(name).startsWith('decoder.model.1.'));
      withoutLstm(value);
      for (const [name, tensor] of lstm) value.set(name, tensor);
    });
    await expect(both).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringMatching(/which this model does not have/),
    });
  });
});
