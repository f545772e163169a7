#!/usr/bin/env node
/** The command `metavoice`. */

import { main } from './dispatch.js';
import { openTerminal } from './terminal.js';

const terminal = openTerminal(process);
main(process.argv.slice(2), terminal).then((code) => {
  // Not process.exit: what was written to a pipe may still be on its way.
  process.exitCode = code;
  terminal.close();
});
