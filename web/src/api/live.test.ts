import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { backoffMs, Live, type LiveEvent, type LiveStatus, type Socket } from './live';

class Wire implements Socket {
  sent: Record<string, unknown>[] = [];
  closed = false;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }
  close(): void {
    this.closed = true;
  }
  say(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
  metric(id: string, cursor: number): void {
    this.say({
      type: 'event',
      id,
      event: 'metrics',
      job_id: 'j',
      cursor,
      data: { kind: 'step', step: cursor },
    });
  }
}

let wires: Wire[];
let statuses: LiveStatus['kind'][];
let mayRetry: boolean;
let live: Live;
const wire = (index = -1): Wire => {
  const found = wires.at(index);
  if (!found) throw new Error('no socket was opened');
  return found;
};

beforeEach(() => {
  vi.useFakeTimers();
  wires = [];
  statuses = [];
  mayRetry = true;
  live = new Live({
    open: () => {
      const next = new Wire();
      wires.push(next);
      return next;
    },
    onStatus: (status) => statuses.push(status.kind),
    mayRetry: async () => mayRetry,
    random: () => 1,
  });
});
afterEach(() => {
  live.stop();
  vi.useRealTimers();
});

describe('back-off', () => {
  test('test_backoff__doubles_from_400_ms_to_15_s', () => {
    expect([0, 1, 2, 3, 4, 5, 6, 60].map((n) => backoffMs(n, () => 1))).toEqual([
      400, 800, 1600, 3200, 6400, 12800, 15000, 15000,
    ]);
  });
  test('test_backoff__jitter_keeps_at_least_half', () => {
    expect(backoffMs(3, () => 0)).toBe(1600);
  });
});

describe('Live', () => {
  test('test_live__opens_one_socket_for_many_subscriptions', () => {
    live.subscribe({ job_id: 'a', cursor: 7 }, { onEvent: () => {} });
    live.subscribe({ topic: 'jobs' }, { onEvent: () => {} });
    expect(wires).toHaveLength(1);
    wire().onopen?.();
    expect(wire().sent).toEqual([
      { type: 'subscribe', id: '1', job_id: 'a', cursor: 7 },
      { type: 'subscribe', id: '2', topic: 'jobs' },
    ]);
    expect(statuses).toEqual(['connecting', 'open']);
  });

  test('test_live__resumes_from_the_last_cursor_and_drops_what_it_has_seen', async () => {
    const seen: number[] = [];
    live.subscribe({ job_id: 'j', cursor: 0 }, { onEvent: (event: LiveEvent) => seen.push(event.cursor) });
    wire().onopen?.();
    for (const cursor of [1, 2, 3]) wire().metric('1', cursor);
    wire().onclose?.();
    expect(statuses.at(-1)).toBe('waiting');
    await vi.advanceTimersByTimeAsync(399);
    expect(wires).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(wires).toHaveLength(2);
    wire().onopen?.();
    expect(wire().sent).toEqual([{ type: 'subscribe', id: '1', job_id: 'j', cursor: 3 }]);
    for (const cursor of [2, 3, 4, 5]) wire().metric('1', cursor);
    expect(seen).toEqual([1, 2, 3, 4, 5]);
  });

  test('test_live__waits_longer_each_time_and_starts_over_after_an_open', async () => {
    live.subscribe({ topic: 'jobs' }, { onEvent: () => {} });
    for (const delay of [400, 800, 1600]) {
      wire().onclose?.();
      const count = wires.length;
      await vi.advanceTimersByTimeAsync(delay - 1);
      expect(wires).toHaveLength(count);
      await vi.advanceTimersByTimeAsync(1);
      expect(wires).toHaveLength(count + 1);
    }
    wire().onopen?.();
    wire().onclose?.();
    await vi.advanceTimersByTimeAsync(400);
    expect(wires).toHaveLength(5);
  });

  test('test_live__tells_a_topic_that_it_may_have_missed_something', async () => {
    const onGap = vi.fn();
    live.subscribe({ topic: 'jobs' }, { onEvent: () => {}, onGap });
    wire().onopen?.();
    expect(onGap).not.toHaveBeenCalled();
    wire().onclose?.();
    await vi.advanceTimersByTimeAsync(400);
    wire().onopen?.();
    expect(onGap).toHaveBeenCalledTimes(1);
    wire().say({ type: 'lost', id: '1', count: 12 });
    expect(onGap).toHaveBeenCalledTimes(2);
  });

  test('test_live__stops_trying_when_the_session_has_ended', async () => {
    live.subscribe({ topic: 'jobs' }, { onEvent: () => {} });
    wire().onopen?.();
    mayRetry = false;
    wire().onclose?.();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(wires).toHaveLength(1);
    expect(statuses.at(-1)).toBe('idle');
  });

  test('test_live__retries_at_once_when_asked', async () => {
    live.subscribe({ topic: 'jobs' }, { onEvent: () => {} });
    wire().onclose?.();
    live.retryNow();
    await vi.advanceTimersByTimeAsync(0);
    expect(wires).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(wires).toHaveLength(2); // the old timer is gone
  });

  test('test_live__a_silent_socket_counts_as_dead', async () => {
    live.subscribe({ topic: 'jobs' }, { onEvent: () => {} });
    wire().onopen?.();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(wire().sent.at(-1)).toEqual({ type: 'ping' });
    await vi.advanceTimersByTimeAsync(40_400);
    expect(wires[0]?.closed).toBe(true);
    expect(wires.length).toBeGreaterThan(1);
  });

  test('test_live__pongs_keep_it_alive', async () => {
    live.subscribe({ topic: 'jobs' }, { onEvent: () => {} });
    wire().onopen?.();
    for (let i = 0; i < 10; i++) {
      await vi.advanceTimersByTimeAsync(20_000);
      wire().say({ type: 'pong' });
    }
    expect(wires).toHaveLength(1);
  });

  test('test_live__closes_a_while_after_the_last_reader_left', async () => {
    const leave = live.subscribe({ job_id: 'a' }, { onEvent: () => {} });
    wire().onopen?.();
    leave();
    expect(wire().sent.at(-1)).toEqual({ type: 'unsubscribe', id: '1' });
    expect(wire().closed).toBe(false);
    await vi.advanceTimersByTimeAsync(3_000);
    expect(wire().closed).toBe(true);
    expect(statuses.at(-1)).toBe('idle');
    live.subscribe({ job_id: 'b' }, { onEvent: () => {} });
    expect(wires).toHaveLength(2);
  });

  test('test_live__outlives_a_message_that_is_not_json_and_one_for_nobody', () => {
    const onEvent = vi.fn();
    live.subscribe({ job_id: 'j' }, { onEvent });
    wire().onopen?.();
    wire().onmessage?.({ data: '{' });
    wire().metric('99', 1);
    wire().metric('1', 1);
    expect(onEvent).toHaveBeenCalledTimes(1);
  });
});
