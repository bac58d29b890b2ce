// The current time for "5 minutes ago" and running clocks: one timer for the page, ticking only while someone looks.
import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';

const tick = signal(Date.now());
let readers = 0;
let timer: ReturnType<typeof setInterval> | undefined;

export function useNow(): number {
  useEffect(() => {
    readers += 1;
    timer ??= setInterval(() => {
      tick.value = Date.now();
    }, 1000);
    return () => {
      readers -= 1;
      if (readers > 0) return;
      clearInterval(timer);
      timer = undefined;
    };
  }, []);
  return tick.value;
}
