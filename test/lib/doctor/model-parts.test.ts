import { cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { convertModel } from '../../../dist/checkpoint/convert.js';
import { PickleTensor } from '../../../dist/checkpoint/pickle-values.js';
import type { Check } from '../../../dist/doctor/check.js';
import { checkModelParts } from '../../../dist/doctor/model-parts.js';
import { huggingFace, legacy, makeFolder, model, part } from '../checkpoint/model-files.js';
import { fixture, type State } from '../checkpoint/torch-save.js';
import { enhancerFloats, writeFullSize, writeSparseSafetensors } from './full-size.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const names = ['firstStage', 'secondStage', 'speakerEncoder', 'codec', 'diffusion', 'enhancer'];
const byName = (checks: Check[]): Record<string, Check> =>
  Object.fromEntries(checks.map((check) => [check.name, check]));
const examineParts = async (path: string) => byName(await checkModelParts(path));
const lines = (check: Check | undefined): string => (check?.details ?? []).join('\n');

describe('files of the published size', () => {
  it('are as published, and take no room', async () => {
    const full = writeFullSize(join(folder, 'full'));
    const { size, blocks } = await stat(join(full, 'first_stage.pt'));
    expect(size).toBeGreaterThan(4_972_765_184);
    expect(blocks * 512).toBeLessThan(10e6);
    const checks = await checkModelParts(full);
    expect(checks.map(({ name, status }) => [name, status])).toEqual(names.map((name) => [name, 'ok']));
    const found = byName(checks);
    expect(found.firstStage!.found).toBe(
      'first_stage.pt is as published: 173 tensors, 1,243,191,296 parameters',
    );
    expect(found.secondStage!.found).toBe(
      'second_stage.pt is as published: 47 tensors, 14,459,136 parameters',
    );
    expect(found.speakerEncoder!.found).toMatch(/is as published: 14 tensors, 1,423,616 parameters/);
    expect(found.codec!.found).toMatch(/is as published: 252 tensors, 23,273,218 parameters/);
    expect(found.diffusion!.found).toBe('mbd_comp_8.pt is as published: 4 bands, 1,145,740,032 parameters');
    expect(lines(found.diffusion)).toContain('bands 0, 1, 2, 3:');
    expect(lines(found.diffusion)).toContain('bands 2, 3: equaliser: use true, n_bands 8');
    expect(found.enhancer!.found).toMatch(/is as published: 133 tensors, 2,167,954 parameters/);
  });

  it('whose tokenizer gives other ids contradict themselves', async () => {
    const full = join(folder, 'full');
    const bytes = await readFile(join(full, 'second_stage.pt'));
    const other = join(folder, 'other-tokenizer');
    await mkdir(other);
    // ` how` becomes two other merges.
    const at = bytes.indexOf(Buffer.from('ow', 'latin1'), bytes.indexOf('mergeable_ranks'));
    bytes.write('oq', at, 'latin1');
    await writeFile(join(other, 'second_stage.pt'), withoutPickleSum(bytes));
    const { secondStage } = await examineParts(other);
    expect(secondStage).toMatchObject({ status: 'problem' });
    expect(lines(secondStage)).toMatch(/ids of "hi how are you today": 10 expected, 11 found, and number 4/);
  });
});

/** The checksum of the edited pickle is taken out: files without sums are read as they are. */
function withoutPickleSum(zip: Buffer): Buffer {
  const entry = zip.indexOf(Buffer.from([0x50, 0x4b, 1, 2]));
  zip.writeUInt32LE(0, entry + 16);
  return zip;
}

describe('small files in the published layout', () => {
  it('differ in size and agree in names and structure, in a few lines', async () => {
    const checks = await checkModelParts(fixture('.'));
    expect(checks.map(({ name, status }) => [name, status])).toEqual(names.map((name) => [name, 'note']));
    const found = byName(checks);
    expect(found.firstStage!.found).toBe(
      'first_stage.pt: 173 tensors expected, 19 found: layers 24 → 2, width 2048 → 64, feed forward 5632 → 256; parameters 1,243,191,296 → 442,816; names and structure agree, 3 values differ',
    );
    expect(lines(found.firstStage)).toContain('model_args.n_head: 16 expected, 2 found');
    expect(found.codec!.found).toMatch(
      /252 tensors expected, 164 found: filters 32 → 4, dimension 128 → 16, codebooks 32 → 10/,
    );
    expect(lines(found.diffusion)).toMatch(/bands 0, 1, 2, 3: 158 tensors as expected: channels 1 48 → 4/);
    expect(lines(found.diffusion)).toMatch(/band 2: schedule: .*beta_t0 0\.00002/);
    expect(lines(found.enhancer)).toContain('config.ini, deepfilternet.conv_ch: 64 expected, 16 found');
    for (const { found: words, details = [] } of checks) {
      expect(words).toMatch(/agree|differs/);
      expect(details.length).toBeLessThan(12);
    }
  });

  it('are the same after conversion, without what conversion leaves out', async () => {
    const made = join(folder, 'made');
    await convertModel(fixture('.'), made, { dtype: 'bfloat16' });
    const found = await examineParts(made);
    expect(Object.keys(found)).toEqual(names);
    for (const name of names) expect(found[name], name).toMatchObject({ status: 'note' });
    expect(found.firstStage!.found).toMatch(/172 tensors expected, 18 found: layers 24 → 2.*structure agree/);
    expect(lines(found.firstStage)).toMatch(/dtype bfloat16/);
    expect(found.codec!.found).toMatch(/codebooks 32 → 10.*structure agree/);
    expect(found.diffusion!.found).toMatch(/^there, and compared only in its published form/);
  });

  test.each(['int8', 'int4'] as const)('are the same when they are quantised to %s', async (quantization) => {
    const made = join(folder, quantization);
    await convertModel(fixture('.'), made, { dtype: 'bfloat16', quantization });
    const { firstStage } = await examineParts(made);
    expect(firstStage!.found).toMatch(/172 tensors expected, 18 found: layers 24 → 2.*structure agree/);
    expect(firstStage!.found).toMatch(/parameters [\d,]+ → 442,816/);
    expect(lines(firstStage)).toMatch(new RegExp(`quantization ${quantization}`));
  });

  test.each([false, true])("EnCodec in Hugging Face's spelling, parametrizations: %s", async (modern) => {
    const made = join(folder, `hugging-face-${modern}`, 'encodec_24khz');
    await mkdir(made, { recursive: true });
    await writeFile(join(made, 'model.safetensors'), await huggingFace(modern));
    const { codec } = await examineParts(join(made, '..'));
    expect(codec).toMatchObject({ status: 'note', facts: { spelling: "Hugging Face's" } });
    expect(codec!.found).toMatch(/252 tensors expected, 164 found.*names and structure agree/);
  });

  it('the container of before 2020 is read, too', async () => {
    const made = join(folder, 'legacy');
    await mkdir(made);
    await writeFile(join(made, 'speaker_encoder.pt'), await legacy('speaker_encoder.pt'));
    const { speakerEncoder } = await examineParts(made);
    expect(speakerEncoder!.found).toMatch(/hidden 256 → 64.*names and structure agree/);
    expect(lines(speakerEncoder)).toMatch(/not used: similarity_weight, similarity_bias/);
  });
});

describe('what differs is named', () => {
  const edited = async (name: string, file: string, edit: (state: State) => void) =>
    examineParts(
      await makeFolder(join(folder, name), [file], { [file]: (checkpoint) => edit(checkpoint.value) }),
    );

  it('missing and unexpected tensors, and another shape', async () => {
    const { firstStage } = await edited('three', 'first_stage.pt', (state) => {
      const tensors = model({ value: state, storages: {} });
      tensors.delete('_orig_mod.transformer.h.1.ln_2.weight');
      tensors.set('_orig_mod.transformer.h.0.attn.bias', tensors.get('_orig_mod.transformer.ln_f.weight'));
      const head = tensors.get('_orig_mod.transformer.h.1.ln_1.weight') as PickleTensor;
      tensors.set(
        '_orig_mod.transformer.h.1.ln_1.weight',
        new PickleTensor(head.storage, 0, [32, 2], [2, 1]),
      );
    });
    expect(firstStage).toMatchObject({
      status: 'problem',
      facts: {
        missing: ['transformer.h.1.ln_2.weight'],
        unexpected: ['transformer.h.0.attn.bias'],
        shapes: [{ name: 'transformer.h.1.ln_1.weight', expected: [64], found: [32, 2] }],
      },
    });
    expect(firstStage!.found).toMatch(
      /173 tensors expected, 19 found.*; 1 missing, 1 unexpected, 1 of another shape/,
    );
  });

  it('a head of its own, other arguments, another tokenizer', async () => {
    const { firstStage } = await edited('values', 'first_stage.pt', (state) => {
      const tensors = model({ value: state, storages: {} });
      tensors.set('_orig_mod.lm_heads.0.weight', tensors.get('_orig_mod.transformer.wpe.weight'));
      part('model_args')(state).set('norm_type', 'layernorm');
      const tokenizer = part('tokenizer')(part('meta')(state));
      tokenizer.set('offset', 2048);
    });
    expect(lines(firstStage)).toMatch(
      /lm_heads\.0\.weight: the numbers of transformer\.wtes\.0\.weight expected/,
    );
    expect(lines(firstStage)).toMatch(/model_args\.norm_type: rmsnorm expected, layernorm found/);
    expect(lines(firstStage)).toMatch(/tokenizer offset: 2049 expected, 2048 found/);
  });

  it('a tokenizer that is none does not hide the tensors', async () => {
    const { secondStage } = await edited('no-tokenizer', 'second_stage.pt', (state) => {
      part('meta')(state).delete('tokenizer');
    });
    expect(secondStage).toMatchObject({ status: 'problem', facts: { tokenizer: null } });
    expect(secondStage!.found).toMatch(/names and structure agree/);
    expect(lines(secondStage)).toMatch(/meta\.tokenizer is missing/);
  });

  it('a diffusion decoder with a band less, and a band without weights', async () => {
    const { diffusion } = await edited('bands', 'mbd_comp_8.pt', (state) => {
      state.delete(3);
      state.set('n_bands', 3);
      (state.get(2) as State).delete('model_state');
    });
    expect(diffusion).toMatchObject({ status: 'problem' });
    expect(lines(diffusion)).toMatch(/n_bands: 4 expected, 3 found/);
    expect(lines(diffusion)).toMatch(/bands: \[0, 1, 2, 3\] expected, \[0, 1, 2\] found/);
    expect(lines(diffusion)).toMatch(/band 2: expected weights/);
    expect(lines(diffusion)).toMatch(/bands 0, 1: 158 tensors as expected/);
  });
});

describe('files that cannot be read', () => {
  it('are told in the words of their reader, and the others are checked', async () => {
    const made = await makeFolder(join(folder, 'damaged'), [
      'first_stage.pt',
      'encodec_24khz.th',
      'mbd_comp_8.pt',
    ]);
    await cp(fixture('DeepFilterNet3'), join(made, 'DeepFilterNet3'), { recursive: true });
    const bytes = await readFile(join(made, 'first_stage.pt'));
    await writeFile(join(made, 'first_stage.pt'), bytes.subarray(0, bytes.length / 2));
    await writeFile(join(made, 'second_stage.pt'), '<!doctype html><title>404</title>');
    await writeFile(join(made, 'speaker_encoder.pt'), 'version https://git-lfs.github.com/spec/v1\n');
    await writeFile(join(made, 'DeepFilterNet3', 'checkpoints', 'model_120.ckpt.best'), Buffer.alloc(0));
    await writeFile(join(made, 'other.safetensors'), Buffer.alloc(100, 7));
    const found = await examineParts(made);
    expect(found.firstStage).toMatchObject({ status: 'problem' });
    expect(found.firstStage!.found).toMatch(/first_stage\.pt: .*truncated/);
    expect(found.secondStage!.found).toMatch(/found a web page/);
    expect(found.speakerEncoder!.found).toMatch(/pointer of Git LFS/);
    expect(found.enhancer!.found).toMatch(/empty file/);
    expect(found['other.safetensors']!.found).toMatch(/expected a safetensors file/);
    expect(found.codec).toMatchObject({ status: 'note' });
    expect(found.diffusion).toMatchObject({ status: 'note' });
  });

  it('a file of another kind lacks the names', async () => {
    const made = await makeFolder(join(folder, 'exchanged'), ['speaker_encoder.pt']);
    await cp(join(made, 'speaker_encoder.pt'), join(made, 'encodec_24khz.th'));
    const { codec } = await examineParts(made);
    expect(codec).toMatchObject({ status: 'problem', facts: { code: 'ERR_CHECKPOINT' } });
    expect(codec!.found).toMatch(/expected weights with names like/);
  });

  it('an empty folder lacks every part, three of which speech needs', async () => {
    const made = join(folder, 'empty');
    await mkdir(made);
    const checks = await checkModelParts(made);
    expect(checks.map(({ status }) => status)).toEqual([
      'problem',
      'problem',
      'note',
      'problem',
      'note',
      'note',
    ]);
    expect(checks[0]!.advice).toMatch(/put first_stage\.pt into /);
  });

  it('a manifest that is none is told', async () => {
    const made = join(folder, 'manifest');
    await mkdir(made);
    await writeFile(join(made, 'metavoice.json'), '{');
    expect(await checkModelParts(made)).toMatchObject([{ name: 'manifest', status: 'problem' }]);
  });

  it('stops with the reason of the signal', async () => {
    const reason = new Error('enough');
    await expect(checkModelParts(fixture('.'), AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});

it('an enhancer in safetensors has its floats, and no config.ini', async () => {
  const made = join(folder, 'enhancer');
  await mkdir(made);
  writeSparseSafetensors(join(made, 'model.safetensors'), enhancerFloats());
  const { enhancer } = await examineParts(made);
  expect(enhancer).toMatchObject({ status: 'ok' });
  expect(enhancer!.found).toBe('model.safetensors is as published: 118 tensors, 2,167,954 parameters');
  expect(lines(enhancer)).toMatch(/no config\.ini/);
});
