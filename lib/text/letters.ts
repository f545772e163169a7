/** What the readers of a text's structure agree on. */

/**
 * The text with every white space of the normaliser, and the asterisk that it makes one, as a plain space: of the same
 * length, so that places in the one are places in the other.
 */
export const blanked = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the separators are white space here
  text.replace(/[\t-\r\x1c-\x1f\x85\xa0*]/g, ' ');

/** Whether there is anything to say in it: a letter or a digit. */
export const hasWords = (text: string): boolean => /[\p{L}\p{N}]/u.test(text);

/** Marks that close after the end of a sentence or clause, and that open before one: bodies of character classes. */
export const closing = '"\'”’»)\\]}_';
export const opening = '"\'“‘«(\\[{_¿¡';
