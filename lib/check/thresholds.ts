/**
 * What is plausible. Each figure lies between what good speech does and what damaged speech does, as measured on the
 * bundled voice, on the synthesiser that taught it and on a person's recording: docs/self-check.md has the distributions.
 */

/** ------------------------------------------------------------------------------------------ the level */

/** Frames of the level: shorter than the closure of a plosive, so that the edge of a hole shows. */
export const frameSeconds = 0.005;
/** So far below the loud frames nothing is heard beside speech. A person's room and a model's rests lie below, too. */
export const silentDecibels = 40;
/** The loud level is that of the loudest tenth of the frames that are not silent. */
export const loudShare = 0.1;
/** Full scale is 0 dB: what is never louder than this is no speech. The quietest voice was at −27 dB. */
export const leastLoudDecibels = -60;

/** ------------------------------------------------------------------------------------------ hole */

/** Within a clause: closures of plosives and rests between words reach 0.15 s, a person's breath 0.35 s. */
export const longestSilence = 0.4;
/** Where the text has a mark that rests: good ones reach 0.5 s, a person's between sentences 1.1 s. */
export const longestRest = 1.2;
/** Before the first sound and after the last: good speech reaches 0.33 s. */
export const longestEnd = 0.7;
/**
 * How far a rest may be from its place by the letters: seconds, and a share of the speech. Most are within 0.5 s, those of
 * long speech within 11 % of it.
 */
export const restSeconds = 0.4;
export const restShare = 0.08;
/**
 * A dropout: so far below the loud frames, for so long, and with edges so steep (within 10 ms). Speech comes down to
 * silence slowly: the gentler of the two edges is at most 28 dB, that of zeroed samples at least 70 dB.
 */
export const dropoutDecibels = 50;
export const dropoutSeconds = 0.03;
export const dropoutEdgeDecibels = 40;

/** ------------------------------------------------------------------------------------------ click */

/** A third difference so many times the largest one around it. Good speech reaches 2.2; a person's lips 3.7, once in 45 s. */
export const clickRatio = 3;
/** Around it: longer than the period of a low voice, whose pulses are steps as well. */
export const clickNeighbourhoodSeconds = 0.015;
/** Samples beside the largest that belong to the same step: an impulse has four differences. */
export const clickWidth = 3;
/** Of the loud level: smaller steps are not heard. */
export const clickFloor = 0.1;
/** Of the loud level: what the neighbourhood is taken for at least, for anything stands above digital silence. */
export const clickGround = 0.01;

/** ------------------------------------------------------------------------------------------ drift */

/** What a speaker encoder looks at once: the shortest sound that it tells a speaker by. */
export const windowSeconds = 1.6;
/** Between the beginnings of windows, at most: half a window, so that none is between two. */
export const windowStep = 0.8;
/** Less than this tells no speaker, however often it is repeated. */
export const leastVoiceSeconds = 0.3;
/** Cosine to the voice. Windows of the voice itself: 0.67 (1 %), 0.99 (median); of the nearest other speaker 0.39 at most. */
export const leastCosine = 0.5;

/** ------------------------------------------------------------------------------------------ duration */

/**
 * Seconds from the first sound to the last over the seconds expected (`expectedSeconds` of lib/text). Good speech: 0.59
 * (1 %), 0.78 (median), 1.04 (99 %): the estimate is that of a slow reader, whom the bounds must let pass.
 */
export const leastPace = 0.5;
export const mostPace = 1.2;
/** Seconds on top of the upper bound: a single word may be drawn out. */
export const paceSlack = 0.1;

/** ------------------------------------------------------------------------------------------ all */

/** Findings of one kind in a segment, the worst ones: a broken model would fill the memory. */
export const mostOfAKind = 10;
