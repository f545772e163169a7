/**
 * The whole native surface, as TypeScript sees it.
 *
 * Two binaries: `metavoice.node` is the Door, free of torch; `libmetavoice` is the Engine, opened by the Door after
 * libtorch. Arrays are row-major and copied at the border. Promises reject with an Error that has a `code` of
 * `lib/errors.ts` (and perhaps `details`); `fromNative` there gives it the class.
 */

export type * from './description.js';
export type * from './door.js';
export type * from './engine.js';
export type * from './utterance.js';
