import { describe, expect, test } from 'vitest';
import type { Job } from '../api/types';
import { type ListedJob, listed, matches, parseQuery, settingsOf, sorted } from './job-query';

function job(name: string, parts: Partial<ListedJob> = {}): ListedJob {
  return {
    ...({
      id: `id-${name}`,
      name,
      state: 'completed',
      result: null,
      progress: null,
      cost: null,
    } as ListedJob),
    settings: {},
    ...parts,
  };
}

const has = (each: ListedJob, query: string) => matches(each, parseQuery(query), 0);

describe('test_job_query', () => {
  test('test_job_query__settings_are_flat_and_leave_out_the_layers', () => {
    const settings = settingsOf({
      name: 'x',
      model: { layers: [{ type: 'ReLU' }, { type: 'Flatten' }] },
      data: { dataset: 'mnist', batch_size: 32, transforms: [{ type: 'ToTensor' }] },
      optimizer: { type: 'AdamW', lr: 0.001, betas: [0.9, 0.999] },
      epochs: 3,
    });
    expect(settings).toEqual({
      layers: 2,
      dataset: 'mnist',
      batch: 32,
      'data.transforms': 1,
      optimizer: 'AdamW',
      lr: 0.001,
      'optimizer.betas': 2,
      epochs: 3,
    });
  });

  test('test_job_query__a_listed_job_has_no_spec', () => {
    const made = listed({ id: 'a', name: 'n', spec: { epochs: 2 } } as unknown as Job);
    expect('spec' in made).toBe(false);
    expect(made.settings).toEqual({ epochs: 2 });
  });

  test('test_job_query__words_and_comparisons_must_all_hold', () => {
    const good = job('resnet wide', {
      result: { test_accuracy: 0.93 },
      settings: { lr: 0.01, optimizer: 'AdamW' },
    });
    expect(has(good, 'resnet')).toBe(true);
    expect(has(good, '"resnet wide"')).toBe(true);
    expect(has(good, 'resnet accuracy>90%')).toBe(true);
    expect(has(good, 'accuracy>0.95')).toBe(false);
    expect(has(good, 'lr<=0.01 optimizer:adam')).toBe(true);
    expect(has(good, 'optimizer=adam')).toBe(false);
    expect(has(good, 'momentum>0')).toBe(false);
    expect(has(good, 'accuracy>x')).toBe(false);
  });

  test('test_job_query__durations_are_told_in_minutes_too', () => {
    const long = job('a', { started_at: '2026-01-01T00:00:00Z', ended_at: '2026-01-01T00:05:00Z' });
    expect(has(long, 'duration>4m')).toBe(true);
    expect(has(long, 'duration>6m')).toBe(false);
  });

  test('test_job_query__sorts_both_ways_with_the_missing_last', () => {
    const jobs = [
      job('b', { result: { test_loss: 2 } }),
      job('none'),
      job('a', { result: { test_loss: 1 } }),
      job('run10'),
      job('run9'),
    ];
    const names = (key: string, down: boolean) => sorted(jobs, { key, down }, 0).map((each) => each.name);
    expect(names('loss', false)).toEqual(['a', 'b', 'none', 'run10', 'run9']);
    expect(names('loss', true)).toEqual(['b', 'a', 'none', 'run10', 'run9']);
    expect(names('name', false)).toEqual(['a', 'b', 'none', 'run9', 'run10']);
  });
});
