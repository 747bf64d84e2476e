// The stretch of time that is shown, shared by everything that is drawn over time.

const LEAST_MS = 1;

export class Timescale {
  constructor(changed) {
    this.changed = changed;
    this.whole = 1; // the run so far, in ms
    this.from = 0;
    this.to = 1;
    this.fits = true;
  }

  /** The run lasts until `end`; who looks at all of it goes on doing so. */
  extend(end) {
    this.whole = Math.max(LEAST_MS, end);
    if (this.fits) [this.from, this.to] = [0, this.whole];
  }

  fit() {
    this.fits = true;
    this.extend(this.whole);
    this.changed();
  }

  show(from, to) {
    const length = Math.max(LEAST_MS, Math.min(to - from, this.whole));
    this.from = Math.min(Math.max(0, from), this.whole - length);
    this.to = this.from + length;
    this.fits = length >= this.whole;
    this.changed();
  }

  /** See `factor` times as much, with the moment at `share` of the width staying where it is. */
  zoom(factor, share = 0.5) {
    const length = this.to - this.from;
    const at = this.from + share * length;
    const next = Math.min(this.whole, Math.max(LEAST_MS, length * factor));
    this.show(at - share * next, at + (1 - share) * next);
  }

  /** Move by a share of what is seen. */
  pan(share) {
    const length = this.to - this.from;
    this.show(this.from + share * length, this.to + share * length);
  }

  x(t, width) {
    return ((t - this.from) / (this.to - this.from)) * width;
  }

  t(x, width) {
    return this.from + (x / width) * (this.to - this.from);
  }

  /** Round moments, so many pixels apart at least. */
  ticks(width, apart = 90) {
    const least = ((this.to - this.from) / width) * apart;
    const step = roundStep(least);
    const ticks = [];
    for (let t = Math.ceil(this.from / step) * step; t <= this.to; t += step) ticks.push(t);
    return { step, ticks };
  }
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];

function roundStep(least) {
  const small = STEPS.find((step) => step >= least);
  if (small) return small;
  const seconds = SECONDS.find((step) => step * 1000 >= least);
  return seconds ? seconds * 1000 : Math.ceil(least / 86400000) * 86400000;
}

/** A moment of a run, as an axis has room for it. */
export function offset(t, step) {
  if (t === 0) return "0";
  if (step < 1000)
    return t < 1000 ? `${Math.round(t)} ms` : `${(t / 1000).toFixed(step < 10 ? 3 : step < 100 ? 2 : 1)} s`;
  const seconds = Math.round(t / 1000);
  if (seconds < 60) return `${seconds} s`;
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const clock = `${String(minutes).padStart(hours ? 2 : 1, "0")}:${String(rest).padStart(2, "0")}`;
  return hours ? `${hours}:${clock}` : clock;
}

/** Let `node`'s wheel, drags and pinches move the scale; up and down still scroll the page. */
export function steer(node, scale, area) {
  const pointers = new Map();
  let moved = 0;
  const shareOf = (x) => {
    const { left, width } = area();
    return Math.min(1, Math.max(0, (x - left) / width));
  };
  node.addEventListener(
    "wheel",
    (event) => {
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        scale.zoom(Math.exp(Math.max(-50, Math.min(50, event.deltaY)) * 0.01), shareOf(event.clientX));
      } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        event.preventDefault();
        scale.pan((event.deltaX || event.deltaY) / area().width);
      }
    },
    { passive: false },
  );
  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pointers.set(event.pointerId, event.clientX);
    moved = 0;
  });
  node.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (before === undefined) return;
    const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, x]) => x);
    pointers.set(event.pointerId, event.clientX);
    moved += Math.abs(event.clientX - before);
    if (moved > 4) node.setPointerCapture(event.pointerId);
    if (others.length) {
      const [was, is] = [Math.abs(before - others[0]), Math.abs(event.clientX - others[0])];
      if (was > 8 && is > 8) scale.zoom(was / is, shareOf((event.clientX + others[0]) / 2));
    } else if (moved > 4) {
      scale.pan((before - event.clientX) / area().width);
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    node.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  node.addEventListener("click", (event) => moved > 4 && event.stopPropagation(), { capture: true });
}
