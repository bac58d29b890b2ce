// Drawn for this page: 20 by 20, one stroke, the colour of the text around it.
import type { ComponentChildren } from 'preact';

export type IconName = keyof typeof shapes;

const shapes = {
  jobs: (
    <>
      <path d="M3 4.5v12h14" />
      <path d="M5.5 6c1.6 0 2 5.4 4.6 6.6 1.9.9 4 1 6.4 1" />
    </>
  ),
  plus: <path d="M10 4.5v11M4.5 10h11" />,
  models: (
    <>
      <path d="m10 3 6.2 3.4v7.2L10 17l-6.2-3.4V6.4z" />
      <path d="m3.8 6.4 6.2 3.5 6.2-3.5M10 9.9V17" />
    </>
  ),
  nodes: (
    <>
      <rect x="3" y="4" width="14" height="5" rx="1.5" />
      <rect x="3" y="11" width="14" height="5" rx="1.5" />
      <path d="M6 6.5h.01M6 13.5h.01" />
    </>
  ),
  wallet: (
    <>
      <path d="M15.5 6.5v-1a1.5 1.5 0 0 0-1.5-1.5H5A2 2 0 0 0 3 6v8a2 2 0 0 0 2 2h10.5a1.5 1.5 0 0 0 1.5-1.5V8a1.5 1.5 0 0 0-1.5-1.5H5" />
      <path d="M13.7 11.2h.01" />
    </>
  ),
  download: <path d="M10 3.5v9m0 0 3.5-3.5M10 12.5 6.5 9M4 16.5h12" />,
  copy: (
    <>
      <rect x="7" y="7" width="9" height="9" rx="2" />
      <path d="M13 7V5.5A1.5 1.5 0 0 0 11.5 4h-6A1.5 1.5 0 0 0 4 5.5v6A1.5 1.5 0 0 0 5.5 13H7" />
    </>
  ),
  data: (
    <>
      <path d="M4 5.5c0-1.100 2.700-2 6-2s6 .900 6 2-2.700 2-6 2-6-.900-6-2z" />
      <path d="M4 5.500v9c0 1.100 2.700 2 6 2s6-.900 6-2v-9M4 10c0 1.100 2.700 2 6 2s6-.900 6-2" />
    </>
  ),
  undo: <path d="M7.5 4.5 4 8l3.5 3.5M4 8h7.5a4 4 0 0 1 0 8H8" />,
  redo: <path d="M12.500 4.5 16 8l-3.500 3.5M16 8H8.500a4 4 0 0 0 0 8H12" />,
  upload: <path d="M10 12.500v-9m0 0L6.500 7M10 3.500 13.500 7M4 16.500h12" />,
  close: <path d="m5.5 5.5 9 9m0-9-9 9" />,
  check: <path d="m4.5 10.5 3.5 3.5 7.5-8" />,
  alert: (
    <>
      <path d="M10 3.5 17.5 16.5h-15z" />
      <path d="M10 8.5v3.5M10 14.3h.01" />
    </>
  ),
  clock: (
    <>
      <circle cx="10" cy="10" r="6.5" />
      <path d="M10 6.5V10l2.5 1.5" />
    </>
  ),
  search: (
    <>
      <circle cx="9" cy="9" r="5" />
      <path d="m13 13 3.5 3.5" />
    </>
  ),
  eye: (
    <>
      <path d="M2.5 10S5 5 10 5s7.5 5 7.5 5-2.5 5-7.5 5-7.5-5-7.5-5z" />
      <circle cx="10" cy="10" r="2.2" />
    </>
  ),
  clone: (
    <>
      <rect x="4" y="4" width="8.5" height="8.5" rx="2" />
      <path d="M15.5 8v6a1.5 1.5 0 0 1-1.5 1.5H8" />
    </>
  ),
  stop: <rect x="5.5" y="5.5" width="9" height="9" rx="1.5" />,
  reset: <path d="M4 4v4h4M4.3 8A6.3 6.3 0 1 1 4 11.8" />,
  chevron: <path d="m8 5 5 5-5 5" />,
  chip: (
    <>
      <rect x="6" y="6" width="8" height="8" rx="1.5" />
      <path d="M8 3.5V6M12 3.5V6M8 14v2.5M12 14v2.5M3.5 8H6M3.5 12H6M14 8h2.5M14 12h2.5" />
    </>
  ),
  braces: (
    <path d="M8 4c-2 0-2 1-2 2.5S6 9.5 4 10c2 .5 2 2 2 3.5S6 16 8 16M12 4c2 0 2 1 2 2.5s0 3 2 3.5c-2 .5-2 2-2 3.5s0 2.5-2 2.5" />
  ),
} satisfies Record<string, ComponentChildren>;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 20 20"
      fill="none"
      stroke="currentColor"
      stroke-width="1.6"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {shapes[name]}
    </svg>
  );
}

export function Mark({ size = 28 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="var(--ink)" />
      <path
        d="M7 8c2.2 0 2.6 10.5 7.2 12.6 3 1.4 6 1.5 8.3 1.5"
        fill="none"
        stroke="var(--on-ink)"
        stroke-width="2.6"
        stroke-linecap="round"
      />
      <circle cx="23.6" cy="22.1" r="2.9" fill="#6ea0ff" />
    </svg>
  );
}
