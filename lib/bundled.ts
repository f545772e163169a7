/** The model that ships with the package. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { manifestFile } from './checkpoint/manifest.js';
import { MetaVoiceError } from './errors.js';
import { publishedModel } from './hub/catalogue.js';
import { outsideArchive } from './runtime/load.js';

export const namesBundled = (model: string): boolean => model === 'bundled';

/** Its folder. Throws ERR_MODEL_NOT_FOUND where this version ships none. */
export function bundledModel(): string {
  // Weights are mapped, which cannot be done inside Electron's archive.
  const folder = outsideArchive(fileURLToPath(new URL('../voices/bundled', import.meta.url)));
  if (existsSync(join(folder, manifestFile))) return folder;
  throw new MetaVoiceError(
    'ERR_MODEL_NOT_FOUND',
    `expected a bundled model at ${folder} but this version ships none; name a folder with the published files, or a hub id that \`npx metavoice download\` has fetched (${publishedModel}), in the option \`model\` or in METAVOICE_MODEL`,
    { details: { model: 'bundled', folder } },
  );
}
