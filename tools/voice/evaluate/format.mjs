/** Numbers in words, and the table of the report. */

/** @typedef {import('./summary.mjs').Verdict} Verdict */

/** @param {number} value */
export const percent = (value, digits = 1) => `${(value * 100).toFixed(digits)} %`;
/** @param {number} bytes */
export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)} MB`;
/** @param {readonly [number, number]} interval */
export const range = ([low, high]) => `${(low * 100).toFixed(1)}–${percent(high)}`;

/** @param {number | null} value @param {Verdict['unit']} unit */
export function inUnit(value, unit) {
  if (value === null) return '–';
  if (unit === 'percent') return percent(value);
  if (unit === 'bytes') return megabytes(value);
  if (unit === 'seconds') return `${value.toFixed(2)} s`;
  return unit === 'count' ? String(value) : value.toFixed(2);
}

/** Columns by the widest cell. @param {readonly (readonly string[])[]} rows */
export function columns(rows) {
  const widths = (rows[0] ?? []).map((_, k) => Math.max(...rows.map((row) => (row[k] ?? '').length)));
  return rows
    .map((row) =>
      row
        .map((cell, k) => cell.padEnd(widths[k] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** A table in Markdown. @param {readonly string[]} head @param {readonly (readonly string[])[]} rows */
export const markdown = (head, rows) =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');

/** What `npm run eval:voice` prints. @param {any} result */
export function tableOf({ summary, streaming, coldStart, verdicts }) {
  const { wordErrors, duration, limited, silent, speaker, speed } = summary;
  const rows = [
    [
      'word error rate',
      `${percent(wordErrors.rate)} (95 %: ${range(wordErrors.interval)}), flite ${percent(wordErrors.flite)}`,
    ],
    ...Object.entries(wordErrors.speakers).map(([name, own]) => [
      `  ${name}`,
      `${percent(own.rate)} (${range(own.interval)}), flite ${percent(own.flite)}`,
    ]),
    ['length over flite’s: least, p5, median, p95, most', five(duration)],
    ['  outside the range', String(duration.outside)],
    ['reached the limit; silent', `${percent(limited)}; ${silent}`],
    ['nearest to the speaker asked for', percent(speaker.right)],
    [
      '  median cosine, and lead over the next',
      `${speaker.similarity.toFixed(3)}, ${speaker.margin.toFixed(3)}`,
    ],
    [
      'real-time factor: all, median',
      `${speed.realTimeFactor.toFixed(2)}, ${speed.medianRealTimeFactor.toFixed(2)}`,
    ],
    ['first audio of a loaded model, median', `${speed.medianFirstAudioSeconds.toFixed(2)} s`],
    [
      'process start to first audio: median, slowest',
      `${coldStart.firstAudioSeconds.toFixed(2)} s, ${coldStart.slowestFirstAudioSeconds.toFixed(2)} s`,
    ],
    ['peak resident of that process', inUnit(coldStart.peakBytes, 'bytes')],
    [
      'streamed, whole: word error rate',
      `${percent(streaming.stream.rate)}, ${percent(streaming.whole.rate)}`,
    ],
    [
      '  same codes: first stage’s, second stage’s',
      `${percent(streaming.agreement.coarse)}, ${percent(streaming.agreement.predicted)}`,
    ],
  ];
  const judged = verdicts.map((/** @type {Verdict} */ { name, value, limit, unit, passed }) => [
    passed ? 'pass' : 'FAIL',
    name,
    inUnit(value, unit),
    `limit ${inUnit(limit, unit)}`,
  ]);
  return `${columns(rows)}\n\n${columns(judged)}`;
}

/** @param {any} duration */
export const five = ({ min, p5, median, p95, max }) =>
  [min, p5, median, p95, max].map((value) => value.toFixed(2)).join(' ');
