/**
 * `node test/fuzz/run.mjs [reader…] [--inputs 1000000] [--seconds N] [--seed N] [--replay FILE]`: hostile inputs
 * for the readers of files, so many of them or for so long. Progress goes to standard error, a line for each reader to standard output; 1 when one of them failed, and the
 * input lies under build/fuzz.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fuzz } from './fuzz.mjs';
import { readers } from './readers.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    inputs: { type: 'string', default: '1000000' },
    seconds: { type: 'string', default: 'Infinity' },
    seed: { type: 'string', default: '1' },
    replay: { type: 'string' },
  },
});
const unknown = positionals.filter((name) => !(name in readers));
if (unknown.length > 0) {
  process.stderr.write(
    `expected readers of ${Object.keys(readers).join(', ')} but received ${unknown.join(', ')}\n`,
  );
  process.exit(2);
}

const megabytes = (/** @type {number} */ bytes) => `${Math.round(bytes / 2 ** 20)} MiB`;
let failed = false;
for (const name of positionals.length > 0 ? positionals : Object.keys(readers)) {
  let told = Date.now();
  const outcome = await fuzz(name, {
    inputs: Number(values.inputs),
    seconds: Number(values.seconds),
    seed: Number(values.seed),
    replay: values.replay === undefined ? undefined : readFileSync(values.replay),
    onProgress: (inputs) => {
      if (Date.now() - told < 5000) return;
      told = Date.now();
      process.stderr.write(`${name}: ${inputs} inputs\n`);
    },
  });
  const { inputs, accepted, refused, slowest, resident, left, seconds, failure } = outcome;
  console.log(
    `${failure ? 'FAIL' : 'ok  '} ${name.padEnd(13)}${inputs} inputs, ${accepted} accepted, ${refused} refused, ` +
      `slowest ${slowest.toFixed(1)} ms, memory grew by at most ${megabytes(resident)} (${megabytes(left)} left), ${seconds.toFixed(0)} s`,
  );
  if (!failure) continue;
  failed = true;
  console.log(`     ${failure.file}\n     ${failure.why.split('\n').slice(0, 6).join('\n     ')}`);
}
process.exitCode = failed ? 1 : 0;
