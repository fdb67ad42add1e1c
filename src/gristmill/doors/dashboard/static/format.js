// The same words for values as formats.py and words.py: what a script updates must read as the server wrote it.

const DASH = "\u2013";
const numbers = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** `1234567` -> `1,234,567`. @param {number} value */
export const whole = (value) => numbers.format(value);

/** Dollars to the cent. @param {number} micro */
export function money(micro) {
  if (micro > 0 && micro < 10000) return "<$0.01";
  const cents = Math.floor((Math.abs(micro) + 5000) / 10000);
  const rest = String(cents % 100).padStart(2, "0");
  return `${micro < 0 ? "-" : ""}$${whole(Math.floor(cents / 100))}.${rest}`;
}

/** Dollars of one row: three decimal places, and more where there is more. @param {number} micro */
export function rowMoney(micro) {
  const places = String(micro % 1000000).padStart(6, "0");
  return `$${whole(Math.floor(micro / 1000000))}.${places.slice(0, 3)}${places.slice(3).replace(/0+$/, "")}`;
}

/** One decimal place, cut. @param {number} part @param {number} total */
export function percent(part, total) {
  if (total === 0) return "0.0 %";
  const tenths = Math.floor((part * 1000) / total);
  return `${Math.floor(tenths / 10)}.${tenths % 10} %`;
}

/** @param {number | null} perSecond */
export function rate(perSecond) {
  if (perSecond === null) return DASH;
  if (perSecond >= 10) return `${whole(Math.round(perSecond))} rows/s`;
  return perSecond >= 1 ? `${perSecond.toFixed(1)} rows/s` : `${(perSecond * 60).toFixed(1)} rows/min`;
}

/** The two largest units. @param {number | null} seconds */
export function duration(seconds) {
  if (seconds === null) return DASH;
  let left = Math.round(seconds);
  const found = [];
  for (const [name, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const count = Math.floor(left / size);
    left %= size;
    if (count) found.push(`${count} ${name}`);
    else if (found.length) break;
  }
  return found.slice(0, 2).join(" ") || "0 s";
}

/** @param {number} seconds @returns {string | null} null: the date says it better */
export function ago(seconds) {
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return seconds < 31 * 86400 ? `${Math.floor(seconds / 86400)} d ago` : null;
}

const UNITS = 1000;
const UNITS_MIN = 6;

/** Shares of a bar, nothing that exists too thin to be seen. @param {number[]} counts @returns {number[]} */
export function widths(counts) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return counts.map(() => 0);
  const found = counts.map((count) => (count ? Math.max(Math.floor((count * UNITS) / total), UNITS_MIN) : 0));
  const widest = found.indexOf(Math.max(...found));
  found[widest] += UNITS - found.reduce((sum, width) => sum + width, 0);
  return found;
}
