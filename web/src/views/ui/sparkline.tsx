// A small line of the last values, all between 0 and 1 of `most`. What it shows is said beside it in words.
export function Sparkline({
  values,
  most = 1,
  tone = '',
}: {
  values: (number | null)[];
  most?: number;
  tone?: string;
}) {
  const width = 120;
  const height = 28;
  const last = Math.max(1, values.length - 1);
  let path = '';
  let pen = 'M';
  values.forEach((value, at) => {
    if (value === null) {
      pen = 'M';
      return;
    }
    const y = height - 1 - Math.max(0, Math.min(1, value / (most || 1))) * (height - 2);
    path += `${pen}${((at / last) * width).toFixed(1)} ${y.toFixed(1)}`;
    pen = 'L';
  });
  return (
    <svg
      class={`spark ${tone}`}
      viewBox={`0 0 ${width} ${height}`}
      preserveAspectRatio="none"
      aria-hidden="true"
    >
      <path
        d={path}
        fill="none"
        stroke="currentColor"
        stroke-width="1.5"
        vector-effect="non-scaling-stroke"
      />
    </svg>
  );
}
