// The small parts that every page is made of.
import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { Problem } from '../../api/http';
import type { JobState } from '../../api/types';
import { t } from '../../strings/en';
import { formatAmount, formatAmountShort } from '../format';
import { Icon, type IconName } from './icons';

export function StateBadge({ state }: { state: JobState }) {
  return <span class={`badge ${state}`}>{t.states[state]}</span>;
}

/** `label` is read aloud; the bar itself only shows. */
export function Meter({ part, label, tone = '' }: { part: number; label: string; tone?: string }) {
  const clamped = Math.max(0, Math.min(1, Number.isFinite(part) ? part : 0));
  return (
    <span
      class={`meter ${tone}`}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(clamped * 100)}
    >
      <span style={{ transform: `scaleX(${clamped})` }} />
    </span>
  );
}

/** Rounded to be read; the exact sum is its title. */
export function Money({ amount }: { amount: string | null | undefined }) {
  const [size, unit] = formatAmountShort(amount).split(' ');
  return (
    <span class="num money" title={formatAmount(amount)}>
      {size} {unit && <span class="unit">{unit}</span>}
    </span>
  );
}

export function Skeleton({ width = '100%', height = '1em' }: { width?: string; height?: string }) {
  return <span class="skeleton" style={{ width, height }} />;
}

export function Loading({ rows = 6 }: { rows?: number }) {
  return (
    <div class="loading" role="status">
      <span class="hidden-text">{t.problem.loading}</span>
      {Array.from({ length: rows }, (_, row) => (
        <Skeleton key={row} height="18px" width={`${92 - ((row * 17) % 40)}%`} />
      ))}
    </div>
  );
}

interface EmptyProps {
  icon: IconName;
  title: string;
  text: string;
  children?: ComponentChildren;
}

export function Empty({ icon, title, text, children }: EmptyProps) {
  return (
    <div class="empty">
      <span class="empty-icon">
        <Icon name={icon} size={26} />
      </span>
      <h2>{title}</h2>
      <p>{text}</p>
      {children}
    </div>
  );
}

function problemWords(problem: Problem): { title: string; help: string } {
  if (problem.status === 0) return { title: t.problem.network, help: t.problem.networkHelp };
  if (problem.status === 503) return { title: problem.message || t.problem.away, help: t.problem.awayHelp };
  return { title: problem.message || problem.title || t.problem.unknown, help: '' };
}

export function ProblemNote({
  problem,
  onRetry,
  stale,
}: {
  problem: Problem;
  onRetry?: () => void;
  stale?: boolean;
}) {
  const { title, help } = problemWords(problem);
  return (
    <div class="banner failed" role="alert">
      <Icon name="alert" />
      <div>
        <strong>{title}</strong>
        {help && <p>{help}</p>}
        <small>
          {[stale ? t.problem.stale : '', problem.requestId ? t.problem.request(problem.requestId) : ''].join(
            ' ',
          )}
        </small>
      </div>
      {onRetry && (
        <button type="button" class="button small" onClick={onRetry}>
          {t.problem.retry}
        </button>
      )}
    </div>
  );
}

export function CopyButton({ text, label }: { text: string; label: string }) {
  const done = useSignal(false);
  useEffect(() => {
    if (!done.value) return undefined;
    const timer = setTimeout(() => {
      done.value = false;
    }, 1600);
    return () => clearTimeout(timer);
  }, [done.value]);
  async function copy(): Promise<void> {
    done.value = await copyText(text);
  }
  return (
    <button
      type="button"
      class="icon-button small"
      aria-label={label}
      title={label}
      onClick={() => void copy()}
    >
      <Icon name={done.value ? 'check' : 'copy'} size={15} />
      <span class="hidden-text" role="status">
        {done.value ? t.job.copied : ''}
      </span>
    </button>
  );
}

/** The clipboard API wants HTTPS or localhost; a plain-HTTP address gets the old way. */
async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}

interface SegmentsProps<T extends string> {
  label: string;
  name: string;
  options: { value: T; text: ComponentChildren }[];
  value: T;
  onChange(value: T): void;
}

export function Segments<T extends string>({ label, name, options, value, onChange }: SegmentsProps<T>) {
  return (
    <div class="segments" role="radiogroup" aria-label={label}>
      {options.map((option) => (
        <label key={option.value}>
          <input
            type="radio"
            name={name}
            value={option.value}
            checked={option.value === value}
            onChange={() => onChange(option.value)}
          />
          <span>{option.text}</span>
        </label>
      ))}
    </div>
  );
}

interface ConfirmProps {
  title: string;
  text: string;
  confirm: string;
  keep: string;
  danger?: boolean;
  onAnswer(yes: boolean): void;
}

/** A question that must be answered; Escape means no. */
export function Confirm({ title, text, confirm, keep, danger, onAnswer }: ConfirmProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} class="sheet" aria-labelledby="confirm-title" onClose={() => onAnswer(false)}>
      <h2 id="confirm-title">{title}</h2>
      <p>{text}</p>
      <footer>
        <button type="button" class="button" onClick={() => onAnswer(false)}>
          {keep}
        </button>
        <button
          type="button"
          class={`button primary ${danger ? 'danger' : ''}`}
          onClick={() => onAnswer(true)}
        >
          {confirm}
        </button>
      </footer>
    </dialog>
  );
}
