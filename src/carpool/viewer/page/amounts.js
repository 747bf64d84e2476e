// Amounts as people read them.

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const MONEY = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export function count(number) {
  return WHOLE.format(number);
}

/** `1 agent`, `1,204 agents`. */
export function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Four digits at most: `7,519`, `12.3k`, `4.56M`, `50k`. */
export function compact(number) {
  for (const [size, letter] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e4, "k"],
  ]) {
    const unit = letter === "k" ? 1e3 : size;
    if (number >= size * 0.9995) {
      const scaled = number / unit;
      return String(Number(scaled.toFixed(scaled >= 100 ? 0 : scaled >= 10 ? 1 : 2))) + letter;
    }
  }
  return count(number);
}

/** Cents at least, and of a fraction of a dollar six digits at most. */
export function dollars(amount) {
  if (!amount) return "$0";
  if (amount >= 1) return `$${MONEY.format(amount)}`;
  if (amount < 0.000001) return "< $0.000001";
  return `$${amount.toFixed(6).replace(/0{1,4}$/, "")}`;
}

/** The same where there is less room: of cents, four digits. */
export function price(amount) {
  return amount >= 0.01 && amount < 1 ? `$${amount.toFixed(4).replace(/0{1,2}$/, "")}` : dollars(amount);
}

/** `420 ms`, `4.2 s`, `3 m 05 s`, `1 h 02 m`, `2 d 03 h`. */
export function duration(ms) {
  if (ms < 999.5) return ms > 0 && ms < 1 ? "< 1 ms" : `${Math.max(0, ms).toFixed(0)} ms`;
  if (ms < 59950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${two(seconds % 60)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} m`;
  return `${Math.floor(minutes / 1440)} d ${two(Math.floor(minutes / 60) % 24)} h`;
}

function two(number) {
  return String(number).padStart(2, "0");
}

/** A moment, in the reader's time zone. */
export function moment(epochMs) {
  const date = new Date(epochMs);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** `12%`, `0.4%`, `< 0.1%`. */
export function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1%";
  return `${(share * 100).toFixed(share < 0.1 && share > 0 ? 1 : 0)}%`;
}

/** `map_reduce` as people write it. */
export function words(name) {
  return String(name).replaceAll("_", " ");
}
