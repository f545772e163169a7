/** `metavoice voice`: what a recording is worth, and the voice in it. */

import { parseArgs } from 'node:util';
import { MetaVoice } from '../metavoice.js';
import { resolveLoadOptions } from '../resolve-options.js';
import type { Voice } from '../voice/voice.js';
import { loadArguments, loadHelp, loadOptions, requirePlace, requirePositionals } from './arguments.js';
import { type Terminal, write } from './terminal.js';

export const help = `Usage: metavoice voice FILE [OPTIONS]

Makes a voice of a recording (WAV, FLAC, MP3, OGG) and says what it is worth.

  --output, -o FILE   save the voice, to be given to \`metavoice say --voice\`
${loadHelp}
  --json              tell it in JSON
`;

const known = {
  ...loadArguments,
  output: { type: 'string', short: 'o' },
  json: { type: 'boolean' },
} as const;

export async function run(args: string[], terminal: Terminal): Promise<void> {
  const { values, positionals } = parseArgs({ args, options: known, allowPositionals: true });
  const [file] = requirePositionals(positionals, ['FILE']) as [string];
  const options = loadOptions(values, terminal);
  resolveLoadOptions(options);
  if (values.output !== undefined) await requirePlace(values.output);
  const tts = await MetaVoice.load(options);
  try {
    terminal.progress('listening');
    const voice = await tts.voice(file, { signal: terminal.signal });
    if (values.output !== undefined) await voice.save(values.output);
    terminal.progress(null);
    const { id, quality, warnings } = voice;
    await write(
      terminal.stdout,
      values.json ? `${JSON.stringify({ id, quality, warnings })}\n` : words(voice),
    );
  } finally {
    await tts.dispose();
  }
}

function words({ id, quality, warnings }: Voice): string {
  const lines = [`id             ${id}`];
  if (quality)
    lines.push(
      `length         ${quality.seconds.toFixed(1)} s, of which speech ${quality.speechSeconds.toFixed(1)} s`,
      `peak           ${quality.peak.toFixed(3)}, clipped ${(100 * quality.clippedFraction).toFixed(2)} %`,
      `speech/noise   ${quality.snrDecibels.toFixed(0)} dB`,
      `bandwidth      ${(quality.bandwidthHertz / 1000).toFixed(1)} kHz`,
    );
  for (const warning of warnings) lines.push(`warning        ${warning}`);
  return `${lines.join('\n')}\n`;
}
