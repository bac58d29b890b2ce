// The frame around every page: navigation, balance, account and theme, and the note that says when live is not live.
import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';
import type { Account } from '../api/types';
import { balance } from '../state/lists';
import { liveStatus, retryLiveNow } from '../state/live';
import { poll } from '../state/resource';
import { route } from '../state/router';
import { signOut } from '../state/session';
import { type ThemeChoice, themeChoice } from '../state/theme';
import { t } from '../strings/en';
import { Icon, type IconName, Mark } from './ui/icons';
import { Link } from './ui/link';
import { useNow } from './ui/now';
import { Money, Segments } from './ui/parts';

const balanceEveryMs = 15_000;
const menuId = 'account-menu';

interface Place {
  to: string;
  icon: IconName;
  text: string;
  pages: string[];
}

const places: Place[] = [
  { to: '/jobs', icon: 'jobs', text: t.nav.jobs, pages: ['jobs', 'job'] },
  { to: '/models', icon: 'models', text: t.nav.models, pages: ['models'] },
  { to: '/nodes', icon: 'nodes', text: t.nav.nodes, pages: ['nodes'] },
  { to: '/wallet', icon: 'wallet', text: t.nav.wallet, pages: ['wallet'] },
];
const submitPlace: Place = { to: '/submit', icon: 'plus', text: t.nav.submit, pages: ['submit'] };
const phonePlaces = [places[0], places[1], submitPlace, places[2], places[3]].filter(
  (place) => place !== undefined,
);

function NavLink({ place, size }: { place: Place; size?: number }) {
  return (
    <Link to={place.to} current={place.pages.includes(route.value.page)}>
      <Icon name={place.icon} {...(size ? { size } : {})} />
      <span>{place.text}</span>
    </Link>
  );
}

function AccountButton({ account, short }: { account: Account; short?: boolean }) {
  const name = account.name || account.email;
  return (
    <button type="button" class="account-button" popovertarget={menuId}>
      <span class="avatar" aria-hidden="true">
        {name.slice(0, 1)}
      </span>
      {!short && <span class="account-name">{name}</span>}
      <span class="hidden-text">{t.nav.account}</span>
    </button>
  );
}

function AccountMenu({ account }: { account: Account }) {
  const options = (['system', 'light', 'dark'] as const).map((value) => ({
    value,
    text: t.nav.themes[value],
  }));
  return (
    <div id={menuId} class="account-menu" popover="auto">
      <div>
        <span class="label">{t.nav.signedInAs}</span>
        <span class="who">{account.email}</span>
      </div>
      <div>
        <span class="label">{t.nav.theme}</span>
        <Segments<ThemeChoice>
          label={t.nav.theme}
          name="theme"
          options={options}
          value={themeChoice.value}
          onChange={(value) => {
            themeChoice.value = value;
          }}
        />
      </div>
      <div>
        <button type="button" class="button" onClick={() => void signOut()}>
          {t.nav.signOut}
        </button>
      </div>
    </div>
  );
}

function BalanceChip() {
  const { data } = balance.state.value;
  return (
    <Link to="/wallet" class="balance-chip">
      <span>{t.wallet.available}</span>
      <strong>
        <Money amount={data?.available} />
      </strong>
    </Link>
  );
}

function LiveNote() {
  const now = useNow();
  const status = liveStatus.value;
  const dropped = status.kind === 'waiting' || (status.kind === 'connecting' && status.attempt > 0);
  if (!dropped) return null;
  const seconds = status.kind === 'waiting' ? Math.max(1, Math.ceil((status.retryAt - now) / 1000)) : 0;
  return (
    <div class="live-note" role="status" title={t.live.explain}>
      <span class="pulse" />
      <span>
        {t.live.reconnecting} {seconds > 1 && <small aria-hidden="true">{t.live.retryIn(seconds)}</small>}
      </span>
      <button type="button" class="button small quiet" onClick={retryLiveNow}>
        {t.live.retryNow}
      </button>
    </div>
  );
}

export function Shell({ account, children }: { account: Account; children: ComponentChildren }) {
  useEffect(() => poll(() => balance.load(), balanceEveryMs), []);
  return (
    <div class="shell">
      <a class="button primary skip" href="#main">
        {t.skip}
      </a>
      <aside class="side">
        <Link to="/jobs" class="brand">
          <Mark />
          {t.brand}
        </Link>
        <Link to="/submit" class="button primary submit-link" current={route.value.page === 'submit'}>
          <Icon name="plus" size={16} />
          {t.nav.submit}
        </Link>
        <nav class="nav" aria-label={t.nav.label}>
          {places.map((place) => (
            <NavLink key={place.to} place={place} />
          ))}
        </nav>
        <div class="side-foot">
          <BalanceChip />
          <AccountButton account={account} />
        </div>
      </aside>
      <header class="top">
        <Link to="/jobs" class="brand">
          <Mark size={26} />
          {t.brand}
        </Link>
        <AccountButton account={account} short />
      </header>
      <main id="main" class="main" tabIndex={-1}>
        {children}
      </main>
      <nav class="tabs-bottom" aria-label={t.nav.label}>
        {phonePlaces.map((place) => (
          <NavLink key={place.to} place={place} size={20} />
        ))}
      </nav>
      <AccountMenu account={account} />
      <LiveNote />
    </div>
  );
}
