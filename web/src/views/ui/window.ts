// Which rows of a long list are to be drawn: the list scrolls with the page, its rows are equally high. What is above
// and below is held open by their height.
import { useEffect, useRef, useState } from 'preact/hooks';

const spareRows = 8;
/** Before a row has been measured. */
const firstGuessPx = 60;

export interface RowWindow {
  from: number;
  to: number;
  above: number;
  below: number;
}

/** Pure: the rows of `count` that a view from `top` to `bottom` (pixels within the list) touches, with spare ones. */
export function rowsBetween(count: number, rowPx: number, top: number, bottom: number): RowWindow {
  const from = Math.max(0, Math.min(count, Math.floor(top / rowPx) - spareRows));
  const to = Math.max(from, Math.min(count, Math.ceil(bottom / rowPx) + spareRows));
  return { from, to, above: from * rowPx, below: (count - to) * rowPx };
}

/** `body` holds the rows, the first of them measured. */
export function useWindow(count: number, body: { current: HTMLElement | null }, row: string): RowWindow {
  const rowPx = useRef(firstGuessPx);
  const [shown, setShown] = useState<RowWindow>(() => rowsBetween(count, firstGuessPx, 0, innerHeight));
  useEffect(() => {
    let frame = 0;
    function look(): void {
      frame = 0;
      const list = body.current;
      if (!list) return;
      const height = list.querySelector(row)?.getBoundingClientRect().height;
      if (height && height > 0) rowPx.current = height;
      const top = -list.getBoundingClientRect().top;
      const next = rowsBetween(count, rowPx.current, top, top + innerHeight);
      setShown((now) =>
        now.from === next.from && now.to === next.to && now.below === next.below && now.above === next.above
          ? now
          : next,
      );
    }
    function later(): void {
      frame ||= requestAnimationFrame(look);
    }
    look();
    addEventListener('scroll', later, { passive: true });
    addEventListener('resize', later);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener('scroll', later);
      removeEventListener('resize', later);
    };
  }, [count]);
  // The list may have become shorter since the last look.
  return shown.to > count ? rowsBetween(count, rowPx.current, 0, innerHeight) : shown;
}
