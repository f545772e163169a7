import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import { isCodecHeader } from './codec.js';
import { readSafetensors, type SafetensorsHeader } from './safetensors.js';

/** Published files in a folder; null where there is none. */
export interface PublishedFiles {
  firstStage: string | null;
  secondStage: string | null;
  speakerEncoder: string | null;
  codec: { file: string; header: SafetensorsHeader | null } | null;
}

/** The names that are looked for, in the words of messages. */
export const publishedNames = [
  'first_stage.pt',
  'second_stage.pt',
  'speaker_encoder.pt',
  'encodec_24khz*.th',
  '*.safetensors with the tensors of EnCodec',
] as const;

/**
 * Finds MetaVoice's three files and EnCodec's in a folder; EnCodec may also lie in a folder in it whose name has
 * `encodec`. The `.th` file wins over a safetensors file, else the first by name.
 */
export async function findPublished(folder: string): Promise<PublishedFiles> {
  const entries = await list(folder);
  const [firstStage = null, secondStage = null, speakerEncoder = null] = await Promise.all(
    ['first_stage.pt', 'second_stage.pt', 'speaker_encoder.pt'].map(async (name) =>
      entries.includes(name) && (await isFile(join(folder, name))) ? join(folder, name) : null,
    ),
  );
  const inner = entries.filter((name) => /encodec/i.test(name) && !/\.(th|safetensors|json)$/.test(name));
  let codec = await findCodec(folder, entries);
  for (const name of inner) codec ??= await findCodec(join(folder, name), await list(join(folder, name)));
  return { firstStage, secondStage, speakerEncoder, codec };
}

/** Names in a folder, sorted; none when it is not one. */
async function list(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch {
    return [];
  }
}

const isFile = async (path: string): Promise<boolean> =>
  stat(path).then(
    (facts) => facts.isFile(),
    () => false,
  );

async function findCodec(folder: string, entries: string[]): Promise<PublishedFiles['codec']> {
  for (const name of entries.filter((entry) => /^encodec_24khz.*\.th$/.test(entry)))
    if (await isFile(join(folder, name))) return { file: join(folder, name), header: null };
  let damaged: unknown;
  for (const name of entries.filter((entry) => entry.endsWith('.safetensors'))) {
    try {
      const header = await readSafetensors(join(folder, name));
      if (isCodecHeader(header)) return { file: join(folder, name), header };
    } catch (error) {
      // Another model's file may be what it likes; one that calls itself EnCodec's may not.
      if (/encodec/i.test(name) && MetaVoiceError.isInstance(error)) damaged ??= error;
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
    `no model at ${model}: ${found}. Looked for:${lines}\nGive a folder with metavoice.json, or one with MetaVoice's published files and EnCodec's, or make one with \`metavoice convert\`.`,
    { details: { model, places } },
  );
}
