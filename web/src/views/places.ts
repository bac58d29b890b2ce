// The pages that are gone to by name: from the navigation, by keys, from the palette.
import { t } from '../strings/en';
import type { IconName } from './ui/icons';

export interface Place {
  to: string;
  icon: IconName;
  text: string;
  pages: string[];
  keys: string;
}

export const navPlaces: Place[] = [
  { to: '/jobs', icon: 'jobs', text: t.nav.jobs, pages: ['jobs', 'job', 'compare'], keys: 'g j' },
  { to: '/datasets', icon: 'data', text: t.nav.datasets, pages: ['datasets'], keys: 'g d' },
  { to: '/models', icon: 'models', text: t.nav.models, pages: ['models'], keys: 'g m' },
  { to: '/nodes', icon: 'nodes', text: t.nav.nodes, pages: ['nodes', 'node'], keys: 'g n' },
  { to: '/wallet', icon: 'wallet', text: t.nav.wallet, pages: ['wallet'], keys: 'g w' },
];
export const submitPlace: Place = {
  to: '/submit',
  icon: 'plus',
  text: t.nav.submit,
  pages: ['submit'],
  keys: 'n',
};
export const places: Place[] = [submitPlace, ...navPlaces];
