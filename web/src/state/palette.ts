// What the command palette offers, and which of it fits what is typed.
import { signal } from '@preact/signals';
import { jobList, loadJobs } from './jobs';
import { examples, models, nodes } from './lists';
import { navigate } from './router';

export interface Command {
  id: string;
  group: string;
  text: string;
  /** Beside it, quieter: a state, an id. */
  note?: string;
  keys?: string;
  run(): void;
}

export const paletteOpen = signal(false);
/** Commands of the page that is shown. */
export const pageCommands = signal<readonly Command[]>([]);

export function addCommands(added: Command[]): () => void {
  pageCommands.value = [...pageCommands.peek(), ...added];
  return () => {
    pageCommands.value = pageCommands.peek().filter((each) => !added.includes(each));
  };
}

/** Fetches what the palette looks through and is not there yet. */
export function preparePalette(): void {
  if (!jobList.peek()) void loadJobs();
  for (const list of [examples, models, nodes]) if (!list.state.peek().data) void list.load();
}

export interface PaletteWords {
  groups: { jobs: string; models: string; nodes: string; examples: string };
  newFrom(example: string): string;
  states: Record<string, string>;
}

/** The things that are known, as commands that go there. */
export function thingCommands(words: PaletteWords): Command[] {
  const jobs = (jobList.value ?? []).map((job) => ({
    id: `job/${job.id}`,
    group: words.groups.jobs,
    text: job.name,
    note: `${words.states[job.state] ?? job.state} ${job.id.slice(-8)}`,
    run: () => navigate(`/jobs/${job.id}`),
  }));
  const starts = (examples.state.value.data ?? []).map((example) => ({
    id: `example/${example.name}`,
    group: words.groups.examples,
    text: words.newFrom(example.name),
    run: () => navigate(`/submit?example=${encodeURIComponent(example.name)}`),
  }));
  const made = (models.state.value.data?.items ?? []).map((model) => ({
    id: `model/${model.id}`,
    group: words.groups.models,
    text: model.name,
    note: `v${model.version}`,
    run: () => navigate(`/models?q=${encodeURIComponent(model.name)}`),
  }));
  const machines = (nodes.state.value.data ?? []).map((node) => ({
    id: `node/${node.id}`,
    group: words.groups.nodes,
    text: node.name,
    note: node.status,
    run: () => navigate(`/nodes/${node.id}`),
  }));
  return [...starts, ...jobs, ...made, ...machines];
}

/**
 * How well `wanted` fits `text`: its letters must come in order; letters that start words or follow one another count
 * for more. Null when it does not fit.
 */
export function score(text: string, wanted: string): number | null {
  const low = text.toLowerCase();
  const want = wanted.toLowerCase().replace(/\s+/g, '');
  if (want === '') return 0;
  const whole = low.replace(/\s+/g, '').indexOf(want);
  if (whole === 0) return 1000 - low.length;
  let at = -1;
  let sum = whole > 0 ? 200 : 0;
  for (const letter of want) {
    const next = low.indexOf(letter, at + 1);
    if (next === -1) return null;
    const startsWord = next === 0 || /[\s\-_/.]/.test(low[next - 1] ?? '');
    sum += next === at + 1 ? 8 : startsWord ? 10 : 1;
    at = next;
  }
  return sum - low.length * 0.05;
}

export function best(commands: readonly Command[], wanted: string, limit: number): Command[] {
  if (wanted.trim() === '') return commands.slice(0, limit);
  return commands
    .map((command, index) => {
      const byText = score(command.text, wanted);
      const byNote = command.note?.toLowerCase().includes(wanted.trim().toLowerCase()) ? 5 : null;
      return { command, index, value: byText ?? byNote };
    })
    .filter((each): each is typeof each & { value: number } => each.value !== null)
    .sort((a, b) => b.value - a.value || a.index - b.index)
    .slice(0, limit)
    .map(({ command }) => command);
}
