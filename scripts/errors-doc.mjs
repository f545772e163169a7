/**
 * Writes docs/errors.md from the codes of lib/errors.ts (as built in dist/) and scripts/error-explanations.mjs:
 *
 *   node scripts/errors-doc.mjs            writes it
 *   node scripts/errors-doc.mjs --check    exit code 1 when it is not what would be written
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { errorCodes } from '../dist/errors.js';
import { explanations } from './error-explanations.mjs';

export const page = fileURLToPath(new URL('../docs/errors.md', import.meta.url));

const introduction = `# Errors

<!-- Written by scripts/errors-doc.mjs from lib/errors.ts and scripts/error-explanations.mjs: edit those. -->

What fails on purpose fails with a \`MetaVoiceError\`. Its \`code\` is stable; its message says what was expected, what was
found and what to do; \`details\` has the same facts for programs, and \`cause\` the error behind it, if there is one.

\`\`\`js
import { MetaVoiceError } from 'metavoice';

try {
  await tts.synthesize(text, { voice: 'reference.wav' });
} catch (error) {
  if (MetaVoiceError.isInstance(error) && error.code === 'ERR_REFERENCE_AUDIO') console.log(error.details.found);
  else throw error;
}
\`\`\`

\`MetaVoiceError.isInstance\` also knows the errors of another copy of the package in the same process.

Not of this class are: **arguments** of the wrong type or range, or misspelt options (\`TypeError\` and \`RangeError\`: "expected … for
\`sampling.topP\` but received …"); an **abort**, which rejects with the signal's own reason; the **file system's** own errors
while writing; and whatever a **callback** of yours throws.`;

/** @typedef {import('../lib/errors.js').ErrorCode} ErrorCode */

/** The whole page. */
export function errorsPage() {
  const codes = /** @type {ErrorCode[]} */ (Object.keys(errorCodes));
  const overview = codes.map((code) => `| [\`${code}\`](#${code.toLowerCase()}) | ${errorCodes[code]} |`);
  return `${[introduction, ['| code | means |', '|---|---|', ...overview].join('\n'), ...codes.map(section)].join('\n\n')}\n`;
}

/** @param {ErrorCode} code */
function section(code) {
  const { causes, mend, where, details } = explanations[code];
  const fields = Object.entries(details).map(([name, words]) => `| \`${name}\` | ${words} |`);
  const table = ['| in `details` | |', '|---|---|', ...fields].join('\n');
  return [
    `## ${code}`,
    `${capital(errorCodes[code])}.`,
    causes.map((cause) => `- ${cause}`).join('\n'),
    `**What to do.** ${mend}`,
    `**Refused in** ${where}.`,
    ...(fields.length > 0 ? [table] : []),
  ].join('\n\n');
}

/** @param {string} words */
const capital = (words) => `${words.charAt(0).toUpperCase()}${words.slice(1)}`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (!process.argv.includes('--check')) writeFileSync(page, errorsPage());
  else if (readFileSync(page, 'utf8') !== errorsPage()) process.exitCode = 1;
}
