/** `metavoice say`: a text in, a file of sound out. */

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { addAbortSignal, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { isString } from '../is.js';
import { MetaVoice } from '../metavoice.js';
import type { SpeakOptions, TextSource, VoiceSource } from '../options.js';
import { resolveLoadOptions, resolveSpeakOptions } from '../resolve-options.js';
import { type ByteFormat, resolveFormat } from '../stream/bytes.js';
import type { Speech } from '../stream/collect.js';
import {
  loadArguments,
  loadHelp,
  loadOptions,
  numberArgument,
  requirePlace,
  showProgress,
} from './arguments.js';
import { type Terminal, UsageError, write } from './terminal.js';

export const help = `Usage: metavoice say TEXT [OPTIONS]
       metavoice say -f FILE [OPTIONS]
       metavoice say - [OPTIONS]           (text from stdin, spoken as it arrives)

Speaks a text into a file.

  --output, -o FILE   where to write (default speech.wav, .pcm or .mulaw); - streams to stdout while it speaks
  --format F          wav (default), or without a header: pcm (16 bit, little-endian), mulaw (G.711)
  --rate N            8000, 16000, 22050, 24000, 44100 or 48000 Hz; default the enhancer's, else the model's own
  --file, -f FILE     the text, in UTF-8; - is stdin
  --voice, -v FILE    recording of the voice (WAV, FLAC, MP3, OGG), or a saved voice
  --speaker NAME      a speaker that ships with the model, instead of --voice; default its first
${loadHelp}
  --seed N            the same seed speaks the same bytes
  --temperature X     lower is steadier, 0 takes the most likely; default what the model advises, else 1
  --top-p X           default what the model advises, else 0.95
  --top-k N           default what the model advises, else off
  --guidance X[,Y]    how strongly to follow the speaker, and the text; default what the model advises, else 3
  --quality Q         stream (default) or whole
  --decoder D         auto (default), encodec or diffusion
  --diffusion-steps N evaluations of the diffusion decoder; default 20 at the most
  --enhance W         take noise out of the speech: auto (default: where the model can), on or off
  --loudness=X        bring the speech to so many LKFS (-14 as streaming services do), or off; default off, with diffusion -14
  --pause X[,Y[,Z]]   seconds of silence after a sentence, a clause, a paragraph; default 0.3,0.1,0.7
  --flush X           speak what is there when stdin gives nothing for so many seconds; default 0.7
  --check M           report (default), respeak what sounds wrong, or off
  --max-seconds X     cut the speech at this length
  --json              tell about the speech in JSON
`;

const known = {
  ...loadArguments,
  output: { type: 'string', short: 'o' },
  format: { type: 'string' },
  rate: { type: 'string' },
  file: { type: 'string', short: 'f' },
  voice: { type: 'string', short: 'v' },
  speaker: { type: 'string' },
  seed: { type: 'string' },
  temperature: { type: 'string' },
  'top-p': { type: 'string' },
  'top-k': { type: 'string' },
  guidance: { type: 'string' },
  quality: { type: 'string' },
  decoder: { type: 'string' },
  'diffusion-steps': { type: 'string' },
  enhance: { type: 'string' },
  loudness: { type: 'string' },
  pause: { type: 'string' },
  flush: { type: 'string' },
  check: { type: 'string' },
  'max-seconds': { type: 'string' },
  json: { type: 'boolean' },
} as const;

type Values = ReturnType<typeof parseArgs<{ options: typeof known; allowPositionals: true }>>['values'];

export async function run(args: string[], terminal: Terminal): Promise<void> {
  const { values, positionals } = parseArgs({ args, options: known, allowPositionals: true });
  const { format } = resolveFormat({ format: values.format }, ['format']);
  const { output = `speech.${format}`, json = false } = values;
  if (output === '-' && json)
    throw new UsageError('expected another `--output` than - with `--json`: both write to stdout');
  if (format !== 'wav' && /\.wav$/i.test(output))
    throw new UsageError(`expected another \`--output\` than a WAV file with \`--format ${format}\``);
  const load = loadOptions(values, terminal);
  const speak = speakOptions(values, terminal);
  // Wrong values are refused before stdin is read or anything is loaded.
  resolveLoadOptions(load);
  resolveSpeakOptions(speak);
  if (output !== '-') await requirePlace(output);
  // A stream has no end; the samples of a file are held in memory until it is written.
  const most = output === '-' ? Infinity : mostBytes;
  const text = await readText(values.file, positionals, terminal, most);

  const tts = await MetaVoice.load(load);
  try {
    const stream = tts.stream(text, speak);
    if (output === '-')
      return await pipeline(stream.toNodeReadable({ format }), terminal.stdout, { end: false });
    const speech = await stream.collect();
    await speech.save(output, { format });
    terminal.progress(null);
    await write(
      terminal.stdout,
      json ? `${JSON.stringify(await facts(speech, output, format, tts))}\n` : words(speech, output, tts),
    );
  } finally {
    await tts.dispose();
    // It may still be open, and would keep the process.
    if (!isString(text)) closeStream(terminal.stdin);
  }
}

function closeStream(stream: NodeJS.ReadableStream): void {
  if (stream instanceof Readable) stream.destroy();
}

function speakOptions(values: Values, terminal: Terminal): SpeakOptions {
  const { quality, decoder, check } = values;
  const temperature = numberArgument(values.temperature, 'temperature');
  const given: Record<keyof SpeakOptions & string, unknown> = {
    voice: voiceArgument(values),
    seed: numberArgument(values.seed, 'seed'),
    sampling: {
      temperature,
      topP: numberArgument(values['top-p'], 'top-p'),
      topK: numberArgument(values['top-k'], 'top-k'),
      guidance: guidanceArgument(values.guidance),
    },
    decoder,
    diffusionSteps: numberArgument(values['diffusion-steps'], 'diffusion-steps'),
    enhance: enhanceArgument(values.enhance),
    quality,
    loudness: values.loudness === 'off' ? 'off' : numberArgument(values.loudness, 'loudness'),
    sampleRate: numberArgument(values.rate, 'rate'),
    chunkSeconds: undefined,
    pauseSeconds: pauseArgument(values.pause),
    continuity: undefined,
    flushSeconds: numberArgument(values.flush, 'flush'),
    check,
    maxSeconds: numberArgument(values['max-seconds'], 'max-seconds'),
    signal: terminal.signal,
    onProgress: showProgress(terminal),
  };
  return given as SpeakOptions;
}

const switches: Readonly<Record<string, boolean>> = { on: true, off: false };

function enhanceArgument(value: string | undefined): 'auto' | boolean | undefined {
  if (value === undefined || value === 'auto') return value;
  const enhance = Object.hasOwn(switches, value) ? switches[value] : undefined;
  if (enhance === undefined)
    throw new UsageError(`expected auto, on or off for \`--enhance\` but received "${value}"`);
  return enhance;
}

function voiceArgument({ voice, speaker }: Values): VoiceSource | undefined {
  if (voice !== undefined && speaker !== undefined)
    throw new UsageError('expected `--voice` or `--speaker` but received both');
  return speaker === undefined ? voice : { speaker };
}

function guidanceArgument(
  value: string | undefined,
): number | { speaker?: number; prompt?: number } | undefined {
  if (value === undefined || !value.includes(',')) return numberArgument(value, 'guidance');
  const [speaker, prompt, ...rest] = value.split(',').map((part) => numberArgument(part, 'guidance')!);
  if (rest.length > 0) throw new UsageError(`expected X or X,Y for \`--guidance\` but received "${value}"`);
  return { speaker: speaker!, prompt: prompt! };
}

function pauseArgument(value: string | undefined): SpeakOptions['pauseSeconds'] {
  if (value === undefined) return undefined;
  const [sentence, clause, paragraph, ...rest] = value
    .split(',')
    .map((part) => numberArgument(part, 'pause')!);
  if (rest.length > 0)
    throw new UsageError(`expected X, X,Y or X,Y,Z for \`--pause\` but received "${value}"`);
  const given = { sentence, clause, paragraph };
  return given as SpeakOptions['pauseSeconds'];
}

async function readText(
  file: string | undefined,
  words: string[],
  terminal: Terminal,
  most: number,
): Promise<TextSource> {
  if (file !== undefined && words.length > 0)
    throw new UsageError(`expected TEXT or \`--file\` but received both`);
  if (file === undefined && words.length === 0)
    throw new UsageError('expected TEXT, `-f FILE` or - but received nothing');
  const source = file ?? (words.length === 1 ? words[0] : undefined);
  if (source === '-') return readPieces(terminal, most);
  if (file === undefined) return words.join(' ');
  if ((await stat(file)).isDirectory()) throw new Error(`expected a text file at ${file} but found a folder`);
  return decode(await readAll(createReadStream(file), file, terminal.signal), file);
}

/** What arrives, as it arrives. */
async function* readPieces(terminal: Terminal, most: number) {
  const name = 'stdin';
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let bytes = 0;
  for await (const piece of terminal.stdin) {
    bytes += piece.length;
    requireBytes(bytes, most, name);
    yield decode(Buffer.from(piece), name, decoder, true);
  }
  // A letter of several bytes that has no end is refused.
  yield decode(new Uint8Array(0), name, decoder);
}

/** More bytes than any text that could be spoken. */
const mostBytes = 1 << 24;

/** All that comes, but not of what has no end. */
async function readAll(source: NodeJS.ReadableStream, name: string, signal: AbortSignal): Promise<Buffer> {
  const stream = addAbortSignal(signal, source instanceof Readable ? source : Readable.from(source));
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of stream) {
    bytes += piece.length;
    requireBytes(bytes, mostBytes, name);
    pieces.push(Buffer.from(piece));
  }
  return Buffer.concat(pieces);
}

function requireBytes(bytes: number, most: number, name: string): void {
  if (bytes > most)
    throw new Error(
      `expected a text of at most ${most} bytes in ${name} but found more; speak it in several shorter parts`,
    );
}

/** UTF-8, with or without a byte order mark; other encodings are refused, not misread. */
function decode(
  bytes: Uint8Array,
  name: string,
  decoder = new TextDecoder('utf-8', { fatal: true }),
  more = false,
): string {
  try {
    return decoder.decode(bytes, { stream: more });
  } catch {
    throw new Error(`expected text in UTF-8 in ${name} but found other bytes; save it as UTF-8`);
  }
}

function words(speech: Speech, output: string, { device, dtype, quantization, reason }: MetaVoice): string {
  const { durationSeconds, timings, seed, endReason, health } = speech;
  const cut = endReason === 'limit' ? ', cut at the limit' : '';
  const redone = health.redoneSteps + health.redoneWindows;
  const again = redone > 0 ? `, ${redone} steps done again in float32` : '';
  const numbers = quantization === 'none' ? dtype : `${dtype} and ${quantization}`;
  return `${output}: ${durationSeconds.toFixed(2)} s${cut}${again}, real-time factor ${timings.realTimeFactor.toFixed(2)}, seed ${seed}, ${device} ${numbers} (${reason})\n${heard(speech)}`;
}

/** A line for each finding in what was written; that it was cut is told already. */
const heard = ({ check }: Speech): string =>
  check.findings
    .filter(({ heard, kind }) => heard && kind !== 'limit')
    .map(({ startSeconds, message }) => `  at ${startSeconds.toFixed(1)} s: ${message}\n`)
    .join('');

/** What `--json` tells of a speech. */
const told = [
  'durationSeconds',
  'sampleRate',
  'loudness',
  'seed',
  'endReason',
  'decoder',
  'decoderReason',
  'enhanced',
  'enhancedReason',
  'timings',
  'health',
  'check',
] as const satisfies readonly (keyof Speech)[];

async function facts(speech: Speech, file: string, format: ByteFormat, tts: MetaVoice) {
  const { device, dtype, quantization, reason, model, plan } = tts;
  return {
    file,
    format,
    ...Object.fromEntries(told.map((name) => [name, speech[name]])),
    device,
    dtype,
    quantization,
    reason,
    model,
    memory: { planned: plan.total, peak: await tts.peakMemory() },
  };
}
