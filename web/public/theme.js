// Runs before the first paint so that a remembered theme never flashes. The rest is in src/state/theme.ts.
try {
  const theme = localStorage.getItem('cyxwiz.theme');
  if (theme === 'dark' || theme === 'light') document.documentElement.dataset.theme = theme;
} catch {
  // Storage is denied: the system's theme holds.
}
