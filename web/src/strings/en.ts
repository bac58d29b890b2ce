// Every English sentence of the dashboard. Another language is another file of this shape.
import type { ParseError } from '../state/json-source';

export const locale = 'en-GB';

const plural = (count: number, one: string, many: string) =>
  `${count.toLocaleString(locale)} ${count === 1 ? one : many}`;

export const t = {
  brand: 'CyxWiz',
  titled: (page: string) => `${page} · CyxWiz`,
  skip: 'Skip to content',

  nav: {
    label: 'Main',
    jobs: 'Jobs',
    submit: 'New job',
    models: 'Models',
    nodes: 'Nodes',
    wallet: 'Wallet',
    account: 'Account and theme',
    signedInAs: 'Signed in as',
    signOut: 'Sign out',
    theme: 'Theme',
    themes: { system: 'System', light: 'Light', dark: 'Dark' },
  },

  live: {
    reconnecting: 'Reconnecting…',
    retryIn: (seconds: number) => `next try in ${seconds} s`,
    retryNow: 'Try now',
    explain: 'The live connection dropped. What is shown stays; it goes on where it stopped.',
    live: 'Live',
  },

  signIn: {
    title: 'Sign in',
    lead: 'Train networks on a network of machines.',
    email: 'E-mail',
    password: 'Password',
    show: 'Show password',
    hide: 'Hide password',
    submit: 'Sign in',
    submitting: 'Signing in…',
    expired: 'Your session has ended. Sign in again to go on.',
    refused: 'That e-mail and password do not go together.',
    tooMany: (seconds: number | null) =>
      seconds
        ? `Too many tries. Wait ${seconds} seconds, then try again.`
        : 'Too many tries. Wait a minute, then try again.',
    hint: 'make demo prints the address and the password that it made.',
    points: [
      'Live curves, step by step',
      'Every state change with its cause',
      'You pay for device time only',
    ],
  },

  problem: {
    network: 'The gateway does not answer.',
    networkHelp: 'Check that the stack is running (make up) and that you are online.',
    away: 'A service behind the gateway is away.',
    awayHelp: 'It is restarted by itself; try again in a moment.',
    unknown: 'Something went wrong.',
    retry: 'Try again',
    stale: 'Showing what was last known.',
    request: (id: string) => `Request ${id}`,
    loading: 'Loading…',
  },

  states: {
    queued: 'Queued',
    assigned: 'Assigned',
    running: 'Running',
    completed: 'Completed',
    failed: 'Failed',
    cancelled: 'Cancelled',
  },

  jobs: {
    title: 'Jobs',
    lead: 'Newest first. Rows change as they happen.',
    filter: 'Filter by state',
    all: 'All',
    search: 'Search by name or id',
    columns: {
      name: 'Name',
      state: 'State',
      progress: 'Progress',
      accuracy: 'Accuracy',
      loss: 'Loss',
      speed: 'Images/s',
      cost: 'Cost',
      created: 'Submitted',
      duration: 'Duration',
    },
    epoch: (epoch: number, epochs: number) => `epoch ${epoch}/${epochs}`,
    testAccuracy: 'test',
    trainAccuracy: 'train',
    more: 'Load older jobs',
    loadingMore: 'Loading…',
    emptyTitle: 'No jobs yet',
    emptyText: 'Pick an example, change what you like, and watch it learn.',
    emptyAction: 'Submit your first job',
    noneTitle: 'Nothing matches',
    noneText: 'No job matches this filter.',
    clear: 'Show all jobs',
    count: (count: number, more: boolean) => `${plural(count, 'job', 'jobs')}${more ? ' and older' : ''}`,
    maxCost: (budget: string) => `≤ ${budget}`,
  },

  job: {
    title: 'Job',
    crumbs: 'Breadcrumb',
    copyId: 'Copy the job’s id',
    copied: 'Copied',
    clone: 'Clone',
    cancel: 'Cancel job',
    cancelling: 'Cancelling…',
    cancelQuestion: 'Cancel this job?',
    cancelText:
      'Training stops at the next step and the held tokens come back to you. This cannot be undone.',
    cancelKeep: 'Keep training',
    download: 'Download model',
    notFoundTitle: 'There is no such job',
    notFoundText: 'It may belong to another account, or the address is mistyped.',
    back: 'All jobs',

    stats: {
      progress: 'Progress',
      loss: 'Train loss',
      testLoss: 'Test loss',
      accuracy: 'Train accuracy',
      testAccuracy: 'Test accuracy',
      speed: 'Images per second',
      elapsed: 'Elapsed',
      cost: 'Cost',
    },
    step: (step: string, total: string) => `step ${step} of ${total}`,
    epoch: (epoch: number, epochs: number) => `epoch ${epoch} of ${epochs}`,
    left: (time: string) => `about ${time} left`,
    evalAfterEpoch: (epoch: number) => `after epoch ${epoch}`,
    ofBudget: (budget: string) => `of at most ${budget}`,
    noCost: 'nothing spent',
    waited: (time: string) => `waited ${time}`,
    attempt: (attempt: number) => `attempt ${attempt}`,

    waiting: 'Waiting',
    pending: {
      'awaiting-escrow': 'Your budget is being put aside. This takes a moment.',
      'no-node-online': 'No node is online. The job starts as soon as one comes.',
      'all-nodes-busy': 'Every node that fits is busy. The job is next in line when one is free.',
      'no-node-fits': 'No node that is online fits this job.',
      'retry-backoff': 'The last attempt was lost; the next one starts shortly.',
      'waits-for-jobs': 'It waits for other jobs to complete.',
      'quota-running-jobs': 'Your account runs as many jobs as it may.',
      'quota-device-hours': 'Your account has used its device hours of today.',
    } as Record<string, string>,
    helps: (remedy: string) => `What helps: ${remedy}.`,
    assigned: 'A node was found and is getting ready.',
    failedTitle: 'The job failed',
    failedAt: (pointer: string) => `at ${pointer}`,
    cancelledText: 'The job was cancelled. Nothing was charged.',
    cancelledCharged: (cost: string) => `The job was cancelled. Its device time cost ${cost}.`,

    history: 'History',
    causes: {
      submitted: 'submitted',
      matched: 'matched with a node',
      accepted: 'the node accepted',
      'worker-completed': 'training finished',
      'worker-failed': 'training failed',
      'worker-stopped': 'the node stopped',
      'handed-back': 'the node handed it back',
      'cancel-requested': 'cancelled on request',
      'lease-lost': 'lost its node too often',
      'lease-expired': 'the node fell silent',
      'offer-expired': 'the node did not answer the offer',
      'node-offline': 'the node went offline',
      'node-restarted': 'the node started anew',
      'payment-refused': 'the budget could not be held',
      preempted: 'made way for a job of higher priority',
      'deadline-passed': 'its deadline passed',
      'dependency-failed': 'a job that it waited for did not complete',
    } as Record<string, string>,

    money: 'Money',
    escrow: {
      state: 'Escrow',
      held: 'Held',
      released: 'Paid',
      refunded: 'Back to you',
      node_share: 'To the node',
      platform_fee: 'Platform fee',
    },
    escrowStates: {
      held: 'held',
      refused: 'refused',
      settled: 'settled',
      refunded: 'given back',
      void: 'never held',
    } as Record<string, string>,
    budget: 'Budget',
    escrowUnknown: 'Payments has not reported on this job yet.',

    details: 'Details',
    node: 'Node',
    chosen: 'Chosen by',
    chosenBy: (score: string, parts: string) => `score ${score}: ${parts}`,
    scoreParts: {
      speed: 'speed',
      price: 'price',
      reputation: 'reputation',
      load: 'idle',
      data: 'data there',
    },
    deadline: 'Deadline',
    array: 'Array',
    arrayPlace: (index: number, count: number) => `${index + 1} of ${count}`,
    noNode: 'none yet',
    dataset: 'Data set',
    optimizer: 'Optimizer',
    batch: 'Batch size',
    seed: 'Seed',
    priority: 'Priority',
    backend: 'Backend',
    device: 'Device',
    parameters: 'Parameters',
    flops: 'Work per image',
    submitted: 'Submitted',
    started: 'Started',
    ended: 'Ended',
    attempts: 'Attempt',

    model: 'Model',
    modelFormat: 'safetensors',
    sha256: 'SHA-256',
    copyHash: 'Copy the SHA-256',
    size: 'Size',

    charts: {
      title: 'Curves',
      loss: 'Loss',
      accuracy: 'Accuracy',
      speed: 'Images per second',
      lr: 'Learning rate',
      train: 'train',
      evaluation: 'test',
      value: 'value',
      step: 'Step',
      smoothing: 'Smoothing',
      log: 'Log scale',
      reset: 'Reset zoom',
      hint: 'Drag to zoom, double-click to reset. With the keyboard: arrow keys read values.',
      at: (step: string, epoch: number | null) => (epoch ? `step ${step}, epoch ${epoch}` : `step ${step}`),
      waiting: 'The curve starts with the first step.',
      none: 'No metrics are kept for this job.',
      aria: (name: string, summary: string) => `${name} by step. ${summary}`,
      latest: (series: string, value: string) => `${series} ${value}`,
    },
    epochs: 'Epochs',
    epochColumns: {
      epoch: 'Epoch',
      loss: 'Train loss',
      accuracy: 'Train acc.',
      evalLoss: 'Test loss',
      evalAccuracy: 'Test acc.',
      speed: 'Images/s',
    },
    noEpochs: 'The first epoch is still running.',
    logs: 'Logs',
    noLogs: 'Nothing logged yet.',
    follow: 'Follow',
    searchLogs: 'Search',
    searchLogsLabel: 'Search the log',
    logCount: (count: number) => plural(count, 'line', 'lines'),
    logDropped: (count: number) => `${plural(count, 'older line is', 'older lines are')} not shown`,
    spec: 'Spec',
    copySpec: 'Copy',
    telemetryTitle: 'The curves could not be loaded',
  },

  submit: {
    title: 'New job',
    lead: 'Start from an example or paste your own spec. It is checked as you type.',
    examples: 'Examples',
    examplesNone: 'The gateway offers no examples. Paste a spec instead.',
    replaceQuestion: 'Replace what you have written?',
    replaceText: 'The text in the editor differs from every example. It will be replaced.',
    replace: 'Replace',
    keep: 'Keep mine',
    layers: (count: number) => plural(count, 'layer', 'layers'),
    epochs: (count: number) => plural(count, 'epoch', 'epochs'),
    spec: 'Job spec',
    editorLabel: 'Job spec, JSON',
    editorPlaceholder: 'Paste a job spec here, or pick an example above.',
    editorHelp: 'Escape, then Tab leaves the editor. Ctrl-Enter submits.',
    format: 'Format',
    loadingEditor: 'Opening the editor…',
    editorFailed: 'The editor could not be loaded.',
    place: (line: number, column: number) => `Line ${line}, column ${column}`,
    go: 'Show',
    checks: 'Before it starts',
    checking: 'Checking…',
    valid: 'Ready to train',
    faulty: 'Needs a correction',
    empty: 'Pick an example or paste a spec.',
    parameters: 'Parameters',
    memory: 'Training memory',
    work: 'Work in all',
    workDetail: (perImage: string, images: string) => `${perImage} × ${images} images`,
    steps: 'Steps',
    stepsDetail: (epochs: number, batch: number) =>
      `${plural(epochs, 'epoch', 'epochs')} of batches of ${batch}`,
    runTime: 'Run time',
    runTimeUnknown: 'Not known: no job has run on a node that fits yet',
    knownBy: (measured: number, benchmarked: number, fit: number) => {
      const by = [
        measured ? `past jobs on ${measured}` : '',
        benchmarked ? `${plural(benchmarked, 'benchmark', 'benchmarks')}` : '',
      ].filter(Boolean);
      return `from ${by.join(' and ')} of ${fit} ${fit === 1 ? 'node that fits' : 'nodes that fit'}`;
    },
    price: 'Price',
    overBudget: (budget: string) => `May need more than the budget of ${budget}.`,
    start: 'Start',
    startNow: 'At once',
    startIn: (time: string) => `In about ${time}`,
    startUnknown: 'Not known',
    cost: 'Cost',
    holds: (budget: string) => `At most ${budget}`,
    holdsDetail: 'Held at the start, the unused part comes back.',
    defaultBudget: 'the default budget',
    lasts: (time: string, price: string) => `Lasts ${time} at ${price} an hour.`,
    available: (amount: string) => `${amount} available`,
    tooLittle: (amount: string) => `Only ${amount} available: the job would be refused.`,
    nodes: 'Nodes',
    nodesFree: (free: number, online: number) => `${free} of ${online} free`,
    nodesBusy: (online: number) =>
      `${online === 1 ? 'The one node' : `All ${online} nodes`} busy: waits in line`,
    nodesNone: 'None online: waits for one',
    table: 'Shapes, layer by layer',
    columns: { layer: 'Layer', shape: 'Output', parameters: 'Parameters' },
    send: 'Submit job',
    sending: 'Submitting…',
    datasetMissing: (name: string) => `${name} is not on the gateway yet.`,
    parse: parseSentence,
  },

  models: {
    title: 'Models',
    lead: 'What your finished jobs have made. Private to your account.',
    columns: {
      name: 'Model',
      accuracy: 'Test accuracy',
      loss: 'Test loss',
      dataset: 'Data set',
      size: 'Size',
      sha256: 'SHA-256',
      created: 'Made',
      actions: 'Actions',
    },
    version: (version: number) => `v${version}`,
    job: 'Its job',
    download: 'Download',
    downloadNamed: (name: string, version: number) => `Download ${name} version ${version}`,
    emptyTitle: 'No models yet',
    emptyText: 'A job that completes leaves its model here, as safetensors with its SHA-256.',
    more: 'Load older models',
  },

  nodes: {
    title: 'Nodes',
    lead: 'Machines that train. Figures are those of the last heartbeat.',
    status: {
      online: 'Online',
      offline: 'Offline',
      draining: 'Draining',
      maintenance: 'Maintenance',
      proving: 'Benchmark runs',
      unproven: 'Unproven',
    } as Record<string, string>,
    flops: (flops: string) => `${flops} proved`,
    refuted: 'refuted',
    busy: 'Training',
    idle: 'Idle',
    cpu: 'CPU',
    memory: 'Memory',
    speed: 'Images/s',
    price: 'Price an hour',
    device: 'Devices',
    software: 'software',
    threads: (count: number) => plural(count, 'thread', 'threads'),
    cores: (count: number) => plural(count, 'core', 'cores'),
    heartbeat: (ago: string) => `heartbeat ${ago}`,
    version: (version: string) => `version ${version}`,
    summary: (online: number, total: number) => `${online} of ${total} online`,
    emptyTitle: 'No node has enrolled',
    emptyText: 'A worker appears here as soon as it has enrolled. Until then jobs wait.',
  },

  wallet: {
    title: 'Wallet',
    lead: 'A budget is held when a job is queued. What device time costs is paid, the rest comes back.',
    available: 'Available',
    held: 'Held for jobs',
    statement: 'Statement',
    columns: { at: 'When', what: 'What', job: 'Job', amount: 'Amount', balance: 'Balance' },
    kinds: {
      grant: 'Welcome grant',
      hold: 'Held for a job',
      release: 'Earned by a node',
      refund: 'Back from a job',
    } as Record<string, string>,
    emptyTitle: 'No entries yet',
    emptyText: 'Holds, payments and refunds of your jobs are listed here.',
    more: 'Load older entries',
  },

  notFound: {
    title: 'There is no such page',
    text: 'The address may be mistyped.',
    action: 'Go to your jobs',
  },

  common: { copy: 'Copy', close: 'Close', unknown: 'unknown' },
};

function parseSentence(error: ParseError): string {
  switch (error.code) {
    case 'empty':
      return 'The spec is empty.';
    case 'unexpected-end':
      return 'The text ends too early: a bracket, brace or quote is still open.';
    case 'bad-string':
      return 'A string ends at the line’s end without its closing quote.';
    case 'bad-escape':
      return 'After a backslash comes one of " \\ / b f n r t or uXXXX.';
    case 'bad-number':
      return 'This is not a number that JSON knows.';
    case 'duplicate-key':
      return `The name "${error.found}" is used twice in one object.`;
    case 'too-deep':
      return 'The nesting is too deep.';
    case 'trailing':
      return `“${error.found}” comes after the end of the spec.`;
    case 'unexpected':
      return unexpectedSentence(error.found);
  }
}

function unexpectedSentence(found: string): string {
  if (found === '}' || found === ']')
    return `“${found}” comes where a value or a name was expected. A comma too many?`;
  if (found === "'") return 'JSON wants double quotes.';
  if (found === '/') return 'JSON has no comments.';
  return `“${found}” was not expected here. A comma or a quote may be missing before it.`;
}
