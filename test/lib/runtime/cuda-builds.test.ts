import { describe, expect, test } from 'vitest';
import {
  adviseBuild,
  chooseCudaVariant,
  compilesPtx,
  hasCodeFor,
  refuseCuda,
} from '../../../dist/runtime/cuda-builds.js';
import { type Branch, type Card, driver, gpu } from '../device/boxes.js';

const box = (branch: Branch, ...cards: Card[]) =>
  driver(
    branch,
    cards.map((card, index) => gpu(card, index)),
  );

describe('code', () => {
  test.each([
    ['sm_86', 89, true],
    ['sm_89', 86, false],
    ['sm_80', 90, false],
    ['sm_75', 75, true],
    ['sm_70', 75, true],
    ['compute_80', 90, true],
    ['compute_90', 80, false],
    ['compute_120', 120, true],
    ['sm_90a', 90, true],
    ['compute_90a', 90, true],
    ['compute_90a', 100, false],
    ['sm_100a', 103, false],
    ['sm_100f', 103, true],
    ['sm_100f', 120, false],
    ['compute_100f', 103, true],
    ['compute_100f', 120, false],
    ['sm_120', 121, true],
    ['sm_120', 100, false],
    ['gfx942', 90, false],
  ])('%s on capability %i: %s', (architecture, capability, runs) => {
    expect(hasCodeFor([architecture], capability)).toBe(runs);
  });

  test('of PTX needs a driver that compiles it', () => {
    expect(hasCodeFor(['compute_80'], 90, false)).toBe(false);
    expect(hasCodeFor(['sm_90', 'compute_80'], 90, false)).toBe(true);
    const compiles = (branch: Branch, built: string | null) => compilesPtx(box(branch, 'H100'), built);
    expect([compiles(550, '12.6'), compiles(570, '12.6'), compiles(580, '12.6')]).toEqual([
      false,
      true,
      true,
    ]);
    expect([compiles(580, '13.0'), compiles(570, '13.0'), compiles(525, null)]).toEqual([true, false, true]);
  });
});

describe('the CUDA build', () => {
  test.each<[string | null, string, Branch, Card[]]>([
    ['cu126', 'a T4 on Colab', 550, ['T4']],
    ['cu126', 'a T4 with the first driver of CUDA 12', 525, ['T4']],
    ['cu130', 'a T4 with a new driver', 580, ['T4']],
    ['cu126', 'a V100', 580, ['V100']],
    ['cu130', 'an A10G', 580, ['A10G']],
    ['cu126', 'an RTX 4090 with an older driver', 570, ['RTX 4090']],
    ['cu130', 'an H100', 580, ['H100']],
    ['cu130', 'a slice of an H100', 580, ['H100 slice']],
    ['cu130', 'a Blackwell', 580, ['RTX 5090']],
    ['cu126', 'a V100 beside an A100', 580, ['A100', 'V100']],
    ['cu126', 'a V100 beside an H100', 580, ['V100', 'H100']],
    ['cu130', 'a GTX 1080 beside an RTX 5090', 580, ['GTX 1080', 'RTX 5090']],
    ['cu130', 'a GTX 1080 beside a T4', 580, ['GTX 1080', 'T4']],
    ['cu130', 'a V100 beside an RTX 5090: the newer of two that serve one each', 580, ['V100', 'RTX 5090']],
    ['cu126', 'two V100s beside an RTX 5090', 580, ['V100', 'V100', 'RTX 5090']],
    ['cu126', 'a T4 beside a B200 that the driver is too old for', 570, ['B200', 'T4']],
    [null, 'a driver for CUDA 11', 470, ['A100']],
    [null, 'a Blackwell with a driver for CUDA 12', 570, ['RTX 5090']],
    [null, 'a Pascal, on which nothing here runs', 580, ['GTX 1080']],
    [null, 'a driver without devices', 580, []],
  ])('is %s for %s', (variant, _, branch, cards) => {
    const choice = chooseCudaVariant(box(branch, ...cards), 'x64');
    expect(choice.variant).toBe(variant);
    expect(choice.reason.length).toBeGreaterThan(10);
  });

  test('is none without a driver, and where the driver does not start', () => {
    expect(chooseCudaVariant(null)).toMatchObject({
      variant: null,
      reason: expect.stringMatching(/no NVIDIA driver/),
    });
    const failure = { code: 999, name: 'CUDA_ERROR_UNKNOWN' };
    expect(chooseCudaVariant(driver(580, [], { failure }))).toMatchObject({
      variant: null,
      reason: expect.stringMatching(/CUDA_ERROR_UNKNOWN/),
    });
  });

  test('says what it serves, what not, and what would help', () => {
    const reason = (branch: Branch, ...cards: Card[]) =>
      chooseCudaVariant(box(branch, ...cards), 'x64').reason;
    expect(reason(550, 'T4')).toBe(
      'the CUDA 12.6 build serves cuda:0 (Tesla T4, compute capability 7.5); the NVIDIA driver 550.54.15 serves CUDA up to 12.4',
    );
    expect(reason(580, 'V100', 'RTX 5090')).toMatch(/serves cuda:1 \(.*5090.*, but not cuda:0 \(Tesla V100/);
    expect(reason(570, 'RTX 5090')).toMatch(/5090.*update the NVIDIA driver to 580 or newer/);
    expect(reason(470, 'A100')).toMatch(/driver 470\.256\.02.*update the driver to 525 or newer/);
    expect(reason(580, 'GTX 1080')).toMatch(/GTX 1080.*7\.0 or higher/);
  });

  test('for Arm has less code', () => {
    const choose = (branch: Branch, card: Card) => chooseCudaVariant(box(branch, card), 'arm64').variant;
    expect([choose(580, 'H200'), choose(550, 'H200'), choose(580, 'T4')]).toEqual(['cu130', 'cu126', null]);
    expect(adviseBuild(gpu('T4'), box(580, 'T4'), 'arm64')).toMatch(/no published build.*METAVOICE_LIBTORCH/);
  });

  test('for one GPU of a mixed machine is advised with that GPU alone', () => {
    const mixed = box(580, 'V100', 'RTX 5090');
    expect(adviseBuild(gpu('V100', 0), mixed, 'x64')).toMatch(/CUDA_VISIBLE_DEVICES.*CUDA 12\.6 build/);
    expect(adviseBuild(gpu('RTX 5090', 1), mixed, 'x64')).toMatch(/^`npx metavoice setup --cuda` gets/);
    expect(chooseCudaVariant({ ...mixed, devices: [gpu('V100')] }, 'x64').variant).toBe('cu126');
  });
});

describe('the CUDA part of a libtorch', () => {
  test.each<[string, Branch, Card[], RegExp | null]>([
    ['2.13.0+cu126', 550, ['T4'], null],
    ['2.13.0+cu130', 580, ['T4'], null],
    ['2.13.0+cu130', 580, ['V100', 'H100'], null],
    ['2.13.0', 550, ['T4'], null],
    ['2.11.0+cu128', 570, ['RTX 5090'], null],
    ['2.13.0+cu130', 550, ['T4'], /built for CUDA 13\.0, and the NVIDIA driver 550\.54\.15 .* 12\.4/],
    ['2.13.0+cu130', 580, ['V100'], /CUDA 13\.0 build has no code for cuda:0 \(Tesla V100/],
    ['2.13.0+cu126', 580, ['RTX 5090'], /CUDA 12\.6 build has no code for cuda:0 \(.*5090/],
    ['2.13.0+cu126', 580, ['GTX 1080'], /GTX 1080.*7\.0 or higher/],
    ['2.13.0+cu126', 580, [], /finds no GPU/],
  ])('%s with driver %s and %j is refused: %s', (version, branch, cards, reason) => {
    const refused = refuseCuda(version, box(branch, ...cards), 'x64');
    if (reason) expect(refused).toMatch(reason);
    else expect(refused).toBeNull();
  });

  test('is refused without a driver', () => {
    expect(refuseCuda('2.13.0+cu126', null)).toMatch(/no NVIDIA driver/);
  });
});
