import { join } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import { readingFile } from './byte-reader.js';
import { isCodecHeader } from './codec.js';
import { isEnhancerHeader } from './enhancer-file.js';
import { namesIn, statOf } from './file-asks.js';
import { type LeftOut, unlessRefused } from './left-out.js';
import { ask, type Reading, readAsync } from './reading.js';
import { readingSafetensors, type SafetensorsHeader } from './safetensors.js';

/** Published files in a folder; null where there is none. */
export interface PublishedFiles {
  firstStage: string | null;
  secondStage: string | null;
  speakerEncoder: string | null;
  codec: { file: string; header: SafetensorsHeader | null } | null;
  diffusion: string | null;
  /** A folder, its zip, or a safetensors file. */
  enhancer: string | null;
}

/** Published files wherever they lie; null where there is none. */
export type PublishedPaths = { readonly [part in keyof PublishedFiles]: string | null };

/** The names that are looked for, in the words of messages. */
export const publishedNames = [
  'first_stage.pt',
  'second_stage.pt',
  'speaker_encoder.pt',
  'encodec_24khz*.th',
  '*.safetensors with the tensors of EnCodec',
  'mbd_comp_8.pt',
  'DeepFilterNet3, DeepFilterNet3.zip or a *.safetensors with its tensors',
] as const;

/**
 * Finds MetaVoice's three files, EnCodec's, multi-band diffusion's and DeepFilterNet's in a folder; EnCodec may also lie in
 * a folder in it whose name has `encodec`, DeepFilterNet in one that has `deepfilter`. EnCodec's `.th` file wins over a
 * safetensors file, DeepFilterNet's folder over its zip and that over a safetensors file, else the first by name.
 */
export const findPublished = (folder: string): Promise<PublishedFiles> => readAsync(findingPublished(folder));

/** Fails like `findPublished`, but takes note of an enhancer that can't be read in `leftOut`. */
export function* findingPublished(folder: string, leftOut: LeftOut | null = null): Reading<PublishedFiles> {
  const entries = yield* list(folder);
  function* find(name: string): Reading<string | null> {
    const path = join(folder, name);
    return entries.includes(name) && (yield* isFile(path)) ? path : null;
  }
  const firstStage = yield* find('first_stage.pt');
  const secondStage = yield* find('second_stage.pt');
  const speakerEncoder = yield* find('speaker_encoder.pt');
  const diffusion = yield* find('mbd_comp_8.pt');
  const inner = entries.filter((name) => /encodec/i.test(name) && !/\.(th|safetensors|json)$/.test(name));
  let codec = yield* findCodec(folder, entries);
  for (const name of inner) codec ??= yield* findCodec(join(folder, name), yield* list(join(folder, name)));
  const enhancer = yield* unlessRefused('enhancer', leftOut, () => findEnhancer(folder, entries));
  return { firstStage, secondStage, speakerEncoder, codec, diffusion, enhancer };
}

/** The files at given places. EnCodec's is told by its name: safetensors, or else torch's form. */
export function* readingPublished({ codec, ...rest }: PublishedPaths): Reading<PublishedFiles> {
  if (codec === null) return { ...rest, codec };
  const header = codec.endsWith('.safetensors') ? yield* readingFile(codec, readingSafetensors) : null;
  return { ...rest, codec: { file: codec, header } };
}

/** Names in a folder, sorted; none when it is not one. */
function* list(folder: string): Reading<string[]> {
  try {
    return (yield* ask(namesIn(folder))).sort();
  } catch {
    return [];
  }
}

function* isFile(path: string): Reading<boolean> {
  try {
    return (yield* ask(statOf(path))).isFile();
  } catch {
    return false;
  }
}

function* findCodec(folder: string, entries: string[]): Reading<PublishedFiles['codec']> {
  for (const name of entries.filter((entry) => /^encodec_24khz.*\.th$/.test(entry)))
    if (yield* isFile(join(folder, name))) return { file: join(folder, name), header: null };
  return yield* findSafetensors(folder, entries, isCodecHeader, /encodec/i);
}

function* findEnhancer(folder: string, entries: string[]): Reading<string | null> {
  const inner: { folder: string; entries: string[] }[] = [];
  for (const name of entries.filter((entry) => /deepfilter/i.test(entry)))
    inner.push({ folder: join(folder, name), entries: yield* list(join(folder, name)) });
  const signs = ({ entries: names }: { entries: string[] }) =>
    ['config.ini', 'checkpoints'].filter((name) => names.includes(name)).length;
  const own = inner.find((each) => signs(each) > 0);
  if (own) return own.folder;
  // The folder itself needs both: a configuration may be anything's.
  if (signs({ entries }) === 2) return folder;
  const places = [{ folder, entries }, ...inner];
  for (const place of places)
    for (const name of place.entries.filter((entry) => /^deepfilternet3\.zip$/i.test(entry)))
      if (yield* isFile(join(place.folder, name))) return join(place.folder, name);
  for (const place of places) {
    const found = yield* findSafetensors(place.folder, place.entries, isEnhancerHeader, /deepfilter/i);
    if (found) return found.file;
  }
  return null;
}

/** The first safetensors file that has the tensors. Of those damaged, the one with the network's name is told. */
function* findSafetensors(
  folder: string,
  entries: string[],
  isIt: (header: SafetensorsHeader) => boolean,
  itsName: RegExp,
): Reading<{ file: string; header: SafetensorsHeader } | null> {
  let damaged: unknown;
  for (const name of entries.filter((entry) => entry.endsWith('.safetensors'))) {
    const file = join(folder, name);
    try {
      const header = yield* readingFile(file, readingSafetensors);
      if (isIt(header)) return { file, header };
    } catch (error) {
      // Another model's file may be what it likes; one that calls itself by the name may not.
      if (itsName.test(name) && MetaVoiceError.isInstance(error)) damaged ??= error;
    }
  }
  if (damaged) throw damaged;
  return null;
}

/** What was looked for in a folder, for ERR_MODEL_NOT_FOUND. */
export function modelNotFound(model: string, places: string[], found: string): MetaVoiceError {
  const lines = places.map((place) => `\n  ${place}`).join('');
  return new MetaVoiceError(
    'ERR_MODEL_NOT_FOUND',
    `no model at ${model}: ${found}. Looked for:${lines}\nGive a folder with metavoice.json, or one with MetaVoice's published files and EnCodec's, or make one with \`metavoice convert\`; or a hub id (org/name) that \`metavoice download\` has fetched.`,
    { details: { model, places } },
  );
}
