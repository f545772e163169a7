/**
 * What docs/errors.md says of each code of lib/errors.ts, beside its meaning there. A code without an entry here does not
 * compile. Read by scripts/errors-doc.mjs alone: nothing of it is in the package's code.
 */

/**
 * @typedef {object} Explanation
 * @property {string[]} causes What usually is behind it.
 * @property {string} mend What to do.
 * @property {string} where The place that refuses first, and when.
 * @property {Record<string, string>} details Fields of `error.details`; which of them are set depends on the cause.
 */

/** @type {Record<import('../lib/errors.js').ErrorCode, Explanation>} */
export const explanations = {
  ERR_TEXT: {
    causes: [
      'The text is empty, or only white space and asterisks.',
      'It has letters above U+00FF: emoji, other scripts, half a surrogate pair. The model was trained on Latin-1.',
      "It has the tokenizer's special token, such as `<|endoftext|>`.",
    ],
    mend: 'Remove the letters that the message lists with their positions, or spell them out; the typographic quotes, dashes and dots of word processors are replaced by themselves.',
    where: '`lib/text`, when `stream()` or `synthesize()` is called',
    details: {
      letters: 'each unknown letter: `{ letter, codePoint, positions }`, positions in UTF-16 units',
      normalized: 'the text as it was left after normalising, where nothing was left to speak',
      token: 'the special token, with its `position`',
      letter: 'a letter that this tokenizer has no bytes for, with its `codePoint` and `position`',
    },
  },
  ERR_TEXT_TOO_LONG: {
    causes: [
      'A word of some hundred letters or marks, or a row of marks without one word between: long texts are parted into segments, but never inside a word, and a segment, its speech and the look-ahead share one window of the model.',
    ],
    mend: 'Put spaces into it, or leave it out: what the message shows is seldom meant to be spoken.',
    where: '`lib/text`, when `stream()` or `synthesize()` is called; before any step of the model',
    details: {
      tokens: 'tokens of the segment, or the least it can have',
      limit: 'the most',
      length: 'letters of the segment',
    },
  },
  ERR_VOICE_REQUIRED: {
    causes: ['Neither the option `voice` nor a speaker of the model: published checkpoints ship none.'],
    mend: 'Give a recording of half a minute of clear speech in the option `voice`.',
    where: '`lib/voices.ts`, when `stream()`, `synthesize()` or `voice()` is called',
    details: { speaker: 'the name that was asked for; null when none was' },
  },
  ERR_REFERENCE_AUDIO: {
    causes: [
      'No such file, a folder, a device, or a file that may not be read.',
      'A format that is not WAV, FLAC, MP3, OGG Vorbis or OGG Opus; the name of a file is not asked.',
      'A file that is damaged, cut off, or says of itself what cannot be.',
      'Silence, or less than 1.6 s of speech between the silences at both ends.',
      'A saved voice that is damaged, of a newer version, or of another speaker encoder.',
    ],
    mend: 'Give another recording, or convert this one (`ffmpeg -i in.m4a out.wav`); make a saved voice again from its recording with the model that shall speak.',
    where:
      '`lib/audio` and `lib/voice`, when the voice is read: in `voice()`, or at the first pull of a stream',
    details: {
      file: 'path of the recording; null for samples',
      found: 'what it is instead',
      accepted: 'the formats that are read',
      seconds: 'seconds of speech found',
      needed: 'seconds of speech needed',
      expected: 'what a saved voice should have said',
    },
  },
  ERR_MODEL_NOT_FOUND: {
    causes: [
      'A misspelt path, or a folder without the published files.',
      'A part that is used is absent: the speaker encoder, the codec, one of the two stages.',
      'A hub id (`org/name`) whose files are not all in the Hugging Face cache: nothing is fetched unless it is asked for.',
      "`'bundled'`, which is the default, in a package whose folder `voices` was left out, or left in an archive of Electron.",
    ],
    mend: 'Name the folder that has `first_stage.pt`, `second_stage.pt`, `speaker_encoder.pt` and `encodec_24khz*.th`, or one that `metavoice convert` made, in the option `model` or in METAVOICE_MODEL. Of a hub id, run the `metavoice download` of the message, or load with `download: true`.',
    where: '`lib/checkpoint`, `lib/hub`, while loading; for an absent part, at the latest when it is used',
    details: {
      model: 'the model as it was named',
      places: 'every file that was looked for',
      part: 'the absent part',
      file: 'the file it comes from',
      folder: 'the folder it belongs in',
      cache: 'the Hugging Face cache',
      missing: 'the files of the hub that it lacks: `org/name/path`',
      command: 'the command that fetches them',
    },
  },
  ERR_DOWNLOAD: {
    causes: [
      'No network, a proxy that is not named in HTTPS_PROXY, or HF_HUB_OFFLINE.',
      'A repository that is private, gated or misspelt, or a revision that it has not got.',
      'A token that is wrong or may not read the repository.',
      'Bytes or lengths that are not those that the hub states: a proxy, a mirror or a sign-in page in between.',
      'No room on the disk.',
    ],
    mend: 'Do as the message says, and try again: what came and may be right is kept, and the download goes on from there. See [models](models.md) for tokens, mirrors, proxies and machines without network.',
    where: '`lib/hub`, in `metavoice download`, or while loading with `download: true`',
    details: {
      file: 'the file in hand',
      repository: 'its repository',
      revision: 'and the revision that was asked for',
      commit: 'the commit that the revision stands for',
      expected: 'what it should be: bytes, a hash, room on the disk',
      found: 'what it is',
      status: "the status of the server's answer",
      url: 'what was asked for',
      endpoint: 'the address of the hub',
      variable: 'the environment variable that is wrong',
      source: 'the variable or the file of a token that can be none',
      cache: 'the Hugging Face cache',
      missing: 'places that were looked at offline',
    },
  },
  ERR_CHECKPOINT: {
    causes: [
      'A download that broke off, a web page or a Git LFS pointer under the name of the file.',
      'A checkpoint of another model, or parts that do not belong together.',
      'A pickle that wants more than to describe tensors: what it names is not run, and is in the message.',
      'Numbers that do not match their checksum, or do not fit float16.',
      "A diffusion decoder or an enhancer that is asked for but was left out when the model was loaded, as its file can't be read ([checkpoints](checkpoints.md)): the `cause` says why.",
    ],
    mend: 'Fetch the file again and compare its size and digest with what its publisher says. A file that names functions to run is not to be trusted: do not open it with other tools.',
    where:
      '`lib/checkpoint`, while converting or loading; what only the networks can know, `native/core/weights` and `native/models`',
    details: {
      file: 'path of the file',
      tensor: 'name of the tensor, as the file spells it',
      expected: 'what it should be',
      found: 'what it is',
      missing: 'all names that are missing',
      unknown: 'all names that are unknown',
      part: 'the optional part that was left out, of the model in `folder`',
      field: 'the field of `metavoice.json`',
      argument: 'the argument stored in the checkpoint',
      pattern: "the tokenizer's regular expression, with the `index` that is not understood",
    },
  },
  ERR_CUDA_UNAVAILABLE: {
    causes: [
      "device `'cuda'` or `'cuda:N'` where no NVIDIA driver answers, or the driver shows no such device.",
      'A driver that does not start: after an update without a reboot, in a container without `compute`, with a stub in the way.',
      'A libtorch without CUDA, of a CUDA that the driver is too old for, or without code for the GPU.',
      'A GPU below compute capability 7.0.',
    ],
    mend: "Fetch a CUDA build with `npx metavoice setup --cuda`, update the driver, or use device 'auto' or 'cpu'. An explicit device is never replaced by another. [Devices](devices.md) has what mends each message.",
    where: '`lib/device`, while loading',
    details: {
      device: 'the device that was asked for',
      devices: 'the GPUs that the driver shows',
      driver: 'the version of the driver; null where it is not told',
      driverCuda: 'the highest CUDA version that the driver serves; null without a driver',
      failure: "the driver's error, `{ code, name }`, when it does not start",
      cuda: 'all that the driver tells, where no build of libtorch could be chosen',
    },
  },
  ERR_DTYPE_UNSUPPORTED: {
    causes: ["dtype `'bfloat16'` on a GPU that does not compute it natively, such as T4 or V100."],
    mend: "Use dtype `'auto'`, or one of those that the message names.",
    where: '`lib/device`, while loading',
    details: {
      device: 'the device',
      name: 'its name',
      computeCapability: 'its compute capability',
      dtypes: 'what it computes natively, best first',
    },
  },
  ERR_OUT_OF_MEMORY: {
    causes: [
      'A model, a batch or a length that the device has no room for.',
      'Other processes that occupy the memory meanwhile.',
    ],
    mend: 'A smaller `batchSize` or `maxSeconds`, a 16-bit dtype, another device. The request has failed alone: the model goes on to serve others.',
    where:
      'before anything is allocated where the sizes tell; else `native/core`, in the request that met it',
    details: { plan: 'the plan that does not fit: bytes of each part, what is free, and what would fit' },
  },
  ERR_NO_AUDIO: {
    causes: [
      'The model drew the end of the speech as its first token: a text of a letter or two, or an unlucky seed at a high temperature.',
    ],
    mend: 'Try another seed, or a longer text.',
    where: '`native/engine`, at the first chunk',
    details: {},
  },
  ERR_NUMERIC: {
    causes: [
      'A speaker embedding with NaN or Infinity, or all of 0.',
      'A checkpoint with numbers that are not finite, or that overflow in float16.',
    ],
    mend: "Make the voice again from its recording; try dtype `'float32'`, and fetch the checkpoint again if that fails, too.",
    where: '`lib/voice` for an embedding, `native/engine` while speaking',
    details: {
      part: 'the network whose numbers are not finite',
      id: 'identity of the voice',
      length: 'numbers of its embedding',
    },
  },
  ERR_QUEUE_FULL: {
    causes: ['More requests at a time than the model is planned for.'],
    mend: 'Wait and try again (`details.predictedSeconds`), raise `maxQueue` or `batchSize`, or load the model in several processes.',
    where: '`native/engine`, when a request would have to wait',
    details: {
      ahead: 'requests that speak or wait',
      maxQueue: 'those that may wait',
      predictedSeconds:
        'seconds until another would be heard, as a string; absent before any request has ended',
    },
  },
  ERR_RUNTIME_NOT_FOUND: {
    causes: [
      'libtorch was never fetched, or is of another version than this build needs.',
      'The addon is not there for this platform, or was installed for another one.',
      'The process already uses another copy of libtorch: of another folder in the option `libtorch`, or of another package.',
    ],
    mend: 'Run `npx metavoice setup`, or set METAVOICE_LIBTORCH to the folder of the version that the message names. The message lists every place that was looked at, and why it would not do.',
    where: '`lib/runtime`, while loading; also in `devices()` and while converting, which need the addon',
    details: {
      version: 'the version of libtorch that is needed',
      refused: 'places looked at: `{ source, directory, reason }`',
      platform: 'this platform',
      places: 'where the addon was looked for',
      musl: 'whether this system has musl instead of glibc, for which there is no libtorch',
      addon: 'the file that METAVOICE_ADDON names',
      engine: 'the file of the engine',
      asked: 'the folder that was asked for, and',
      inUse: 'the one that the process already uses',
    },
  },
  ERR_UNSUPPORTED: {
    causes: [
      'A `quantization` other than the one that the model folder is stored in; converting such a folder once more.',
      'A stream that is read a second time.',
      'A `sampleRate` or a `loudness` for a model whose own sample rate does not allow it.',
    ],
    mend: 'Do as the message says; call `stream()` again for another reading.',
    where: '`lib/checkpoint`, `lib/plan-speech.ts`, before any work; `lib/stream`',
    details: {
      model: 'the folder of the model',
      expected: 'what its first stage is stored in',
      found: 'what was asked for',
    },
  },
  ERR_DISPOSED: {
    causes: ['The model was used after `dispose()`, or disposed while it spoke.'],
    mend: 'Dispose of a model when its last request has settled; load it again to go on.',
    where: '`lib/metavoice.ts` and `metavoice/stages` at the call; requests in flight reject at once',
    details: {},
  },
  ERR_INTERNAL: {
    causes: ['A mistake in metavoice.'],
    mend: 'Report it with the message, the stack and the versions of metavoice, Node and the operating system.',
    where: 'wherever a promise between its own parts is broken',
    details: {},
  },
};
