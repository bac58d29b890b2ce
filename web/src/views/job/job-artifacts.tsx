// What a run leaves behind as files: the model, the newest checkpoint, the log, the metrics, the spec.
import type { ComponentChildren } from 'preact';
import { jobModelUrl } from '../../api/client';
import type { JobDetail } from '../../api/types';
import { logText, metricsCsv } from '../../state/export';
import type { Run } from '../../state/run';
import { formatSpec } from '../../state/submit';
import { t } from '../../strings/en';
import { formatBytes, formatInteger, shortHash } from '../format';
import { saveFile } from '../ui/files';
import { Icon } from '../ui/icons';
import { CopyButton } from '../ui/parts';

function Row({
  label,
  note,
  sha256,
  children,
}: {
  label: string;
  note: string;
  sha256?: string | undefined;
  children?: ComponentChildren;
}) {
  return (
    <li>
      <div>
        <strong>{label}</strong>
        <small class="muted num">{note}</small>
        {sha256 && (
          <span class="copyable">
            <small class="mono" title={sha256} data-sha256={sha256}>
              {shortHash(sha256)}
            </small>
            <CopyButton text={sha256} label={`${t.job.copyHash}: ${label}`} />
          </span>
        )}
      </div>
      {children}
    </li>
  );
}

function SaveButton({ what, onSave }: { what: string; onSave(): void }) {
  return (
    <button
      type="button"
      class="icon-button"
      aria-label={t.job.artifact.get(what)}
      title={t.job.artifact.get(what)}
      onClick={onSave}
    >
      <Icon name="download" size={16} />
    </button>
  );
}

export function ArtifactsCard({ job, run }: { job: JobDetail; run: Run }) {
  void run.seriesVersion.value;
  const words = t.job.artifact;
  const file = job.name.replace(/[^\w.-]+/g, '-');
  const points = run.series.length;
  const lines = run.logs.value;
  return (
    <section class="card" aria-labelledby="artifacts">
      <header class="card-head">
        <h2 id="artifacts">{t.job.artifacts}</h2>
      </header>
      <ul class="artifacts">
        {job.model && (
          <Row
            label={words.model}
            note={`${t.job.modelFormat}, ${formatBytes(job.model.bytes)}`}
            sha256={job.model.sha256}
          >
            <a
              class="icon-button"
              href={jobModelUrl(job.id)}
              download
              aria-label={words.get(words.model)}
              title={words.get(words.model)}
            >
              <Icon name="download" size={16} />
            </a>
          </Row>
        )}
        {job.checkpoint && (
          <Row
            label={words.checkpoint}
            note={`${words.atStep(formatInteger(job.checkpoint.step))}, ${formatBytes(job.checkpoint.bytes)}`}
            sha256={job.checkpoint.sha256}
          />
        )}
        {points > 0 && (
          <Row label={words.metrics} note={`CSV, ${words.points(points)}`}>
            <SaveButton
              what={words.metrics}
              onSave={() => saveFile(`${file}.csv`, 'text/csv', metricsCsv(run.series))}
            />
          </Row>
        )}
        {lines.length > 0 && (
          <Row label={words.log} note={words.lines(lines.length)}>
            <SaveButton
              what={words.log}
              onSave={() => saveFile(`${file}.log`, 'text/plain', logText(lines))}
            />
          </Row>
        )}
        <Row label={words.spec} note="JSON">
          <SaveButton
            what={words.spec}
            onSave={() => saveFile(`${file}.json`, 'application/json', `${formatSpec(job.spec)}\n`)}
          />
        </Row>
      </ul>
    </section>
  );
}
