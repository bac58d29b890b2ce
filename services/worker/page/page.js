"use strict";
// The worker's own page: asks /api/status every two seconds, keeps six minutes of samples, draws them.
// Text from outside becomes text alone (textContent), never markup.

const EVERY_MS = 2000;
const SPAN_MS = 360000;
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);

function el(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined && text !== null) made.textContent = text;
  return made;
}

// ---- numbers as text ----

const known = (x) => typeof x === "number" && Number.isFinite(x);

function bytes(n) {
  if (!known(n)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return `${i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

const rate = (n) => (known(n) ? `${bytes(n)}/s` : "–");
const percent = (n) => (known(n) ? `${Math.round(n)} %` : "–");
const watts = (n) => (known(n) ? `${Math.round(n)} W` : "–");
const part = (n) => (known(n) ? `${(100 * n).toFixed(1)} %` : "–");

function count(n) {
  if (!known(n)) return "–";
  return n >= 100 || Number.isInteger(n) ? Math.round(n).toLocaleString("en") : n.toPrecision(3);
}

function loss(n) {
  if (!known(n)) return "–";
  return n !== 0 && (Math.abs(n) < 0.001 || Math.abs(n) >= 10000) ? n.toExponential(2) : n.toFixed(4);
}

function duration(ms) {
  if (!known(ms) || ms < 0) return "–";
  const s = Math.round(ms / 1000);
  const two = (large, word, small, smallWord) => `${large} ${word}${small ? ` ${small} ${smallWord}` : ""}`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return two(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h");
}

function clock(text) {
  if (!text) return "–";
  const at = new Date(text);
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString()} ${time}`;
}

// ---- the state ----

const LOOKS = {
  free: "good",
  running: "busy",
  starting: "wait",
  draining: "wait",
  drained: "wait",
  maintenance: "wait",
  proving: "wait",
  stopping: "wait",
  unproven: "bad",
  closed: "bad",
  away: "bad",
};

function showState(node) {
  const state = $("state");
  if (state.textContent !== node.state) state.textContent = node.state;
  state.className = `state ${LOOKS[node.state] || ""}`;
  const closed = node.closed;
  const words = [node.why];
  if (closed) {
    if (closed.by) words.push(closed.by === "node" ? "ordered here" : "ordered by an operator of the platform");
    if (closed.reason) words.push(`“${closed.reason}”`);
    if (closed.since) words.push(`since ${clock(closed.since)}`);
    if (closed.until) words.push(`until ${clock(closed.until)}`);
  }
  $("why").textContent = words.filter(Boolean).join(" · ");
  $("name").textContent = node.name;
  document.title = `${node.state} · ${node.name}`;
}

// ---- work ----

function fact(list, name, value, className) {
  if (value === null || value === undefined) return;
  list.append(el("dt", "", name), el("dd", className || "", value));
}

function smallFact(list, name, value) {
  const pair = el("div");
  pair.append(el("dt", "", name), el("dd", "", value));
  list.append(pair);
}

function slotCard(slot, now, several) {
  const card = el("article", "card");
  const job = slot.job;
  const head = el("div", "head");
  head.append(el("h3", "", job ? job.name || "a job without a name" : "Waits for a job"));
  head.append(el("span", "quiet", several ? slot.device || `slot ${slot.index}` : job ? job.device || "" : ""));
  card.append(head);
  if (!job) return card;
  card.append(el("p", "quiet mono", job.id));
  const progress = el("progress", "progress");
  progress.max = job.total_steps || 1;
  progress.setAttribute("aria-label", "steps done");
  if (job.phase === "training") progress.value = job.step || 0;
  card.append(progress);
  const facts = el("dl", "facts small");
  const since = Date.parse(job.training_since || job.began_at);
  if (job.phase === "preparing") {
    smallFact(facts, "Phase", "preparing");
  } else {
    smallFact(facts, "Epoch", job.epochs ? `${job.epoch || 0} of ${job.epochs}` : "–");
    smallFact(facts, "Step", job.total_steps ? `${count(job.step || 0)} of ${count(job.total_steps)}` : "–");
    smallFact(facts, "Loss", loss(job.loss));
    smallFact(facts, "Accuracy", part(job.accuracy));
    smallFact(facts, "Images a second", count(job.images_per_second));
    if (known(job.test_accuracy)) smallFact(facts, "Test accuracy", part(job.test_accuracy));
  }
  smallFact(facts, "Began at", clock(job.began_at));
  smallFact(facts, job.phase === "training" ? "Trains for" : "Prepared for", duration(now - since));
  card.append(facts);
  return card;
}

function showSlots(status, now) {
  const several = status.slots.length > 1;
  $("slots").replaceChildren(...status.slots.map((slot) => slotCard(slot, now, several)));
}

// ---- the machine ----

const samples = []; // {at, cpu_percent, …}, by time

function keep(sample) {
  const last = samples[samples.length - 1];
  if (last && sample.at <= last.at) return;
  samples.push(sample);
  while (samples.length && samples[0].at < sample.at - SPAN_MS) samples.shift();
}

function takeHistory(history) {
  samples.length = 0;
  for (const row of history.rows) {
    const sample = {};
    history.columns.forEach((name, i) => {
      sample[name === "at_ms" ? "at" : name] = row[i];
    });
    keep(sample);
  }
}

function path(name, top, now, className) {
  const line = document.createElementNS(SVG, "path");
  let d = "";
  let pen = "M";
  for (const sample of samples) {
    const y = sample[name];
    if (!known(y)) {
      pen = "M";
      continue;
    }
    const x = 360 * (1 - (now - sample.at) / SPAN_MS);
    d += `${pen}${x.toFixed(1)} ${(42 - 40 * Math.min(y / top, 1)).toFixed(1)}`;
    pen = "L";
  }
  line.setAttribute("d", d);
  if (className) line.setAttribute("class", className);
  return line;
}

const most = (...names) =>
  samples.reduce((top, sample) => names.reduce((most, name) => Math.max(most, sample[name] || 0), top), 0) * 1.1 || 1;

function tile(title, value, more, curves, top, now) {
  const card = el("article", "card tile");
  const head = el("div", "head");
  head.append(el("h3", "", title), el("span", "value", value));
  const line = el("p", "more");
  for (const piece of more) line.append(typeof piece === "string" ? piece : el("span", piece.className, piece.text));
  line.title = line.textContent;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 360 44");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "curve");
  svg.setAttribute("aria-hidden", "true");
  curves.forEach((name, i) => svg.append(path(name, top, now, i ? "second" : "")));
  card.append(head, line, svg);
  return card;
}

function twoRates(title, inWord, inName, outWord, outName, machine, now, more) {
  const both = [{ className: "first-ink", text: `${inWord} ${rate(machine[inName])}` },
    { className: "second-ink", text: `${outWord} ${rate(machine[outName])}` }];
  const sum = (machine[inName] || 0) + (machine[outName] || 0);
  return tile(title, more || rate(sum), both, [inName, outName], most(inName, outName), now);
}

function gpuTiles(machine, now) {
  const gpus = machine.gpus || [];
  if (!gpus.length) return [];
  const memory = gpus.reduce((sum, gpu) => sum + (gpu.memory_used_bytes || 0), 0);
  const total = gpus.reduce((sum, gpu) => sum + (gpu.memory_total_bytes || 0), 0);
  const warm = gpus.filter((gpu) => known(gpu.temperature_celsius)).map((gpu) => `${Math.round(gpu.temperature_celsius)} °C`);
  const last = samples[samples.length - 1] || {};
  const names = [...new Set(gpus.map((gpu) => gpu.name))].join(", ");
  const tiles = [];
  if (known(last.gpu_busy_percent))
    tiles.push(tile(gpus.length > 1 ? `${gpus.length} GPUs` : "GPU", percent(last.gpu_busy_percent),
      [[names, ...warm].join(" · ")], ["gpu_busy_percent"], 100, now));
  tiles.push(tile("GPU memory", bytes(memory), [`of ${bytes(total)}`, known(last.gpu_busy_percent) ? "" : ` · ${names}`],
    ["gpu_memory_used_bytes"], total || 1, now));
  if (known(last.gpu_power_watts))
    tiles.push(tile("GPU power", watts(last.gpu_power_watts), [], ["gpu_power_watts"], most("gpu_power_watts"), now));
  return tiles;
}

function showMachine(status, now) {
  const machine = status.machine;
  if (!machine) {
    $("machine").replaceChildren(el("p", "card quiet", "The machine's numbers are not there yet."));
    return;
  }
  const speed = status.slots.reduce((sum, slot) => sum + ((slot.job && slot.job.images_per_second) || 0), 0);
  const tiles = [
    tile("Processors", percent(machine.cpu_percent), [`load ${known(machine.load_average) ? machine.load_average.toFixed(2) : "–"}`],
      ["cpu_percent"], 100, now),
    tile("Memory", bytes(machine.memory_used_bytes), [`of ${bytes(machine.memory_total_bytes)}`], ["memory_used_bytes"],
      machine.memory_total_bytes || 1, now),
    ...gpuTiles(machine, now),
    twoRates("Network", "in", "network_receive_bytes_per_second", "out", "network_send_bytes_per_second", machine, now),
    twoRates("Disk free", "read", "disk_read_bytes_per_second", "write", "disk_write_bytes_per_second", machine, now,
      bytes(machine.disk_free_bytes)),
  ];
  if (known(machine.power_watts))
    tiles.push(tile("Power", watts(machine.power_watts), [], ["power_watts"], most("power_watts"), now));
  tiles.push(tile("Training", `${count(speed)}/s`, ["images, all slots"], ["images_per_second"], most("images_per_second"), now));
  $("machine").replaceChildren(...tiles);
}

// ---- what was ----

const OUTCOMES = { completed: "good", failed: "bad", lost: "bad", "handed-back": "wait", cancelled: "" };

function showRecent(jobs) {
  if (!jobs.length) {
    $("recent").replaceChildren(el("p", "quiet", "None yet."));
    return;
  }
  $("recent").replaceChildren(...jobs.map((job) => {
    const row = el("div", "row");
    row.append(el("span", `state ${OUTCOMES[job.outcome] || ""}`, job.outcome));
    row.append(el("h3", "", job.name || job.id));
    row.append(el("span", "quiet number when",
      `${clock(job.ended_at)}, took ${duration(Date.parse(job.ended_at) - Date.parse(job.began_at))}`));
    const detail = [];
    if (job.why) detail.push(job.why);
    if (job.epochs) detail.push(`epoch ${job.epoch || 0} of ${job.epochs}`);
    if (known(job.loss)) detail.push(`loss ${loss(job.loss)}`);
    if (known(job.test_accuracy)) detail.push(`test accuracy ${part(job.test_accuracy)}`);
    if (detail.length) row.append(el("p", "detail", detail.join(" · ")));
    return row;
  }));
}

// ---- the node ----

const WALLS = { bubblewrap: "bubblewrap (namespaces of its own)", landlock: "Landlock (files alone)", none: "none" };

function showNode(status, now) {
  const node = status.node;
  const facts = $("node");
  facts.replaceChildren();
  fact(facts, "Id", node.id, "mono");
  fact(facts, "Platform", node.connected ? "connected" : "cannot be reached");
  status.devices.forEach((device, i) => {
    const memory = device.memory_bytes ? `, ${bytes(device.memory_bytes)}` : "";
    fact(facts, i ? "" : "Devices", `${device.name} (${device.backend}${device.is_software ? ", software" : ""}${memory})`);
  });
  fact(facts, "Price", `${node.price_per_hour} an hour`);
  fact(facts, "Region", node.region);
  fact(facts, "Labels", node.labels);
  fact(facts, "Runs for", duration(now - Date.parse(node.started_at)));
  fact(facts, "Version", node.version);

  const limits = status.limits;
  const sandbox = status.sandbox;
  const list = $("limits");
  list.replaceChildren();
  fact(list, "Jobs at once", String(limits.slots));
  fact(list, "Memory a job", limits.memory_bytes ? bytes(limits.memory_bytes) : "no limit");
  fact(list, "Disk a job", limits.disk_bytes ? bytes(limits.disk_bytes) : "no limit");
  fact(list, "Time a job", limits.run_ms ? duration(limits.run_ms) : "no limit");
  fact(list, "Silence", limits.silence_ms ? `ended after ${duration(limits.silence_ms)} without a word` : "no limit");
  fact(list, "Sandbox", WALLS[sandbox.walls] || sandbox.walls);
  fact(list, "System calls", sandbox.system_calls);
  fact(list, "Limits held by", sandbox.limits === "cgroup" ? "a control group" : "rlimits and the watch");
  fact(list, "Sandbox note", sandbox.reason);
  fact(list, "Artifacts", `${status.cache.used_bytes === null ? "–" : bytes(status.cache.used_bytes)} of ${bytes(status.cache.limit_bytes)}`);
}

// ---- drain ----

let ordering = false;

function showControl(status) {
  const node = status.node;
  const closed = node.closed;
  const drained = Boolean(closed && closed.what === "draining");
  const theirs = drained && closed.by !== "node";
  $("control").hidden = !status.controls;
  const busy = status.slots.some((slot) => slot.job);
  $("order-text").textContent = theirs
    ? "An operator of the platform drains this node; it is theirs to open."
    : drained
      ? "This node takes nothing new. Opening it lets the platform place jobs here again."
      : `A drained node takes nothing new${busy ? "; what runs is trained to its end" : ""}. It stays so when the worker starts anew.`;
  $("order").textContent = drained ? "Take work again" : "Drain";
  $("order").disabled = ordering || theirs || !node.connected || node.state === "starting" || node.state === "stopping";
  $("reason").hidden = $("reason-label").hidden = drained;
  $("drain").dataset.drained = drained ? "yes" : "no";
}

async function call(method, url, headers, body) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), 15000);
  try {
    const answer = await fetch(url, { method, headers, body, signal: stop.signal, cache: "no-store", redirect: "error" });
    const json = await answer.json();
    if (!answer.ok) throw new Error(json.detail || `the worker answered ${answer.status}`);
    return json;
  } finally {
    clearTimeout(timer);
  }
}

async function order(event) {
  event.preventDefault();
  if (ordering) return;
  const open = $("drain").dataset.drained === "yes";
  ordering = true;
  $("order").disabled = true;
  $("order-answer").textContent = open ? "Opening …" : "Draining …";
  try {
    const { token } = await call("GET", "/api/session");
    const reason = $("reason").value.trim();
    const body = JSON.stringify(open || !reason ? {} : { reason });
    const headers = { "X-Page-Token": token, "Content-Type": "application/json" };
    const status = await call("POST", open ? "/api/undrain" : "/api/drain", headers, body);
    ordering = false;
    $("order-answer").textContent = open ? "The registry has opened this node." : "The registry has taken the drain.";
    $("reason").value = "";
    show(status);
  } catch (error) {
    ordering = false;
    $("order").disabled = false;
    $("order-answer").textContent = `Not done: ${error.message}`;
  }
}

// ---- life ----

function show(status) {
  const now = Date.parse(status.at);
  const machine = status.machine;
  if (machine) {
    const gpus = machine.gpus || [];
    const sum = (name) => {
      const values = gpus.map((gpu) => gpu[name]).filter(known);
      return values.length ? values.reduce((a, b) => a + b, 0) : null;
    };
    const busy = sum("busy_percent");
    keep({
      ...machine,
      at: now,
      gpu_busy_percent: busy === null ? null : busy / gpus.filter((gpu) => known(gpu.busy_percent)).length,
      gpu_memory_used_bytes: sum("memory_used_bytes"),
      gpu_power_watts: sum("power_watts"),
      images_per_second: status.slots.reduce((all, slot) => all + ((slot.job && slot.job.images_per_second) || 0), 0),
    });
  }
  showState(status.node);
  showSlots(status, now);
  showControl(status);
  showMachine(status, now);
  showRecent(status.recent);
  showNode(status, now);
  $("age").textContent = `Read ${new Date(status.at).toLocaleTimeString()}; the registry last spoke of this node ${clock(status.node.told_at)}.`;
}

let started = false;

async function look() {
  if (!document.hidden) {
    try {
      if (!started) takeHistory(await call("GET", "/api/history"));
      show(await call("GET", "/api/status"));
      started = true;
      $("silence").hidden = true;
    } catch (error) {
      started = false;
      $("silence").textContent = `The worker does not answer (${error.message}). What stands below is old; trying again.`;
      $("silence").hidden = false;
    }
  }
  setTimeout(look, EVERY_MS);
}

$("drain").addEventListener("submit", order);
document.addEventListener("visibilitychange", () => {
  started = started && !document.hidden; // the gap is filled from the worker's own history
});
look();
