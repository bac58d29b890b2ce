// Every call of the REST contract that the dashboard makes.
import { API, type RequestOptions, request } from './http';
import type {
  Balance,
  Dataset,
  Entry,
  Example,
  Job,
  JobDetail,
  JobState,
  LogLine,
  MetricPoint,
  Model,
  Node,
  Quote,
  Session,
  Upload,
  Validation,
} from './types';

type Signal = AbortSignal | undefined;

function withSignal(signal: Signal): RequestOptions {
  return signal ? { signal } : {};
}

function query(parameters: Record<string, string | number | null | undefined>): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== '') search.set(key, String(value));
  }
  const text = search.toString();
  return text ? `?${text}` : '';
}

export const getSession = () => request<Session>('GET', '/session');
export const signIn = (email: string, password: string) =>
  request<Session>('POST', '/session', { json: { email, password } });
export const signOut = () => request<void>('DELETE', '/session');

export interface JobPage {
  jobs: Job[];
  next_cursor: string | null;
}
export const listJobs = (
  options: { state?: JobState | null; limit?: number; cursor?: string | null } = {},
  signal?: AbortSignal,
) => request<JobPage>('GET', `/jobs${query(options)}`, withSignal(signal));
export const getJob = (id: string, signal?: AbortSignal) =>
  request<JobDetail>('GET', `/jobs/${encodeURIComponent(id)}`, withSignal(signal));
export const submitJob = (text: string, idempotencyKey: string) =>
  request<Job>('POST', '/jobs', { text, idempotencyKey });
export const validateSpec = (text: string, signal?: AbortSignal) =>
  request<Validation>('POST', '/jobs/validate', { text, ...withSignal(signal) });
export const quoteSpec = (text: string, signal?: AbortSignal) =>
  request<Quote>('POST', '/jobs/quote', { text, ...withSignal(signal) });
export const cancelJob = (id: string) =>
  request<{ job: Job; outcome: 'cancelled' | 'cancelling' | 'already-ended'; message: string }>(
    'POST',
    `/jobs/${encodeURIComponent(id)}/cancel`,
  );

/** A list that comes in pages by sequence, whole. */
async function everyPage<T>(
  path: string,
  key: 'points' | 'lines',
  onPage: (items: T[]) => void,
  signal?: AbortSignal,
): Promise<void> {
  let cursor: string | null = null;
  do {
    const page: { [key: string]: unknown } = await request(
      'GET',
      path + query({ cursor }),
      withSignal(signal),
    );
    onPage((page[key] ?? []) as T[]);
    cursor = (page.next_cursor ?? null) as string | null;
  } while (cursor !== null);
}
export const eachMetric = (id: string, onPage: (points: MetricPoint[]) => void, signal?: AbortSignal) =>
  everyPage<MetricPoint>(`/jobs/${encodeURIComponent(id)}/metrics`, 'points', onPage, signal);
export const eachLog = (id: string, onPage: (lines: LogLine[]) => void, signal?: AbortSignal) =>
  everyPage<LogLine>(`/jobs/${encodeURIComponent(id)}/logs`, 'lines', onPage, signal);

export const listNodes = (signal?: AbortSignal) =>
  request<{ nodes: Node[]; next_cursor: string | null }>(
    'GET',
    `/nodes${query({ limit: 200 })}`,
    withSignal(signal),
  );
export const getNode = (id: string, signal?: AbortSignal) =>
  request<Node>('GET', `/nodes/${encodeURIComponent(id)}`, withSignal(signal));
export const createNodeToken = () =>
  request<{ token: string; node_id: string | null; expires_at: string }>('POST', '/nodes/tokens', {
    json: {},
  });
export const listModels = (options: { limit?: number; cursor?: string | null } = {}, signal?: AbortSignal) =>
  request<{ models: Model[]; next_cursor: string | null }>(
    'GET',
    `/models${query(options)}`,
    withSignal(signal),
  );
export const listDatasets = () => request<{ datasets: Dataset[] }>('GET', '/datasets');
export const listUploads = (signal?: AbortSignal) =>
  request<{ uploads: Upload[]; next_cursor: string | null }>(
    'GET',
    `/uploads${query({ limit: 200 })}`,
    withSignal(signal),
  );
export const getUpload = (id: string, signal?: AbortSignal) =>
  request<Upload>('GET', `/uploads/${encodeURIComponent(id)}`, withSignal(signal));
export const createUpload = (announced: Pick<Upload, 'kind' | 'name' | 'sha256' | 'bytes'>) =>
  request<Upload>('POST', '/uploads', { json: announced });
export const deleteUpload = (id: string) => request<void>('DELETE', `/uploads/${encodeURIComponent(id)}`);
export const sendUploadPart = (
  id: string,
  bytes: Blob,
  part: { from: number; to: number },
  total: number,
  signal?: AbortSignal,
) =>
  request<unknown>('PUT', `/uploads/${encodeURIComponent(id)}/content`, {
    bytes,
    contentRange: `bytes ${part.from}-${part.to - 1}/${total}`,
    ...withSignal(signal),
  });
export const listExamples = () => request<{ examples: Example[] }>('GET', '/examples');
export const getBalance = (signal?: AbortSignal) =>
  request<Balance>('GET', '/account/balance', withSignal(signal));
export const getStatement = (
  options: { limit?: number; cursor?: string | null } = {},
  signal?: AbortSignal,
) =>
  request<{ entries: Entry[]; next_cursor: string | null }>(
    'GET',
    `/account/statement${query(options)}`,
    withSignal(signal),
  );

export const jobModelUrl = (id: string) => `${API}/jobs/${encodeURIComponent(id)}/model`;
export const modelUrl = (id: string) => `${API}/models/${encodeURIComponent(id)}/download`;
export const liveUrl = () => `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${API}/ws`;
