// Dark or light: the system's choice unless the user made one, which is remembered. public/theme.js applies it early.
import { effect, signal } from '@preact/signals';

export type ThemeChoice = 'system' | 'light' | 'dark';

const key = 'cyxwiz.theme';

function remembered(): ThemeChoice {
  try {
    const value = localStorage.getItem(key);
    return value === 'light' || value === 'dark' ? value : 'system';
  } catch {
    return 'system';
  }
}

export const themeChoice = signal<ThemeChoice>('system');
/** What is shown now; charts redraw when it changes. */
export const shownTheme = signal<'light' | 'dark'>('light');

export function startTheme(): void {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const systemDark = signal(dark.matches);
  dark.addEventListener('change', () => {
    systemDark.value = dark.matches;
  });
  themeChoice.value = remembered();
  effect(() => {
    const choice = themeChoice.value;
    if (choice === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    shownTheme.value = choice === 'system' ? (systemDark.value ? 'dark' : 'light') : choice;
    try {
      if (choice === 'system') localStorage.removeItem(key);
      else localStorage.setItem(key, choice);
    } catch {
      // Storage is denied: the choice lasts as long as the page.
    }
  });
}
