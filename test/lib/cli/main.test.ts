import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { bundledModel } from '../../../dist/bundled.js';
import { loadEngine } from '../../../dist/runtime/load.js';
import { fixture } from '../fixtures.js';

const program = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));
const bria = fixture('voices/bria.mp3');
const environment: NodeJS.ProcessEnv = { ...process.env };
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
  environment.METAVOICE_LIBTORCH = (await loadEngine()).libtorch.directory;
  environment.METAVOICE_CACHE = join(folder, 'cache');
  environment.METAVOICE_MODEL = fixture('model');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Outcome {
  code: number | null;
  stdout: Buffer;
  stderr: string;
}

/** Runs the command in the temporary folder. `during` may meddle with the process. */
function run(
  args: string[],
  {
    input = '',
    during,
  }: { input?: string | Buffer | null; during?: (child: ReturnType<typeof spawn>) => void } = {},
): Promise<Outcome> {
  const child = spawn(process.execPath, [program, ...args], { cwd: folder, env: environment });
  const out: Buffer[] = [];
  let stderr = '';
  child.stdout.on('data', (data) => out.push(data));
  child.stderr.on('data', (data) => (stderr += data));
  child.stdin.on('error', () => {});
  if (input !== null) child.stdin.end(input);
  during?.(child);
  return new Promise((resolve) => {
    child.on('close', (code) => resolve({ code, stdout: Buffer.concat(out), stderr }));
  });
}

describe('wrong usage ends with 2', () => {
  test.each<[string[], RegExp]>([
    [[], /expected a command/],
    [['sing'], /commands say, voice, download, convert, setup, plan, doctor but received `sing`/],
    [['constructor'], /expected one of the commands/],
    [['say'], /expected TEXT/],
    [['say', 'hi', '--foo'], /Unknown option '--foo'[\s\S]*Try `metavoice say --help`/],
    [['say', 'hi', '-o', ''], /a path for `--output`/],
    [['say', 'hi', '-f', 'x'], /but received both/],
    [['say', 'hi', '--seed', 'x'], /a number for `--seed`/],
    [['say', 'hi', '--seed', '1.5'], /for `seed`/],
    [['say', 'hi', '--device', 'gpu'], /for `device`/],
    [['say', 'hi', '--quality', 'best'], /for `quality`/],
    [['say', 'hi', '--enhance', 'loud'], /auto, on or off for `--enhance` but received "loud"/],
    [['say', 'hi', '--format', 'mp3'], /one of 'wav', 'pcm', 'mulaw' for `format`/],
    [['say', 'hi', '--format', 'pcm', '-o', 'a.wav'], /than a WAV file with `--format pcm`/],
    [['say', 'hi', '--loudness=5'], /between -70 and 0 .* for `loudness`/],
    [['say', 'hi', '--loudness', 'loud'], /a number for `--loudness`/],
    [['say', 'hi', '--rate', '11025'], /one of 8000, .* for `sampleRate` but received 11025/],
    [['say', 'hi', '--check', 'twice'], /one of 'off', 'report', 'respeak' for `check`/],
    [['say', 'hi', '--guidance', '1,2,3'], /X or X,Y/],
    [['say', 'hi', '--pause', '1,2,3,4'], /X, X,Y or X,Y,Z for `--pause`/],
    [['say', 'hi', '--pause', 'long'], /a number for `--pause`/],
    [['say', 'hi', '--pause', '1,,2'], /a number for `--pause`/],
    [['say', 'hi', '--pause', '0.1,11'], /between 0 and 10 for `pauseSeconds.clause`/],
    [['say', '-', '--flush', '-1'], /for `flushSeconds`|ambiguous/],
    [['say', '-', '--flush=4000'], /between 0 and 3600 for `flushSeconds`/],
    [['say', 'hi', '--voice', 'a', '--speaker', 'b'], /but received both/],
    [['say', 'hi', '-o', '-', '--json'], /both write to stdout/],
    [['voice'], /expected FILE/],
    [['convert', 'a'], /expected IN and OUT but received a/],
    [['convert', 'a', 'b', '--dtype', 'fp8'], /for `dtype`/],
    [['convert', 'a', 'b', '--quantization', 'int2'], /for `quantization`/],
    [['download', 'one', 'two'], /expected at most one ID but received one two/],
    [['download', 'anna'], /a hub id such as metavoiceio\/metavoice-1B-v0\.1 for `ID` but received "anna"/],
    [['download', 'a/b@x', '--revision', 'y'], /expected the revision once/],
    [['download', '--revision', '../x'], /a branch, tag or commit for `--revision`/],
    [['download', '--with', 'vocoder'], /diffusion or enhancer for `--with` but received "vocoder"/],
    [['setup', 'now'], /expected options only/],
  ])('%j', async (args, message) => {
    const { code, stdout, stderr } = await run(args);
    expect(stderr).toMatch(/^metavoice: /);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(stdout).toHaveLength(0);
    expect(code).toBe(2);
  });
});

describe('help and version', () => {
  test.each([
    ['--help', /Usage: metavoice COMMAND/],
    ['-h', /Usage: metavoice COMMAND/],
    ['say --help', /Usage: metavoice say TEXT/],
    ['help say', /Usage: metavoice say TEXT/],
    ['voice -h', /Usage: metavoice voice/],
    ['download --help', /--with LIST/],
    ['convert --help', /--keep-layers/],
    ['setup --help', /--cuda/],
    ['--version', /^\d+\.\d+\.\d+\n$/],
  ])('%s', async (line, expected) => {
    const { code, stdout, stderr } = await run(line.split(' '));
    expect(stdout.toString()).toMatch(expected);
    expect(stderr).toBe('');
    expect(code).toBe(0);
  });
});

describe('failures end with 1', () => {
  it('for a model that is not there', async () => {
    const { code, stderr } = await run(['convert', 'nowhere', 'out', '--dtype', 'float32']);
    expect(stderr).toMatch(/^metavoice: .*nowhere/);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(code).toBe(1);
  });

  it('for stdin that is not UTF-8, or ends in the middle of a letter', async () => {
    for (const bytes of [
      [0x63, 0x61, 0x66, 0xe9, 0x21],
      [0x63, 0xc3],
    ]) {
      const { code, stderr, stdout } = await run(['say', '-', '-o', '-', '--voice', bria], {
        input: Buffer.from(bytes),
      });
      expect(stderr).toMatch(/expected text in UTF-8 in stdin/);
      expect(stdout).toHaveLength(0);
      expect(code).toBe(1);
    }
  });

  it('for text that is not UTF-8', async () => {
    await writeFile(join(folder, 'latin.txt'), Buffer.from([0x63, 0x61, 0x66, 0xe9]));
    const { code, stderr } = await run(['say', '-f', 'latin.txt']);
    expect(stderr).toMatch(/expected text in UTF-8 in latin\.txt/);
    expect(code).toBe(1);
  });
});

describe('with the engine', () => {
  const short = ['--voice', bria, '--seed', '4', '--max-seconds', '0.5', '--dtype', 'float32'];

  it('say writes a file and one line about it', async () => {
    const { code, stdout, stderr } = await run(['say', 'hi', 'how are you', ...short]);
    expect(stderr).toBe('');
    expect(stdout.toString()).toMatch(/^speech\.wav: 0\.\d\d s.*seed 4, cpu float32 .*\n$/);
    expect(code).toBe(0);
    expect((await readFile(join(folder, 'speech.wav'))).toString('latin1', 0, 4)).toBe('RIFF');
  });

  it('say reads stdin and files, and streams the same samples to stdout', async () => {
    const text = 'hi how are you';
    await writeFile(join(folder, 'text.txt'), `\ufeff${text}\n`);
    const file = await run(['say', '-f', 'text.txt', '-o', 'a.wav', '--json', ...short]);
    expect(JSON.parse(file.stdout.toString())).toMatchObject({
      file: 'a.wav',
      seed: 4,
      decoder: 'encodec',
      health: { redoneSteps: 0, redoneWindows: 0 },
      check: { mode: 'report', segments: 1, respoken: 0, findings: expect.any(Array) },
      memory: { planned: expect.any(Number), peak: expect.any(Number) },
    });
    const streamed = await run(['say', '-', '-o', '-', ...short], { input: text });
    expect(streamed).toMatchObject({ code: 0, stderr: '' });
    expect(streamed.stdout.readUInt32LE(40)).toBe(0xffffffff);
    expect(streamed.stdout.subarray(44).equals((await readFile(join(folder, 'a.wav'))).subarray(44))).toBe(
      true,
    );
  });

  it('say speaks at the rate and in the format that are asked for', async () => {
    const text = ['say', 'hi how are you', ...short];
    const wav = await run([...text, '-o', 'phone.wav', '--rate', '8000']);
    expect(wav).toMatchObject({ code: 0, stderr: '' });
    const saved = await readFile(join(folder, 'phone.wav'));
    expect(saved.readUInt32LE(24)).toBe(8000);
    const mulaw = await run([...text, '--rate', '8000', '--format', 'mulaw', '--json', '--loudness', 'off']);
    expect(JSON.parse(mulaw.stdout.toString())).toMatchObject({
      file: 'speech.mulaw',
      format: 'mulaw',
      sampleRate: 8000,
      loudness: 'off',
    });
    const bytes = await readFile(join(folder, 'speech.mulaw'));
    expect(2 * bytes.length).toBe(saved.length - 44);
    const streamed = await run([...text, '-o', '-', '--rate', '8000', '--format', 'mulaw']);
    expect(streamed.stdout.equals(bytes)).toBe(true);
    const loud = await run([...text, '-o', 'loud.wav', '--loudness=-14', '--json']);
    expect(JSON.parse(loud.stdout.toString())).toMatchObject({ loudness: -14, format: 'wav' });
  });

  it('say speaks stdin as it arrives, to stdout and to a file', async () => {
    const args = ['say', '-', '--flush', '0.05', ...short];
    let early = 0;
    const streamed = await run([...args, '-o', '-'], {
      input: null,
      during: (child) => {
        child.stdin!.write(Buffer.from('hi how are yo\u00fc').subarray(0, -1));
        child.stdin!.write(Buffer.from('\u00fc').subarray(1));
        child.stdout!.once('data', (data) => {
          early = data.length;
          child.stdin!.end();
        });
      },
    });
    expect(streamed).toMatchObject({ code: 0, stderr: '' });
    expect(early).toBeGreaterThan(44);
    const saved = await run([...args, '-o', 'arrived.wav'], { input: 'hi how are yo\u00fc' });
    expect(saved).toMatchObject({ code: 0, stderr: '' });
    const file = await readFile(join(folder, 'arrived.wav'));
    expect(streamed.stdout.subarray(44).equals(file.subarray(44))).toBe(true);
  });

  it('say ends at its limit though stdin stays open, and waits as long as it is told between sentences', async () => {
    const open = await run(['say', '-', '-o', '-', '--flush', '0.05', ...short], {
      input: null,
      during: (child) => child.stdin!.write('hi.\n\nhow are you.\n\nhi.\n\nhow'),
    });
    expect(open).toMatchObject({ code: 0, stderr: '' });
    const text = 'hi.\n\nhow';
    const length = async (pause: string) => {
      const args = [
        'say',
        text,
        '-o',
        '-',
        '--pause',
        pause,
        '--voice',
        bria,
        '--seed',
        '4',
        '--dtype',
        'float32',
      ];
      return (await run([...args, '--max-seconds', '60'])).stdout.length;
    };
    const rate = (await readFile(join(folder, 'arrived.wav'))).readUInt32LE(24);
    expect((await length('0,0,0.5')) - (await length('0,0,0'))).toBe(0.5 * rate * 2);
  });

  it('voice tells what a recording is worth, and saves a voice that say takes', async () => {
    const { code, stdout } = await run(['voice', bria, '-o', 'bria.json']);
    expect(stdout.toString()).toMatch(/^id +[0-9a-f]{32}\nlength +44\.9 s/);
    expect(code).toBe(0);
    const said = await run(['say', 'hi', '--voice', 'bria.json', ...short.slice(2), '-o', 'b.wav']);
    expect(said).toMatchObject({ code: 0, stderr: '' });
  });

  it('convert makes a folder that say takes, once', async () => {
    const { code, stdout } = await run([
      'convert',
      fixture('model'),
      'made',
      '--dtype',
      'bfloat16',
      '--json',
    ]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout.toString())).toMatchObject({ folder: 'made', dtype: 'bfloat16' });
    expect(await readdir(join(folder, 'made'))).toContain('metavoice.json');
    expect(await run(['say', 'hi', '-m', 'made', ...short, '-o', 'c.wav'])).toMatchObject({
      code: 0,
      stderr: '',
    });
    expect((await run(['convert', fixture('model'), 'made', '--dtype', 'bfloat16'])).code).toBe(2);
  });

  it('convert quantises published files, and a model folder in its own dtype', async () => {
    const int8 = ['--quantization', 'int8'];
    const { code, stdout } = await run(['convert', fixture('model'), 'int8', '--dtype', 'bfloat16', ...int8]);
    expect(stdout.toString()).toMatch(/^int8: first stage, .* in bfloat16 and int8, [\d.]+ MB\n$/);
    expect(code).toBe(0);
    const made = await run(['convert', bundledModel(), 'bundled-int4', '--quantization', 'int4', '--json']);
    expect(JSON.parse(made.stdout.toString())).toMatchObject({ dtype: 'float16', quantization: 'int4' });
    const said = await run(['say', 'hi', '-m', 'bundled-int4', '--seed', '1', '-o', 'q.wav', '--json']);
    expect(JSON.parse(said.stdout.toString())).toMatchObject({ quantization: 'int4' });
    const refused = await run(['say', 'hi', '-m', 'bundled-int4', '--quantization', 'int8', '-o', 'r.wav']);
    expect(refused.stderr).toMatch(/to be loaded in int4, as it is stored/);
    expect(refused.code).toBe(1);
  });

  it('say refuses what cannot be spoken', async () => {
    const { code, stderr } = await run(['say', 'привет', ...short]);
    expect(stderr).toMatch(/U\+043F/);
    expect(code).toBe(1);
  });

  it('^C stops it and leaves no file', async () => {
    const { code, stderr } = await run(['say', 'hi', '--voice', bria, '-o', 'd.wav'], {
      during: (child) => setTimeout(() => child.kill('SIGINT'), 350),
    });
    expect(stderr).toBe('metavoice: interrupted\n');
    expect(code).toBe(1);
    expect(existsSync(join(folder, 'd.wav'))).toBe(false);
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('a reader that leaves is no failure', async () => {
    const { code, stderr } = await run(['say', 'hi how are you', '-o', '-', '--voice', bria, '--seed', '4'], {
      during: (child) => child.stdout?.once('data', () => child.stdout?.destroy()),
    });
    expect(stderr).toBe('');
    expect(code).toBe(0);
  });
});
