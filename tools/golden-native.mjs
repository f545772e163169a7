/**
 * test/fixtures/native.safetensors: the numbers of llm.json and speaker.json that the native tests need, so that these
 * need no JSON reader. `node tools/golden-native.mjs` writes it anew.
 */
import { readFile, writeFile } from 'node:fs/promises';

const fixtures = new URL('../test/fixtures/', import.meta.url);
const json = async (name) => JSON.parse(await readFile(new URL(name, fixtures), 'utf8'));
const llm = await json('llm.json');
const speaker = await json('speaker.json');

/** @type {Map<string, { dtype: 'I32' | 'F32', shape: number[], data: number[] }>} */
const tensors = new Map();
const integers = (name, shape, data) => tensors.set(name, { dtype: 'I32', shape, data });
const reals = (name, shape, data) => tensors.set(name, { dtype: 'F32', shape, data });
const list = (name, data) => integers(name, [data.length], data);
const table = (name, rows) => integers(name, [rows.length, rows[0].length], rows.flat());

list('prompt', llm.prompt);
list('first.greedy', llm['first.greedy'].ids);
reals('first.greedy_margin', [1], [llm['first.greedy_margin'] ?? llm['first.greedy'].margin]);
// Temperature, top-p (1 is off), top-k (0 is off).
reals(
  'sampling.settings',
  [llm.sampling.length, 3],
  llm.sampling.flatMap((entry) => [entry.temperature, entry.top_p ?? 1, entry.top_k ?? 0]),
);
list(
  'sampling.kept',
  llm.sampling.map((entry) => entry.kept),
);
llm.adapter.forEach((entry, index) => {
  list(`adapter.${index}.ids`, entry.ids);
  table(`adapter.${index}.codes`, entry.codes);
});
list('second.columns', llm.second.columns);
table('second.codes', llm.second.codes);
table('second.argmax', llm.second.argmax);
list('speaker.trim', speaker.trim);
table('speaker.slices', speaker.slices);
for (const [samples, slices] of Object.entries(speaker.plan)) table(`speaker.plan.${samples}`, slices);

const header = {};
let end = 0;
for (const [name, { dtype, shape, data }] of tensors) {
  header[name] = { dtype, shape, data_offsets: [end, end + 4 * data.length] };
  end += 4 * data.length;
}
const text = JSON.stringify(header);
const head = Buffer.from(text.padEnd(Math.ceil((text.length + 8) / 64) * 64 - 8));
const length = Buffer.alloc(8);
length.writeBigUInt64LE(BigInt(head.length));
const parts = [...tensors.values()].map(({ dtype, data }) =>
  Buffer.from((dtype === 'I32' ? Int32Array : Float32Array).from(data).buffer),
);
await writeFile(new URL('native.safetensors', fixtures), Buffer.concat([length, head, ...parts]));
