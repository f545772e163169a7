/** A process of its own that fetches one file; or one that takes the lock and dies with it. */

import { planDownload, runDownload } from '../../../dist/hub/download.js';
import { withLock } from '../../../dist/hub/lock.js';

const { files, environment, lock } = JSON.parse(process.argv[2] ?? '');
if (lock)
  await withLock(
    lock,
    `${lock}.none`,
    () => {},
    async () => process.exit(0),
  );
const options = { environment, pause: 1 };
await runDownload(await planDownload(files, options), options);
