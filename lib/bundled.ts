/** The model that ships with the package. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { manifestFile } from './checkpoint/manifest.js';
import { MetaVoiceError } from './errors.js';
import { publishedModel } from './hub/catalogue.js';
import { outsideArchive } from './runtime/load.js';

export const namesBundled = (model: string): boolean => model === 'bundled';

// Weights are mapped, which cannot be done inside Electron's archive.
const folder = (): string => outsideArchive(fileURLToPath(new URL('../voices/bundled', import.meta.url)));

/** Whether it is where it belongs: whoever repacks the package may have left it out, or in an archive. */
export const shipsBundled = (): boolean => existsSync(join(folder(), manifestFile));

/** Its folder. Throws ERR_MODEL_NOT_FOUND where it is not there. */
export function bundledModel(): string {
  if (shipsBundled()) return folder();
  throw new MetaVoiceError(
    'ERR_MODEL_NOT_FOUND',
    `expected the bundled model at ${folder()} but it is not there; install the package whole (and in Electron unpacked), or name a folder with the published files, or a hub id that \`npx metavoice download\` has fetched (${publishedModel}), in the option \`model\` or in METAVOICE_MODEL`,
    { details: { model: 'bundled', folder: folder() } },
  );
}
