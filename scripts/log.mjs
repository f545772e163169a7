/** What the scripts say, on standard error, and the few process helpers they share. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

const started = Date.now();

/** One line about what happens now. @param {string} text */
export function say(text) {
  const seconds = ((Date.now() - started) / 1000).toFixed(1).padStart(5);
  process.stderr.write(`[metavoice ${seconds} s] ${text}\n`);
}

/** A failure that needs no stack: it says what to do. */
export class Complaint extends Error {}

/**
 * Runs a command; its output goes to standard error unless `stdout` says otherwise.
 *
 * @param {string} command
 * @param {string[]} commandArguments
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, stdout?: 'stdout' | 'stderr', allowFailure?: boolean, quiet?: boolean }} [options]
 * @returns {Promise<number>} Its exit code.
 */
export function run(command, commandArguments, options = {}) {
  return new Promise((settle, fail) => {
    const child = spawn(command, commandArguments, {
      cwd: options.cwd ?? root,
      env: options.env ?? process.env,
      stdio: options.quiet ? 'ignore' : ['ignore', options.stdout === 'stdout' ? 1 : 2, 2],
      shell: process.platform === 'win32' && /^(npm|npx)$/.test(command),
    });
    child.on('error', (error) => fail(new Complaint(`cannot run ${command}: ${error.message}`)));
    child.on('close', (code, signal) => {
      if (code === 0 || options.allowFailure) return settle(code ?? 1);
      const how = signal ? `was ended by ${signal}` : `ended with code ${code}`;
      fail(new Complaint(`\`${command} ${commandArguments.join(' ')}\` ${how}`));
    });
  });
}

/** The script of an installed tool, to be run with this Node. @param {string} packageName @param {string} script */
export function tool(packageName, script) {
  const path = join(root, 'node_modules', packageName, script);
  if (!existsSync(path)) throw new Complaint(`${packageName} is not installed: run \`npm ci\` first`);
  return path;
}

/** Runs `main` as a program: complaints are one line, everything else keeps its stack. @param {() => Promise<unknown>} main */
export function program(main) {
  main().catch((error) => {
    process.stderr.write(`\n${error instanceof Complaint ? `metavoice: ${error.message}` : error.stack}\n`);
    process.exitCode = 1;
  });
}
