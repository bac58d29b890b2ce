import { render } from 'preact';
import { startLive, stopLive } from './state/live';
import { startRouter } from './state/router';
import { onSignOut, startSession } from './state/session';
import { startTheme } from './state/theme';
import { App } from './views/app';
import './views/styles/tokens.css';
import './views/styles/base.css';
import './views/styles/ui.css';
import './views/styles/shell.css';
import './views/styles/pages.css';
import './views/styles/job.css';
import './views/styles/submit.css';
import './views/styles/nodes.css';
import './views/styles/compare.css';
import './views/styles/net.css';
import './views/styles/narrow.css';

startTheme();
startRouter();
startLive();
onSignOut(stopLive);
void startSession();

const root = document.getElementById('app');
if (root) render(<App />, root);
