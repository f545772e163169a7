/** `metavoice doctor`: what is here, what is missing, and whether it speaks. */

import { parseArgs } from 'node:util';
import type { Check } from '../doctor/check.js';
import { examine, type Report } from '../doctor/doctor.js';
import { loadArguments, loadHelp, loadOptions, requirePositionals } from './arguments.js';
import { type Terminal, write } from './terminal.js';

export const help = `Usage: metavoice doctor [OPTIONS]

Looks at everything that speech needs: Node, the addon, libtorch, devices, memory, caches, and speaks a sentence. A
model is also held against the published one, part by part. Exit code: 0 when it speaks, 1 when it can't.

${loadHelp}
  --deep              compute with a large model, too: caches and guidance in float32
  --json              tell it in JSON
`;

const known = { ...loadArguments, deep: { type: 'boolean' }, json: { type: 'boolean' } } as const;

export async function run(args: string[], terminal: Terminal): Promise<number> {
  const { values, positionals } = parseArgs({ args, options: known, allowPositionals: true });
  requirePositionals(positionals, []);
  // What the library would warn of is in the report.
  const { logger: _, ...load } = loadOptions(values, terminal);
  const report = await examine({
    ...load,
    deep: values.deep ?? false,
    onCheck: (name) => terminal.progress(`checking ${name}`),
  });
  terminal.progress(null);
  await write(terminal.stdout, values.json ? `${JSON.stringify(facts(report))}\n` : words(report));
  return report.speaks ? 0 : 1;
}

/** One object; checks by their names. */
function facts({ version, speaks, reason, checks, model }: Report) {
  return {
    version,
    speaks,
    reason,
    checks: byName(checks),
    model: model && { folder: model.folder, parts: byName(model.parts) },
  };
}

const byName = (checks: readonly Check[]) =>
  Object.fromEntries(
    checks.map(({ name, status, found, details = [], advice = null, facts = {} }) => [
      name,
      { status, found, details, advice, facts },
    ]),
  );

function words({ version, speaks, reason, checks, model }: Report): string {
  const width = Math.max(...[...checks, ...(model?.parts ?? [])].map(({ name }) => name.length));
  const lines = (each: readonly Check[]): string[] => each.flatMap((check) => checkLines(check, width));
  return [
    `metavoice ${version}`,
    '',
    ...lines(checks),
    ...(model ? ['', `${model.folder}, compared with the published model`, '', ...lines(model.parts)] : []),
    '',
    // The rest of the sentence, and what it announces, stand with the check.
    speaks ? 'Speech works.' : `Speech can't work: ${reason?.replace(/(\. [^.]+:|\.)$/, '')}.`,
    '',
  ].join('\n');
}

function checkLines({ name, status, found, details = [], advice }: Check, width: number): string[] {
  const indent = ' '.repeat(width + 11);
  const lines = [
    `${status.padEnd(8)} ${name.padEnd(width)}  ${found}`,
    ...details.map((line) => `${indent}${line}`),
    ...(advice === undefined ? [] : [`${indent}→ ${advice}`]),
  ];
  return lines.map(printable);
}

/** Names come from files, which may hold anything, and a terminal obeys some of it. */
const printable = (line: string): string => line.replace(/\p{Cc}/gu, '\ufffd');
