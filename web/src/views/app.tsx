import type { ComponentChild } from 'preact';
import { route } from '../state/router';
import { session, startSession } from '../state/session';
import { t } from '../strings/en';
import { JobPage } from './job/job-page';
import { JobsPage } from './jobs-page';
import { lazyPart } from './lazy';
import { ModelsPage } from './models-page';
import { NodePage } from './nodes/node-page';
import { NodesPage } from './nodes-page';
import { Page } from './page';
import { Shell } from './shell';
import { SignIn } from './sign-in';
import { SubmitPage } from './submit/submit-page';
import { Mark } from './ui/icons';
import { Link } from './ui/link';
import { Empty, Loading, ProblemNote } from './ui/parts';
import { WalletPage } from './wallet-page';

const DatasetsPart = lazyPart(
  async () => (await import('./data/datasets-page')).DatasetsPage,
  <div class="page">
    <Loading rows={6} />
  </div>,
);
const ComparePart = lazyPart<{ ids: string[] }>(
  async () => (await import('./compare/compare-page')).ComparePage,
  <div class="page">
    <Loading rows={10} />
  </div>,
);

function NotFound() {
  return (
    <Page title={t.notFound.title} head={<h1 class="hidden-text">{t.notFound.title}</h1>}>
      <div class="card">
        <Empty icon="search" title={t.notFound.title} text={t.notFound.text}>
          <Link to="/jobs" class="button primary">
            {t.notFound.action}
          </Link>
        </Empty>
      </div>
    </Page>
  );
}

function CurrentPage(): ComponentChild {
  const here = route.value;
  switch (here.page) {
    case 'jobs':
      return <JobsPage />;
    case 'job':
      return <JobPage key={here.id} id={here.id} />;
    case 'submit':
      return <SubmitPage key={`${here.from}/${here.example}`} from={here.from} example={here.example} />;
    case 'compare':
      return <ComparePart ids={here.ids} />;
    case 'node':
      return <NodePage key={here.id} id={here.id} />;
    case 'datasets':
      return <DatasetsPart />;
    case 'models':
      return <ModelsPage key={here.wanted} wanted={here.wanted} />;
    case 'nodes':
      return <NodesPage />;
    case 'wallet':
      return <WalletPage />;
    case 'not-found':
      return <NotFound />;
  }
}

export function App() {
  const now = session.value;
  if (now.kind === 'starting') {
    return (
      <main class="splash">
        <Mark size={40} />
        <span class="hidden-text" role="status">
          {t.problem.loading}
        </span>
      </main>
    );
  }
  if (now.kind === 'unreachable') {
    return (
      <main class="splash">
        <Mark size={40} />
        <h1 class="hidden-text">{t.brand}</h1>
        <ProblemNote problem={now.problem} onRetry={() => void startSession()} />
      </main>
    );
  }
  if (now.kind === 'signed-out') return <SignIn expired={now.expired} />;
  return (
    <Shell account={now.account}>
      <CurrentPage />
    </Shell>
  );
}
