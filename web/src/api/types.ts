// The REST contract's shapes, after docs/contracts/openapi.yaml. Amounts are decimal strings with their unit.

export type JobState = 'queued' | 'assigned' | 'running' | 'completed' | 'failed' | 'cancelled';

/** A job spec is data that the user writes; the gateway judges it. The page reads only what it shows. */
export type Spec = { [key: string]: Json };
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface Account {
  id: string;
  email: string;
  name: string;
  role: string;
}

export interface Session {
  account: Account;
  csrf_token: string | null;
  expires_at: string | null;
}

export interface Progress {
  epoch: number;
  epochs: number;
  step: number;
  total_steps: number;
  loss: number | null;
  accuracy: number | null;
  images_per_second: number | null;
}

export interface Result {
  test_accuracy: number | null;
  test_loss: number | null;
  train_loss: number | null;
  epochs: number;
  steps: number;
  images_per_second: number | null;
  seconds: number | null;
  backend: string | null;
  device: string | null;
}

export interface Pending {
  code: string;
  message: string;
  remedy: string;
}

/** Why the last node was chosen: parts in [0, 1], score is their weighted sum. */
export interface Placement {
  score: number;
  speed: number;
  price: number;
  reputation: number;
  load: number;
  data: number;
  measured: boolean;
  speed_by: 'jobs' | 'benchmark' | 'guess';
}

/** What a job would take; what no job has shown yet is null. */
export interface Quote {
  nodes: { online: number; fit: number; free: number; measured: number; benchmarked: number };
  total_flops: number;
  run_seconds: { low: number; high: number } | null;
  price: { low: string; high: string } | null;
  budget: string;
  within_budget: boolean | null;
  start_in_seconds: number | null;
  jobs_ahead: number;
  pending: Pending | null;
}

export interface Job {
  id: string;
  account_id: string;
  name: string;
  state: JobState;
  spec: Spec;
  priority: string | null;
  budget: string | null;
  cost: string | null;
  created_at: string;
  assigned_at: string | null;
  started_at: string | null;
  ended_at: string | null;
  node_id: string | null;
  attempt: number | null;
  progress: Progress | null;
  result: Partial<Result> | null;
  model: { sha256: string; bytes: number } | null;
  error: { status: string; pointer: string | null; message: string } | null;
  pending: Pending | null;
  placement: Placement | null;
  array: { id: string; index: number; count: number } | null;
  waits_for: number;
  preemptions: number;
  deadline: string | null;
  parameters: number | null;
  training_flops_per_sample: number | null;
}

export interface Transition {
  from: JobState | null;
  to: JobState;
  cause: string;
  node_id?: string | null;
  token?: number | null;
  at: string;
}

export interface Escrow {
  state: string;
  held: string | null;
  released: string | null;
  refunded: string | null;
  node_share: string | null;
  platform_fee: string | null;
}

export interface JobDetail extends Job {
  transitions: Transition[];
  escrow: Escrow | null;
}

export interface ValidatedLayer {
  name: string;
  type: string;
  output_shape: number[];
  parameters: number;
}

export interface Validation {
  parameters: number;
  training_flops_per_sample: number;
  training_bytes: number;
  layers: ValidatedLayer[];
}

export interface StepPoint {
  kind: 'step';
  sequence?: number;
  step: number;
  total_steps: number;
  epoch: number;
  epochs: number;
  loss: number | null;
  accuracy: number | null;
  lr: number | null;
  images_per_second: number | null;
  at: string;
}

export interface EpochPoint {
  kind: 'epoch';
  sequence?: number;
  step: number;
  epoch: number;
  epochs: number;
  loss: number | null;
  accuracy: number | null;
  eval_loss: number | null;
  eval_accuracy: number | null;
  images_per_second: number | null;
  at: string;
}

export type MetricPoint = StepPoint | EpochPoint;

export interface LogLine {
  sequence?: number;
  level: string;
  message: string;
  at: string;
}

/** What a device's benchmarks showed; the registry itself timed flops_per_second, 0 before the first. */
export interface Proof {
  state: 'pending' | 'proved' | 'refuted';
  at: string | null;
  message: string | null;
  flops_per_second: number;
}

export interface Device {
  index: number;
  backend: string;
  name: string;
  memory_bytes: number | null;
  is_software: boolean;
  threads: number | null;
  proof: Proof | null;
}

export interface Node {
  id: string;
  name: string;
  status: 'online' | 'offline' | 'draining';
  version: string | null;
  closed: 'draining' | 'maintenance' | 'proving' | 'unproven' | null;
  unproven: { code: string; message: string } | null;
  outdated: string | null;
  devices: Device[];
  host_memory_bytes: number | null;
  cpus: number | null;
  price_per_hour: string | null;
  enrolled_at: string | null;
  last_heartbeat_at: string | null;
  running_jobs: number | unknown[] | null;
  cpu_percent: number | null;
  memory_used_bytes: number | null;
  images_per_second: number | null;
}

export interface Model {
  id: string;
  name: string;
  version: number;
  visibility: string;
  job_id: string;
  node_id: string | null;
  sha256: string;
  bytes: number;
  format: string;
  dataset: string | null;
  spec: Spec | null;
  metrics: { test_accuracy: number | null; test_loss: number | null } | null;
  created_at: string;
}

export interface Dataset {
  name: string;
  title: string;
  licence: string;
  shape: [number, number, number];
  classes: string[];
  n_train: number;
  n_test: number;
  fingerprint: string;
  available: boolean;
  remedy?: string | null;
}

export interface Example {
  name: string;
  spec: Spec;
}

export interface Balance {
  available: string;
  held: string;
  entries_total: string | number | null;
}

export interface Entry {
  id: string;
  at: string;
  kind: string;
  amount: string;
  balance: string;
  job_id: string | null;
  memo: string | null;
}

/** RFC 9457 problem details. */
export interface ProblemBody {
  type: string;
  title: string;
  status: number;
  detail: string;
  instance?: string;
  pointer?: string;
  line?: number;
  column?: number;
  request_id?: string;
}
