import { defineConfig } from 'vitest/config';

// CYXWIZ_DEV_GATEWAY: where `npm run dev` finds a running gateway.
const gateway = process.env.CYXWIZ_DEV_GATEWAY ?? 'http://127.0.0.1:8080';

export default defineConfig({
  // @xyflow/react asks for React; Preact does for it (docs/decisions/0009).
  resolve: {
    alias: {
      'react/jsx-runtime': 'preact/jsx-runtime',
      'react-dom': 'preact/compat',
      react: 'preact/compat',
    },
  },
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact' },
  build: {
    target: 'es2022',
    // The Content-Security-Policy allows data: for pictures only, so fonts and styles stay files.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    manifest: true,
    rollupOptions: { output: { assetFileNames: 'assets/[name]-[hash][extname]' } },
  },
  server: { proxy: { '/api': { target: gateway, ws: true } } },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
