// The REST contract's shapes, from the types that scripts/types.mjs generates of docs/contracts/openapi.yaml. The document
// leaves many members optional; the gateway gives them all, as null where there is nothing.
import type { components } from './contract.gen';

type Schemas = components['schemas'];

/** All members there, at every depth. */
type Given<T> = T extends readonly (infer Item)[]
  ? Given<Item>[]
  : T extends object
    ? { [Key in keyof T]-?: Given<Exclude<T[Key], undefined>> }
    : T;

type With<T, Other> = Omit<T, keyof Other> & Other;

/** A job spec is data that the user writes; the gateway judges it. The page reads only what it shows. */
export type Spec = { [key: string]: Json };
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export type JobState = Schemas['JobState'];
export type Account = Given<Schemas['Account']>;
export type Session = Given<Schemas['Session']>;
export type Pending = NonNullable<Schemas['Pending']>;
export type Quote = Given<Schemas['Quote']>;

/** Counts are there as soon as there is progress. */
export interface Progress
  extends Given<Pick<NonNullable<Schemas['Progress']>, 'loss' | 'accuracy' | 'images_per_second'>> {
  epoch: number;
  epochs: number;
  step: number;
  total_steps: number;
}
export type Result = Given<NonNullable<Schemas['Result']>>;
export type Placement = NonNullable<Given<Schemas['Job']>['placement']>;

interface JobParts {
  spec: Spec;
  progress: Progress | null;
  result: Partial<Result> | null;
  error: { status: string; pointer: string | null; message: string } | null;
}
export type Job = With<Given<Omit<Schemas['Job'], keyof JobParts>>, JobParts>;

export type Transition = With<Schemas['Transition'], { from: JobState | null; to: JobState }>;
export type Escrow = Given<Schemas['Escrow']>;
type Detail = Given<Omit<Schemas['JobDetail'], keyof JobParts>>;
export type JobDetail = Job & {
  transitions: Transition[];
  escrow: Escrow | null;
  record: Detail['record'];
};

export type Validation = Given<Schemas['Validation']>;
export type ValidatedLayer = Validation['layers'][number];

type Point = Given<Schemas['MetricPoint']>;
type Numbered = { sequence?: number };
export type StepPoint = Omit<Point, 'kind' | 'sequence' | 'eval_loss' | 'eval_accuracy'> &
  Numbered & { kind: 'step' };
export type EpochPoint = Omit<Point, 'kind' | 'sequence' | 'total_steps' | 'lr'> &
  Numbered & { kind: 'epoch' };
export type MetricPoint = StepPoint | EpochPoint;
export type LogLine = Omit<Given<Schemas['LogLine']>, 'sequence'> & Numbered;

type DeviceParts = Given<Schemas['Device']>;
/** What a device's benchmarks showed; the registry itself timed flops_per_second, 0 before the first. */
export type Proof = DeviceParts['proof'];
export type Device = With<DeviceParts, { proof: Proof | null }>;

/** What a node cannot read of its machine is absent. */
export type NodeSystem = NonNullable<Schemas['Node']['system']>;
export type Node = With<
  Given<Omit<Schemas['Node'], 'system'>>,
  { devices: Device[]; system?: NodeSystem | null }
>;

export type Model = With<Given<Omit<Schemas['Model'], 'spec'>>, { spec: Spec | null }>;
export type Dataset = With<
  Given<Schemas['Dataset']>,
  { shape: [number, number, number]; remedy?: string | null }
>;

export type Upload = Given<Schemas['Upload']>;

export interface Example {
  name: string;
  spec: Spec;
}

export interface Balance {
  available: string;
  held: string;
  entries_total: string | number | null;
}

export type Entry = Given<Schemas['Entry']>;

/** RFC 9457 problem details. */
export type ProblemBody = With<Schemas['Problem'], { instance?: string; request_id?: string }> & {
  line?: number;
  column?: number;
};
