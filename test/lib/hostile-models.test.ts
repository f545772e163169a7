/** Checkpoints that want to run something, through `MetaVoice.load`: refused by name, and nothing is run. */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { PickleTensor } from '../../dist/checkpoint/pickle-values.js';
import { MetaVoice } from '../../dist/index.js';
import { makeFolder, model as stateOf } from './checkpoint/model-files.js';
import {
  type Checkpoint,
  code,
  global,
  pickle,
  raw,
  type State,
  start,
  text,
  torchZip,
  zip,
} from './checkpoint/torch-save.js';

const folder = mkdtempSync(join(tmpdir(), 'metavoice-hostile-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
const fresh = (): string => join(folder, String(count++));
const canary = join(folder, 'it was run');
const command = `touch '${canary}'`;

/** `os.system(command)` as pickle's own code: a name, its arguments, and the call. */
const call = raw(global('posix', 'system'), '(', text(command), 'tR');

async function refused(model: string, message: RegExp, details: object = {}) {
  await expect(MetaVoice.load({ model, device: 'cpu' })).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT',
    message: expect.stringMatching(message),
    details,
  });
  expect(existsSync(canary)).toBe(false);
}

function alone(file: Uint8Array): string {
  const model = mkdtempSync(join(folder, 'alone-'));
  writeFileSync(join(model, 'first_stage.pt'), file);
  return model;
}

const meta = ({ value }: Checkpoint): State => value.get('meta') as State;
const weight = '_orig_mod.transformer.h.1.attn.c_attn.weight';

describe('a call of os.system is refused', () => {
  const asSystem = [/refuses to run posix\.system/, { found: 'posix.system' }] as const;

  test.each<[string, (checkpoint: Checkpoint) => void]>([
    ['as a weight', (file) => stateOf(file).set(weight, call)],
    ['as one more weight', (file) => stateOf(file).set('z', call)],
    ['as the name of a weight', (file) => stateOf(file).set(call, 1)],
    ['as the arguments of the model', ({ value }) => value.set('model_args', call)],
    ['as one argument', ({ value }) => (value.get('model_args') as State).set('n_layer', call)],
    ['in the metadata', (file) => meta(file).set('anything', call)],
    ['as the tokenizer', (file) => meta(file).set('tokenizer', call)],
    [
      'as the bytes of a token',
      (file) => ((meta(file).get('tokenizer') as State).get('mergeable_ranks') as State).set(call, 512),
    ],
    ['in a list in a list', ({ value }) => value.set('optimizer', [[1, [call]]])],
    ['as a key that nobody reads', ({ value }) => value.set(call, null)],
  ])('%s', async (_, edit) => {
    await refused(await makeFolder(fresh(), ['first_stage.pt'], { 'first_stage.pt': edit }), ...asSystem);
  });

  const ordered = raw(global('collections', 'OrderedDict'), ')R');
  test.each<[string, Buffer]>([
    ['at the top', raw(start, call, '.')],
    ['and its result thrown away', raw(start, call, '0}.')],
    ['as the state that is built', raw(start, ordered, call, 'b.')],
    ['as the state of a state', raw(start, ordered, '}', text('x'), call, 'sb.')],
    ['as a persistent id', raw(start, call, 'Q.')],
    [
      'within a persistent id',
      raw(start, '(', text('storage'), call, text('0'), text('cpu'), code(1), 'tQ.'),
    ],
    ['as the hooks of a tensor', raw(start, global('torch._utils', '_rebuild_tensor_v2'), '(', call, 'tR.')],
    [
      'as what a parameter wraps',
      raw(start, global('torch._utils', '_rebuild_parameter'), '(', call, code(true), 'NtR.'),
    ],
    ['as the argument of another call', raw(start, global('collections', 'OrderedDict'), '(', call, 'tR.')],
    [
      'through the memo',
      raw(start, global('posix', 'system'), 'q', [7], '0h', [7], '(', text(command), 'tR.'),
    ],
    ['made new', raw(start, global('posix', 'system'), '(', text(command), 't', [0x81], '.')],
    ['by its bare name', raw(start, global('posix', 'system'), '.')],
  ])('%s', async (_, data) => refused(alone(torchZip(data)), ...asSystem));

  test('in each of the other files', async () => {
    for (const name of ['second_stage.pt', 'speaker_encoder.pt', 'encodec_24khz.th']) {
      const edit = ({ value }: Checkpoint) => void value.set('x', call);
      await refused(await makeFolder(fresh(), [name], { [name]: edit }), ...asSystem);
    }
  });

  test('in any of the pickles of an old file', async () => {
    const magic = raw([0x80, 2, 0x8a, 10], Buffer.from('6cfc9c46f9206aa85019', 'hex'), '.');
    const sound = [pickle(1001), pickle({ little_endian: true }), pickle({}), pickle([])];
    for (const at of sound.keys()) {
      const parts = sound.with(at, raw(start, call, '.'));
      await refused(alone(Buffer.concat([magic, ...parts])), /refuses to run posix\.system|expected/);
    }
  });
});

describe('names are refused', () => {
  test.each([
    'os.system',
    'nt.system',
    'posix.popen',
    'subprocess.Popen',
    'builtins.eval',
    'builtins.exec',
    'builtins.__import__',
    'builtins.getattr',
    'builtins.open',
    '__builtin__.eval',
    'operator.attrgetter',
    'functools.partial',
    'importlib.import_module',
    'runpy.run_path',
    'pickle.loads',
    'ctypes.CDLL',
    'webbrowser.open',
    'torch.load',
    'torch.hub.load',
    'torch.ops.load_library',
    'torch.storage._load_from_bytes',
    'numpy.load',
    'numpy.testing._private.utils.runstring',
    '__main__.anything',
  ])('%s', async (name) => {
    const [module, last] = [name.slice(0, name.lastIndexOf('.')), name.slice(name.lastIndexOf('.') + 1)];
    const words = new RegExp(`refuses to run ${name.replaceAll('.', '\\.')}`);
    await refused(alone(torchZip(raw(start, global(module, last), '(', text('x'), 'tR.'))), words);
    const stacked = raw([0x80, 4], text(module), text(last), [0x93], text('x'), [0x85], 'R.');
    await refused(alone(torchZip(stacked)), words);
    // The way through an allowed module, in which Python would follow the dots.
    const dotted = raw([0x80, 4], text('torch'), text(`serialization.${name}`), [0x93], '.');
    await refused(alone(torchZip(dotted)), /refuses to run torch\.serialization/);
  });
});

describe('lies about sizes are refused', () => {
  const data = pickle({ model: {} });

  test('members of a zip that overlap, that share bytes, that are larger than the file', async () => {
    const inner = Buffer.alloc(4096);
    const member = { name: 'a/data.pkl', data };
    const cases: [Parameters<typeof zip>[0], RegExp][] = [
      [
        [member, { name: 'a/data/0', data: inner, size: 8192 }, { name: 'a/data/1', data: inner }],
        /overlaps/,
      ],
      [
        [member, { name: 'a/data/0', data: inner }, { name: 'a/data/1', data: inner, offset: 0 }],
        /not where|overlaps/,
      ],
      [[member, { name: 'a/data/0', data: inner, size: 2 ** 40 }], /outside the file/],
      [[member, { name: 'a/data/0', data: inner, method: 8 }], /compressed/],
    ];
    for (const [members, message] of cases) await refused(alone(zip(members, { wide: true })), message);
  });

  test('a zip bomb: much from little, whatever it says', async () => {
    const { deflateRawSync } = await import('node:zlib');
    const bomb = deflateRawSync(Buffer.alloc(32 << 20));
    await refused(alone(zip([{ name: 'a/data.pkl', data: bomb, method: 8 }])), /compressed \(method 8\)/);
  });

  test('storages, integers and strings of any declared size', async () => {
    for (const elements of [2 ** 31, 2 ** 40, 2 ** 50]) {
      const edit = (file: Checkpoint) => {
        const { storage, shape, strides } = stateOf(file).get(weight) as PickleTensor;
        stateOf(file).set(weight, new PickleTensor({ ...storage, elements }, 0, shape, strides));
      };
      const model = await makeFolder(fresh(), ['first_stage.pt'], { 'first_stage.pt': edit });
      await refused(model, new RegExp(`should have ${4 * elements} bytes`));
    }
    await refused(alone(torchZip(raw(start, 'X', [255, 255, 255, 255], '.'))), /truncated/);
    await refused(alone(torchZip(raw(start, [0x8b, 255, 255, 255, 127], '.'))), /integer/);
  });
});
