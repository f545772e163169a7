import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cacheDirectory } from '../../../dist/runtime/paths.js';

test('METAVOICE_CACHE names the cache, before XDG_CACHE_HOME', () => {
  expect(cacheDirectory({ METAVOICE_CACHE: '/a/b', XDG_CACHE_HOME: '/c' })).toBe('/a/b');
  expect(cacheDirectory({ XDG_CACHE_HOME: '/c' })).toBe(join('/c', 'metavoice'));
});

test('without variables the cache is where the platform keeps such things', () => {
  expect(cacheDirectory({})).toMatch(/metavoice/);
  expect(cacheDirectory({ METAVOICE_CACHE: '', XDG_CACHE_HOME: '' })).toBe(cacheDirectory({}));
});
