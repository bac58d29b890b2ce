// The frame around every page: navigation, balance, account and theme, and the note that says when live is not live.
import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';
import type { Account } from '../api/types';
import { addShortcuts, helpOpen, startKeys } from '../state/keys';
import { balance } from '../state/lists';
import { liveStatus, retryLiveNow } from '../state/live';
import { paletteOpen } from '../state/palette';
import { poll } from '../state/resource';
import { navigate, route } from '../state/router';
import { signOut } from '../state/session';
import { type ThemeChoice, themeChoice } from '../state/theme';
import { t } from '../strings/en';
import { lazyPart } from './lazy';
import { navPlaces, type Place, places, submitPlace } from './places';
import { Icon, Mark } from './ui/icons';
import { Link } from './ui/link';
import { useNow } from './ui/now';
import { Money, Segments } from './ui/parts';

const balanceEveryMs = 15_000;
const menuId = 'account-menu';

const [jobsPlace, dataPlace, modelsPlace, nodesPlace, walletPlace] = navPlaces;
const phonePlaces = [jobsPlace, dataPlace, submitPlace, modelsPlace, nodesPlace, walletPlace].filter(
  (place) => place !== undefined,
);

const PalettePart = lazyPart(async () => (await import('./palette')).Palette);
const ShortcutsPart = lazyPart(async () => (await import('./shortcuts')).Shortcuts);

/** What is always there; pages add theirs. */
function useCommonKeys(): void {
  useEffect(() => {
    const stop = startKeys();
    const drop = addShortcuts([
      {
        keys: 'Mod+k',
        label: t.keys.palette,
        run: () => {
          paletteOpen.value = !paletteOpen.peek();
        },
      },
      {
        keys: '?',
        label: t.keys.title,
        run: () => {
          helpOpen.value = true;
        },
      },
      ...places.map((place) => ({ keys: place.keys, label: place.text, run: () => navigate(place.to) })),
    ]);
    return () => {
      stop();
      drop();
    };
  }, []);
}

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
  useCommonKeys();
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
        <button
          type="button"
          class="find-button"
          onClick={() => {
            paletteOpen.value = true;
          }}
        >
          <Icon name="search" size={16} />
          <span>{t.palette.open}</span>
          <span class="kbd" aria-hidden="true">
            Ctrl K
          </span>
        </button>
        <nav class="nav" aria-label={t.nav.label}>
          {navPlaces.map((place) => (
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
        <button
          type="button"
          class="icon-button top-find"
          aria-label={t.palette.open}
          onClick={() => {
            paletteOpen.value = true;
          }}
        >
          <Icon name="search" />
        </button>
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
      {paletteOpen.value && <PalettePart />}
      {helpOpen.value && <ShortcutsPart />}
    </div>
  );
}
