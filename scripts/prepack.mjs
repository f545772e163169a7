/** Before `npm pack` and `npm publish`: what the package carries is there and fresh. */
import { bootstrap } from './bootstrap.mjs';
import { program } from './log.mjs';
import { prebuild } from './prebuild.mjs';

program(async () => {
  await bootstrap();
  await prebuild();
});
