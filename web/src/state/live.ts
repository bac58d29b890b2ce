// The one live connection of the page.
import { signal } from '@preact/signals';
import { liveUrl } from '../api/client';
import { Live, type LiveStatus, type Socket, type Subscriber, type Target } from '../api/live';
import { checkSession } from './session';

export const liveStatus = signal<LiveStatus>({ kind: 'idle' });

const live = new Live({
  open: () => new WebSocket(liveUrl()) as unknown as Socket,
  onStatus: (status) => {
    liveStatus.value = status;
  },
  mayRetry: checkSession,
});

export function subscribe(target: Target, subscriber: Subscriber): () => void {
  return live.subscribe(target, subscriber);
}

export function retryLiveNow(): void {
  live.retryNow();
}

export function stopLive(): void {
  live.stop();
}

export function startLive(): void {
  addEventListener('online', retryLiveNow);
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') retryLiveNow();
  });
}
