import { useEffect } from 'preact/hooks';
import type { Entry } from '../api/types';
import { balance, moreEntries, statement } from '../state/lists';
import { t } from '../strings/en';
import { baseUnits, formatAmount, formatDateTime, shortId } from './format';
import { Page } from './page';
import { Link } from './ui/link';
import { Empty, Loading, Money, ProblemNote, Skeleton } from './ui/parts';

function EntryRow({ entry }: { entry: Entry }) {
  const columns = t.wallet.columns;
  const gain = (baseUnits(entry.amount) ?? 0n) > 0n;
  return (
    <tr>
      <td class="cell-name">
        <strong>{t.wallet.kinds[entry.kind] ?? entry.kind}</strong>
        {entry.memo && <small class="muted">{entry.memo}</small>}
      </td>
      <td data-label={columns.job}>
        {entry.job_id ? (
          <Link to={`/jobs/${entry.job_id}`}>
            <span class="mono">{shortId(entry.job_id)}</span>
          </Link>
        ) : (
          <span class="muted">–</span>
        )}
      </td>
      <td class="num" data-label={columns.at}>
        <time dateTime={entry.at}>{formatDateTime(entry.at)}</time>
      </td>
      <td class={`right num ${gain ? 'gain' : ''}`} data-label={columns.amount}>
        {gain ? '+' : ''}
        {formatAmount(entry.amount)}
      </td>
      <td class="right num" data-label={columns.balance}>
        {formatAmount(entry.balance)}
      </td>
    </tr>
  );
}

function StatementTable({ items }: { items: Entry[] }) {
  const columns = t.wallet.columns;
  return (
    <div class="table-wrap">
      <table class="table">
        <thead>
          <tr>
            <th scope="col">{columns.what}</th>
            <th scope="col">{columns.job}</th>
            <th scope="col">{columns.at}</th>
            <th scope="col" class="right">
              {columns.amount}
            </th>
            <th scope="col" class="right">
              {columns.balance}
            </th>
          </tr>
        </thead>
        <tbody>
          {items.map((entry) => (
            <EntryRow key={entry.id} entry={entry} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Balances() {
  const { data, problem } = balance.state.value;
  if (problem && !data) return <ProblemNote problem={problem} onRetry={() => void balance.load()} />;
  return (
    <div class="balances">
      <div class="card">
        <span class="muted">{t.wallet.available}</span>
        <strong>{data ? <Money amount={data.available} /> : <Skeleton width="6em" />}</strong>
      </div>
      <div class="card">
        <span class="muted">{t.wallet.held}</span>
        <strong>{data ? <Money amount={data.held} /> : <Skeleton width="4em" />}</strong>
      </div>
    </div>
  );
}

export function WalletPage() {
  useEffect(() => {
    void balance.load();
    void statement.load();
  }, []);
  const { data, problem } = statement.state.value;
  return (
    <Page title={t.wallet.title} lead={t.wallet.lead}>
      <Balances />
      <section class="card" aria-labelledby="statement">
        <header class="card-head">
          <h2 id="statement">{t.wallet.statement}</h2>
        </header>
        {problem && (
          <div class="card-body">
            <ProblemNote problem={problem} stale={data !== null} onRetry={() => void statement.load()} />
          </div>
        )}
        {!data && !problem && <Loading />}
        {data?.items.length === 0 && (
          <Empty icon="wallet" title={t.wallet.emptyTitle} text={t.wallet.emptyText} />
        )}
        {data && data.items.length > 0 && <StatementTable items={data.items} />}
      </section>
      {data?.next && (
        <footer class="page-foot">
          <button type="button" class="button" onClick={() => void moreEntries()}>
            {t.wallet.more}
          </button>
        </footer>
      )}
    </Page>
  );
}
