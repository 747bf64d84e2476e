// A long list, of which only what can be seen is there: its rows are used again as the page scrolls.

import { onFrame } from "./elements.js";

const OVERSCAN = 8;

export class LongList {
  /** `make` makes a row, `draw(row, place)` makes it show what stands there; rows are `height` pixels high. */
  constructor(container, height, make, draw) {
    this.container = container;
    this.height = height;
    this.make = make;
    this.draw = draw;
    this.count = 0;
    this.rows = new Map(); // by place
    this.spare = [];
    this.later = onFrame(() => this.update(false));
    addEventListener("scroll", this.later, { passive: true });
    addEventListener("resize", this.later, { passive: true });
  }

  close() {
    removeEventListener("scroll", this.later);
    removeEventListener("resize", this.later);
  }

  show(count) {
    if (count !== this.count) {
      this.count = count;
      this.container.style.height = `${count * this.height}px`;
    }
    this.update(true);
  }

  /** Rows that came into sight are drawn; all of them, where what they show may have changed. */
  update(all) {
    if (!this.container.isConnected) return;
    const { top } = this.container.getBoundingClientRect();
    const first = Math.max(0, Math.floor(-top / this.height) - OVERSCAN);
    const last = Math.min(this.count, Math.ceil((innerHeight - top) / this.height) + OVERSCAN);
    for (const [place, row] of this.rows) {
      if (place >= first && place < last) continue;
      this.rows.delete(place);
      this.spare.push(row);
    }
    for (let place = first; place < last; place += 1) {
      const known = this.rows.get(place);
      if (known && !all) continue;
      const row = known ?? this.spare.pop() ?? this.make();
      if (!known) {
        this.rows.set(place, row);
        row.node.style.transform = `translateY(${place * this.height}px)`;
        if (!row.node.isConnected) this.container.append(row.node);
        row.node.hidden = false;
      }
      this.draw(row, place);
    }
    for (const row of this.spare) row.node.hidden = true;
  }

  /** Scroll as little as it takes to see a row, below what sticks to the top. */
  reveal(place, covered) {
    const top = this.container.getBoundingClientRect().top + place * this.height;
    if (top < covered) scrollBy(0, top - covered);
    else if (top + this.height > innerHeight) scrollBy(0, top + this.height - innerHeight + 4);
  }
}
