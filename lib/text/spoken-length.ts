/** How long a text takes to speak, as far as letters tell. */

/** Letters of running English that a voice speaks in a second, the spaces counted. */
const lettersPerSecond = 15;

/** What a letter counts that is spoken as a word, or heard as a rest. */
const weights = new Map<number, number>();
for (const digit of '0123456789') weights.set(digit.charCodeAt(0), 5);
for (const sign of '%&@#$£€+=/\\<>~^°§©®™¼½¾²³×÷') weights.set(sign.charCodeAt(0), 6);
for (const mark of ',;:()–—') weights.set(mark.charCodeAt(0), 3);
for (const mark of '.!?…') weights.set(mark.charCodeAt(0), 5);

/** Seconds of speech to be expected, within some 30 %. Additive: parts come to the whole. */
export function expectedSeconds(text: string): number {
  let letters = 0;
  for (let i = 0; i < text.length; i++) letters += weights.get(text.charCodeAt(i)) ?? 1;
  return letters / lettersPerSecond;
}
