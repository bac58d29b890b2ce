import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Problem } from '../api/http';
import { asProblem, signIn } from '../state/session';
import { t } from '../strings/en';
import { Icon, Mark } from './ui/icons';

function words(problem: Problem): string {
  if (problem.status === 401) return t.signIn.refused;
  if (problem.status === 429) return t.signIn.tooMany(problem.retryAfterSeconds);
  if (problem.status === 0) return `${t.problem.network} ${t.problem.networkHelp}`;
  return problem.message || t.problem.unknown;
}

/** A field of falling curves: what the product is for, drawn by a formula. */
function Curves() {
  const curves = Array.from({ length: 15 }, (_, n) => {
    const rate = 0.45 + n * 0.4;
    const points = Array.from({ length: 81 }, (__, i) => {
      const x = i / 80;
      const wave = Math.sin(x * (23 + n * 4.1) + n * 1.7) * 7 * (1 - x) ** 2;
      const y = 40 + 640 * (1 - Math.exp(-rate * (x + 0.02) * 3.4)) * (0.5 + n * 0.033) + wave;
      return `${(x * 1000).toFixed(1)} ${y.toFixed(1)}`;
    });
    return `M${points.join('L')}`;
  });
  const grid = Array.from({ length: 9 }, (_, n) => 80 + n * 80);
  return (
    <svg viewBox="0 0 1000 760" preserveAspectRatio="xMidYMid slice" aria-hidden="true">
      {grid.map((y) => (
        <path key={y} d={`M0 ${y}H1000`} stroke="#1b2025" stroke-width="1" />
      ))}
      {curves.map((d, n) => (
        <path
          key={d}
          d={d}
          fill="none"
          stroke={n === 12 ? '#7aa5ff' : n === 7 ? '#ff9f57' : '#3a424a'}
          stroke-width={n === 12 || n === 7 ? 2.5 : 1.2}
          stroke-opacity={n === 12 || n === 7 ? 1 : 0.8}
        />
      ))}
    </svg>
  );
}

export function SignIn({ expired }: { expired: boolean }) {
  const problem = useSignal<Problem | null>(null);
  const busy = useSignal(false);
  const shown = useSignal(false);
  const email = useRef<HTMLInputElement>(null);
  const password = useRef<HTMLInputElement>(null);
  useEffect(() => {
    document.title = t.titled(t.signIn.title);
    email.current?.focus();
  }, []);

  async function onSubmit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    if (busy.value) return;
    busy.value = true;
    problem.value = null;
    try {
      await signIn(email.current?.value.trim() ?? '', password.current?.value ?? '');
    } catch (error) {
      problem.value = asProblem(error);
      password.current?.select();
    } finally {
      busy.value = false;
    }
  }

  const refused = problem.value?.status === 401;
  return (
    <div class="sign-in">
      <main class="sign-in-form">
        <span class="brand">
          <Mark />
          {t.brand}
        </span>
        <form onSubmit={(event) => void onSubmit(event)}>
          <h1>{t.signIn.title}</h1>
          <p class="lead">{t.signIn.lead}</p>
          {expired && !problem.value && (
            <div class="banner queued" role="status">
              <Icon name="clock" />
              <div>
                <p>{t.signIn.expired}</p>
              </div>
            </div>
          )}
          <div class="field">
            <label for="email">{t.signIn.email}</label>
            <input
              ref={email}
              id="email"
              class="input"
              type="email"
              name="email"
              autocomplete="username"
              required
            />
          </div>
          <div class="field">
            <label for="password">{t.signIn.password}</label>
            <div class="password">
              <input
                ref={password}
                id="password"
                class="input"
                type="password"
                name="password"
                autocomplete="current-password"
                aria-invalid={refused}
                aria-describedby={problem.value ? 'sign-in-problem' : undefined}
                required
              />
              <button
                type="button"
                class="icon-button"
                aria-label={shown.value ? t.signIn.hide : t.signIn.show}
                aria-pressed={shown.value}
                onClick={() => {
                  shown.value = !shown.value;
                  if (password.current) password.current.type = shown.value ? 'text' : 'password';
                }}
              >
                <Icon name="eye" />
              </button>
            </div>
          </div>
          {problem.value && (
            <div id="sign-in-problem" class="banner failed" role="alert">
              <Icon name="alert" />
              <div>
                <p>{words(problem.value)}</p>
              </div>
            </div>
          )}
          <button type="submit" class="button primary large" disabled={busy.value}>
            {busy.value ? t.signIn.submitting : t.signIn.submit}
          </button>
        </form>
        <p class="hint">{t.signIn.hint}</p>
      </main>
      <div class="sign-in-art" aria-hidden="true">
        <Curves />
        <ul>
          {t.signIn.points.map((point) => (
            <li key={point}>{point}</li>
          ))}
        </ul>
      </div>
    </div>
  );
}
