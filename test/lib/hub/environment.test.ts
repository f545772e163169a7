import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, test } from 'vitest';
import { hubCache, hubEndpoint, hubToken, isOffline } from '../../../dist/hub/environment.js';

const folder = mkdtempSync(join(tmpdir(), 'metavoice-hub-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the cache lies where Python looks', () => {
  const all = { HF_HUB_CACHE: '/a', HUGGINGFACE_HUB_CACHE: '/b', HF_HOME: '/c', XDG_CACHE_HOME: '/d' };
  const { HF_HUB_CACHE: _a, ...second } = all;
  const { HUGGINGFACE_HUB_CACHE: _b, ...third } = second;
  const { HF_HOME: _c, ...fourth } = third;
  test.each<[Record<string, string>, string, string | null]>([
    [all, '/a', 'HF_HUB_CACHE'],
    [second, '/b', 'HUGGINGFACE_HUB_CACHE'],
    [third, '/c/hub', 'HF_HOME'],
    [fourth, '/d/huggingface/hub', 'XDG_CACHE_HOME'],
    [{}, join(homedir(), '.cache/huggingface/hub'), null],
    [{ HF_HUB_CACHE: '', HF_HOME: '' }, join(homedir(), '.cache/huggingface/hub'), null],
    [{ HF_HUB_CACHE: '~/x' }, join(homedir(), 'x'), 'HF_HUB_CACHE'],
    [{ HF_HOME: '~' }, join(homedir(), 'hub'), 'HF_HOME'],
    [{ HF_HUB_CACHE: '/x~y' }, '/x~y', 'HF_HUB_CACHE'],
  ])('%j', (environment, expected, variable) => {
    expect(hubCache(environment)).toEqual({ folder: expected, variable });
  });
});

describe('the token', () => {
  const file = join(folder, 'token');
  const other = join(folder, 'other');
  writeFileSync(file, 'hf_home\n');
  writeFileSync(other, '  hf_path  ');

  test.each<[Record<string, string>, { value: string; source: string } | null]>([
    [
      { HF_TOKEN: ' hf_x\n', HF_TOKEN_PATH: other, HF_HOME: folder },
      { value: 'hf_x', source: 'HF_TOKEN' },
    ],
    [
      { HF_TOKEN: '', HF_TOKEN_PATH: other, HF_HOME: folder },
      { value: 'hf_path', source: other },
    ],
    [{ HF_HOME: folder }, { value: 'hf_home', source: file }],
    // An organisation's own proxy may have tokens of another form.
    [
      { HF_TOKEN: 'api_org', HF_HOME: folder },
      { value: 'api_org', source: 'HF_TOKEN' },
    ],
    [{ HF_HOME: join(folder, 'none') }, null],
    [{ HF_TOKEN_PATH: join(folder, 'none'), HF_HOME: folder }, null],
  ])('is found: %j', (environment, token) => {
    expect(hubToken(environment)).toEqual(token);
  });

  it('is refused without being shown where it can be none', () => {
    for (const value of ['hf_secret two', 'hf_secret\nline', 'hf_secreté'])
      expect(() => hubToken({ HF_TOKEN: value })).toThrow(
        expect.objectContaining({
          code: 'ERR_DOWNLOAD',
          message: expect.not.stringContaining('secret'),
          details: { source: 'HF_TOKEN' },
        }),
      );
  });
});

describe('the endpoint', () => {
  test.each([
    [{}, 'https://huggingface.co'],
    [{ HF_ENDPOINT: '' }, 'https://huggingface.co'],
    [{ HF_ENDPOINT: 'https://mirror.example/' }, 'https://mirror.example'],
    [{ HF_ENDPOINT: 'http://host:8080/hub//' }, 'http://host:8080/hub'],
  ])('%j', (environment, expected) => {
    expect(hubEndpoint(environment)).toBe(expected);
  });

  test.each(['mirror.example', 'ftp://x', 'https://', 'https://me:secret@x', 'https://x/?a'])(
    'is not %j',
    (HF_ENDPOINT) => {
      expect(() => hubEndpoint({ HF_ENDPOINT })).toThrow(
        expect.objectContaining({
          code: 'ERR_DOWNLOAD',
          message: expect.stringMatching(/^(?!.*secret).*HF_ENDPOINT/),
        }),
      );
    },
  );
});

test('offline is said in the words that Python knows', () => {
  for (const HF_HUB_OFFLINE of ['1', 'on', 'YES', 'True']) expect(isOffline({ HF_HUB_OFFLINE })).toBe(true);
  for (const HF_HUB_OFFLINE of ['', '0', 'off', 'no', 'false', '2'])
    expect(isOffline({ HF_HUB_OFFLINE })).toBe(false);
  expect(isOffline({})).toBe(false);
});
