const units = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Bytes as a person says them: `62 MB`, `5.0 GB`. */
export function sizeWords(bytes: number): string {
  let unit = 0;
  let value = bytes;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value < 9.95 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}
