/** One call from text to speech, over models that are loaded on first use and shared by the whole process. */

import { type CallSite, callSite } from './call-site.js';
import { type MetaVoice, openMetaVoice, speakResolved } from './metavoice.js';
import type { SynthesizeOptions, TextSource } from './options.js';
import { type ResolvedLoadOptions, resolveSynthesizeOptions } from './resolve-options.js';
import { SharedTask } from './shared-task.js';
import type { Speech } from './stream/collect.js';
import { requireTextSource } from './text-source.js';

/**
 * Speaks the text and gives the whole of it. The model is loaded on first use and kept for calls with the same loading
 * options; it does not keep the process alive. `maxSeconds`, `signal` and `onProgress` are of this call alone.
 *
 * @example
 * const speech = await synthesize('Hello there.', { model: 'models/metavoice-1B', voice: 'reference.wav' });
 * await speech.save('hello.wav');
 *
 * @throws as `MetaVoice.load` and its `synthesize`.
 */
export async function synthesize(text: TextSource, options?: SynthesizeOptions): Promise<Speech> {
  const { load, speak } = resolveSynthesizeOptions(options);
  requireTextSource(text);
  const site = callSite(synthesize);
  const started = performance.now();
  load.signal?.throwIfAborted();
  const tts = await sharedModel(load, site);
  const loaded = performance.now() - started;
  return speakResolved(tts, text, speak, site, performance.now()).collect({ load: loaded });
}

const models = new Map<string, SharedTask<MetaVoice>>();

/** The model of these options; what failed or was given up is loaded anew by the next call. */
function sharedModel(options: ResolvedLoadOptions, site: CallSite): Promise<MetaVoice> {
  const { model, download, device, dtype, quantization, batchSize, maxQueue, deterministic, libtorch } =
    options;
  const facts = [model, download, device, dtype, quantization, batchSize, maxQueue, deterministic, libtorch];
  const key = JSON.stringify([...facts, options.kvCache]);
  let task = models.get(key);
  if (!task) {
    task = new SharedTask(
      (signal) => openMetaVoice({ ...options, signal }, site),
      () => models.delete(key),
    );
    models.set(key, task);
  }
  return task.join(options.signal);
}
