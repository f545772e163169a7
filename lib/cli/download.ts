/** `metavoice download`: the files of a model, from the hub into the cache. */

import { parseArgs } from 'node:util';
import { type HubName, isRevision, parseHubName } from '../hub/cache.js';
import { type ExtraPart, extraParts, filesOf, publishedModel } from '../hub/catalogue.js';
import {
  byRepository,
  type DownloadPlan,
  type PlannedFile,
  planDownload,
  runDownload,
} from '../hub/download.js';
import { expectedRange } from '../is.js';
import { showProgress, sizeWords } from './arguments.js';
import { type Terminal, UsageError, write } from './terminal.js';

export const help = `Usage: metavoice download [ID] [OPTIONS]

Fetches the files that a model needs into the Hugging Face cache, which Python uses, too, and says beforehand what they
are, how large, and under which licences. ID is org/name or org/name@revision; ${publishedModel} by default.
An interrupted download goes on where it was.

  --with LIST         other parts, too: diffusion (another decoder), enhancer (DeepFilterNet3); separated by commas
  --revision R        branch, tag or commit of ID (default main)
  --dry-run           only say what would be fetched
  --json              tell it in JSON

Environment: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME (where the cache is), HF_TOKEN, HF_TOKEN_PATH (for repositories that
are private or gated), HF_ENDPOINT (a mirror), HF_HUB_OFFLINE (never fetch), HTTPS_PROXY, HTTP_PROXY, NO_PROXY.
`;

const known = {
  with: { type: 'string' },
  revision: { type: 'string' },
  'dry-run': { type: 'boolean' },
  json: { type: 'boolean' },
} as const;

export async function run(args: string[], terminal: Terminal): Promise<void> {
  const { values, positionals } = parseArgs({ args, options: known, allowPositionals: true });
  if (positionals.length > 1)
    throw new UsageError(`expected at most one ID but received ${positionals.join(' ')}`);
  const name = nameArgument(positionals[0] ?? publishedModel, values.revision);
  const files = filesOf(name, extrasArgument(values.with));
  const { signal } = terminal;

  terminal.progress('asking the hub');
  const plan = await planDownload(files, { signal });
  terminal.progress(null);
  if (!values.json) await write(terminal.stdout, planWords(plan));
  if (!values['dry-run']) {
    const show = showProgress(terminal);
    await runDownload(plan, { signal, onProgress: (progress) => show({ phase: 'download', ...progress }) });
    terminal.progress(null);
  }
  const fetched = !values['dry-run'];
  if (values.json) await write(terminal.stdout, `${JSON.stringify(planFacts(name, plan, fetched))}\n`);
  else if (fetched) await write(terminal.stdout, `all of it is in ${plan.cache}\n`);
}

function nameArgument(id: string, revision: string | undefined): HubName {
  const name = parseHubName(id);
  if (!name) throw expectedRange(`a hub id such as ${publishedModel}`, 'ID', id);
  if (revision === undefined) return name;
  if (id.includes('@'))
    throw new UsageError(`expected the revision once but received ${id} and \`--revision\` ${revision}`);
  if (!isRevision(revision)) throw expectedRange('a branch, tag or commit', '--revision', revision);
  return { ...name, revision };
}

function extrasArgument(list: string | undefined): ExtraPart[] {
  const wanted = list?.split(',').map((word) => word.trim()) ?? [];
  return wanted.map((word) => {
    const part = extraParts.find((extra) => extra === word);
    if (!part) throw expectedRange(extraParts.join(' or '), '--with', word);
    return part;
  });
}

/** A paragraph for each repository, and the sum. */
function planWords({ cache, files, bytes, missingBytes }: DownloadPlan): string {
  const paragraphs = byRepository(files.map(({ file }) => file)).map((group) => {
    const planned = files.filter(({ file }) => group.includes(file));
    const [first] = planned as [PlannedFile];
    const { repository, revision } = first.file;
    const lines = planned.map((each) => {
      const here = each.content === null ? '  here' : '';
      return `  ${each.file.path.padEnd(22)} ${sizeWords(each.bytes).padStart(7)}${here}\n`;
    });
    const at = first.commit === revision ? '' : ` at ${revision}`;
    return `${repository}${at} (${first.commit.slice(0, 8)})\n  licence: ${licenceWords(first)}\n${lines.join('')}`;
  });
  const sum =
    missingBytes === 0
      ? `${sizeWords(bytes)}, all here already`
      : `${sizeWords(missingBytes)} of ${sizeWords(bytes)} to fetch into ${cache}`;
  return `${paragraphs.join('\n')}\n${sum}\n`;
}

function licenceWords({ file, licence }: PlannedFile): string {
  if (!file.licence) return licence ?? "not stated; see the repository's page";
  return file.licence.commercial ? file.licence.name : `${file.licence.name}: NOT FOR COMMERCIAL USE`;
}

function planFacts({ repository, revision }: HubName, plan: DownloadPlan, fetched: boolean) {
  const { cache, bytes, missingBytes } = plan;
  return {
    id: repository,
    revision,
    cache,
    bytes,
    fetchedBytes: fetched ? missingBytes : 0,
    missingBytes: fetched ? 0 : missingBytes,
    files: plan.files.map(({ file, bytes, path, licence, commit, content }) => ({
      part: file.part,
      repository: file.repository,
      commit,
      file: file.path,
      bytes,
      path,
      here: fetched || content === null,
      licence: file.licence?.name ?? licence,
      commercialUse: file.licence?.commercial ?? null,
    })),
  };
}
