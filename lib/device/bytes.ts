/** `62 MB`, `9.1 GB`: decimal units, two digits where they tell something. */
export function bytesWords(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let value = bytes;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= (unit >= 3 ? 99.95 : 9.95) ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}
