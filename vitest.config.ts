import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: [
      'test/lib/**/*.test.ts',
      'test/native/**/*.test.ts',
      'test/package/**/*.test.ts',
      'test/fuzz/*.test.ts',
      'test/*.test.ts',
    ],
    // A process for each file: a crash in native code fails that file, not the run.
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
