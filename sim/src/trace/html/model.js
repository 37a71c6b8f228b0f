'use strict';
// The run, and what of it is shown. Nothing here touches the document.

const run = JSON.parse(document.getElementById('data').textContent);

const view = {
  hiddenLanes: new Set(),
  hiddenNames: new Set(),   // variants of messages
  hiddenSorts: new Set(),   // 'timer', 'disk'
  hiddenBands: new Set(),   // kinds of what is broken for a while
  quiet: false,             // whether quiet steps are shown
  ledOnly: false,           // whether only what led to the end is shown
  shown: new Set(),         // steps that are shown whatever the filters say
  chosen: null,
  query: '',
  hits: [],
};

const MESSAGE_KINDS = new Set(['message', 'network']);
const ROW = 9, LINE = 21, CHIPS = 22, MOST_LINES = 4, MOST_CHIP_LINES = 24, MOST_CHANGES = 4, GAP = 24, IDLE_NS = 2e8;

/// The word that a message is known by: the name that it is told with, such as `PREPARE_REQ`, or that of its kind.
function label(flight) {
  const word = /^[\p{Lu}\p{N}][\p{Lu}\p{N}_\-]+(?![\p{L}\p{N}])/u.exec(flight.text);
  return word ? word[0] : flight.name || flight.text.split(' ')[0];
}

const nodeName = lane => lane === null || lane === undefined ? '' : run.lanes[lane].name;

/// Each message variant: the word it is told with, and how many steps take or touch one.
const variants = new Map();
run.steps.forEach(step => {
  if (!MESSAGE_KINDS.has(step.kind) || !step.name) return;
  const known = variants.get(step.name) || { label: null, count: 0 };
  known.count += 1;
  if (step.flight !== null) known.label = label(run.flights[step.flight]);
  variants.set(step.name, known);
});
const quietCount = run.steps.filter(step => step.quiet).length;
/// What led to how the run ended, if something went wrong.
const led = run.steps.map((_, i) => i).filter(i => run.steps[i].led);
const clientLane = run.lanes.findIndex(lane => lane.client);
const hasClients = run.flights.some(f => f.from === clientLane || f.to === clientLane)
  || run.steps.some(step => step.lane === clientLane);

/// How many steps are left out of the page right before each.
const leftOutBefore = new Map(run.left_out ? run.left_out.gaps : []);

/// The number of each step, in the address, in the panel and in its row: its own in the whole run; or that of the step
/// of the path that it belongs to, with its place in that if it is not its first; `3.0` is a client's who asks in it.
const numbers = (() => {
  let out = 0, last = null, place = 0;
  return run.steps.map(({ turn, kind }, i) => {
    out += leftOutBefore.get(i) || 0;
    if (turn === null) return String(i + 1 + out);
    if (turn !== last) [last, place] = [turn, 0];
    if (kind === 'asked' && place === 0) return `${turn}.0`;
    place += 1;
    return place === 1 ? String(turn) : `${turn}.${place}`;
  });
})();
const stepOf = new Map(numbers.map((number, i) => [number, i]));
const stepName = i => numbers[i] === '0' ? 'before the first step' : `step ${numbers[i]}`;

const stepCount = run.left_out ? run.left_out.of : run.steps.length ? run.steps[run.steps.length - 1].turn ?? run.steps.length : 0;

/// The step before this one at the same node that tells its state.
const stateBefore = (() => {
  const last = new Map(), before = [];
  run.steps.forEach((step, i) => {
    before[i] = last.has(step.lane) ? last.get(step.lane) : null;
    if (step.state !== null && step.lane !== null) last.set(step.lane, i);
  });
  return before;
})();

/// What can be broken for a while, in the order of the filters.
const BAND_KINDS = { cut: 'cuts', clog: 'clogs', slow_link: 'slow links', pause: 'pauses', clock: 'wrong clocks',
  slow_disk: 'slow disks', full_disk: 'full disks' };
const bandOf = new Map(run.bands.map(band => [band.from, band]));

/// What is broken while a step happens.
const brokenAt = i => run.bands.filter(band => band.from < i && (band.to === null || i < band.to));

/// A band's words without its duration, which its length shows.
const bandLabel = band => band.text.replace(/ for [\d.]+ s\b/, '').replace(/,$/, '').replace(/^partition: /, '');

function passesFilters(i) {
  const step = run.steps[i];
  if (i === view.chosen || view.shown.has(i) || i === run.ending.step) return true;
  if (view.ledOnly && !step.led) return false;
  if (step.quiet && !view.quiet) return false;
  if (step.lane !== null && view.hiddenLanes.has(step.lane)) return false;
  if (MESSAGE_KINDS.has(step.kind) && view.hiddenNames.has(step.name)) return false;
  if (bandOf.has(i) && view.hiddenBands.has(bandOf.get(i).kind)) return false;
  if (step.kind === 'timer' && view.hiddenSorts.has('timer')) return false;
  if (step.kind === 'synced' && view.hiddenSorts.has('disk')) return false;
  return true;
}

const LOUD_ACTS = new Set(['append', 'send', 'reply', 'fact']);

/// What a step did, equal sends to several nodes as one.
function acts(step) {
  const out = [];
  for (const act of step.acts) {
    const twin = act.kind === 'send' && out.find(it => it.kind === 'send' && it.text === act.text);
    if (twin && act.flight !== null) twin.flights.push(act.flight);
    else out.push({ kind: act.kind, text: act.text, flights: act.flight === null ? [] : [act.flight] });
  }
  return out;
}

/// What of a step's row stands in chips, as plain text.
function chipTexts(step, i) {
  const texts = i === run.ending.step ? [`✗ ${run.ending.headline}`] : [];
  for (const act of acts(step)) {
    if (!LOUD_ACTS.has(act.kind)) continue;
    const to = act.flights.map(f => nodeName(run.flights[f].to)).join(', ');
    texts.push({ append: 'writes ', send: `→ ${to} `, reply: 'answers ', fact: '' }[act.kind] + act.text);
  }
  return texts;
}

/// What a step changed, as much of it as its row tells.
function changesOf(step) {
  const more = step.changes.length - MOST_CHANGES;
  return more > 1 ? [...step.changes.slice(0, MOST_CHANGES), `${more} more changes`] : step.changes;
}

// How many lines a step's words and chips take: set by whoever knows the fonts.
let chipLines = (texts, changes) => texts.length + changes.length ? 1 : 0;
let wordLines = () => 1;

/// The rows from top to bottom. A row is a step, or a gap where time passes or steps are folded away. Each
/// knows the last step up to its end.
let rows = [], rowOf = new Map(), height = 0;

function layOut() {
  rows = []; rowOf = new Map();
  let y = 8, folded = [], last = null, leftOut = 0;
  const gap = (next) => {
    const idle = last !== null && next !== null && run.steps[next].at_ns !== null
      ? run.steps[next].at_ns - run.steps[last].at_ns : 0;
    if (folded.length || idle > IDLE_NS || leftOut) {
      rows.push({ gap: true, folded, idle, leftOut, y, height: GAP, until: folded.length ? folded[folded.length - 1] : last ?? -1 });
      y += GAP;
    }
    folded = [];
    leftOut = 0;
  };
  run.steps.forEach((step, i) => {
    leftOut += leftOutBefore.get(i) || 0;
    if (!passesFilters(i)) { folded.push(i); return; }
    gap(i);
    const tall = ROW + LINE * wordLines(i) + CHIPS * Math.min(MOST_CHIP_LINES, chipLines(chipTexts(step, i), changesOf(step)));
    rowOf.set(i, rows.length);
    rows.push({ gap: false, step: i, y, height: tall, until: i });
    y += tall;
    last = i;
  });
  gap(null);
  height = y + 48;
  shownFlights = placeFlights();
}

/// The vertical middle of a step's mark; undefined if the step is not shown.
function middle(step) {
  const row = rowOf.get(step);
  return row === undefined ? undefined : rows[row].y + 15;
}

/// The first row that ends below this height.
function rowAt(y) {
  let low = 0, high = rows.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (rows[mid].y + rows[mid].height <= y) low = mid + 1; else high = mid;
  }
  return low;
}

// Flights by the stretch of the page that they cross, so that a window draws only its own.
const STRETCH = 600;
let shownFlights = [];

function placeFlights() {
  const stretches = [];
  run.flights.forEach((flight, i) => {
    if (view.hiddenLanes.has(flight.from) || view.hiddenLanes.has(flight.to)) return;
    const top = flight.sent === null ? undefined : middle(flight.sent);
    const ends = flight.received.map(middle).filter(y => y !== undefined);
    const bends = flight.touches.map(touch => [middle(touch.step), touch.what]).filter(([y]) => y !== undefined);
    if (top === undefined && !ends.length && !bends.length) return; // nothing of it is on the page
    // What arrives at a step that is folded away, or left out, is so too.
    if (flight.fate === 'arrived' && !flight.received.length) return;
    if (flight.received.length ? !ends.length : flightIsFolded(flight)) return;
    const begin = top === undefined ? Math.min(...ends, ...bends.map(([y]) => y)) - 24 : top;
    const end = Math.max(begin + 30, ...ends, ...bends.map(([y]) => y));
    const place = { i, top: begin, orphan: top === undefined, ends, bends };
    for (let s = Math.floor(begin / STRETCH); s <= Math.floor(end / STRETCH); s++) {
      (stretches[s] = stretches[s] || []).push(place);
    }
  });
  return stretches;
}

function flightIsFolded(flight) {
  if (view.hiddenNames.has(flight.name)) return true;
  if (flight.touches.length) return flight.touches.every(touch => middle(touch.step) === undefined);
  return flight.sent !== null && run.steps[flight.sent].quiet && !view.quiet;
}

function flightsBetween(top, bottom) {
  const found = new Map();
  for (let s = Math.max(0, Math.floor(top / STRETCH)); s <= Math.floor(bottom / STRETCH); s++) {
    for (const place of shownFlights[s] || []) found.set(place.i, place);
  }
  return [...found.values()];
}

/// The steps that led to this one, from the first: what was received was sent, what was synced was written.
function chain(step) {
  if (step === run.ending.step && led.length) return led;
  const steps = [step];
  for (let at = step, again = 0; steps.length < 40;) {
    const now = run.steps[at], cause = now.cause;
    if (cause === null || cause >= at) break;
    const before = run.steps[cause];
    // A timer that arms itself for ever explains nothing.
    again = now.kind === 'timer' && before.kind === 'timer' && before.name === now.name ? again + 1 : 0;
    if (now.kind === 'timer' && (before.quiet || again > 2)) break;
    steps.unshift(cause);
    at = cause;
  }
  return steps;
}

/// The changed lines between two states, with the lines that enclose them.
function difference(before, after) {
  const a = before === null ? [] : run.states[before], b = run.states[after];
  if (before === after) return [];
  let start = 0, endA = a.length, endB = b.length;
  while (start < endA && start < endB && a[start] === b[start]) start++;
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) { endA--; endB--; }
  const n = endA - start, m = endB - start, ops = [];
  for (let i = 0; i < start; i++) ops.push([' ', a[i]]);
  if (n * m > 4e6) {
    for (let i = 0; i < n; i++) ops.push(['-', a[start + i]]);
    for (let j = 0; j < m; j++) ops.push(['+', b[start + j]]);
  } else {
    const width = m + 1, longest = new Uint32Array((n + 1) * width);
    for (let i = n - 1; i >= 0; i--) for (let j = m - 1; j >= 0; j--) {
      longest[i * width + j] = a[start + i] === b[start + j] ? longest[(i + 1) * width + j + 1] + 1
        : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
    let i = 0, j = 0;
    while (i < n || j < m) {
      if (i < n && j < m && a[start + i] === b[start + j]) { ops.push([' ', a[start + i]]); i++; j++; }
      else if (i < n && (j === m || longest[(i + 1) * width + j] >= longest[i * width + j + 1])) ops.push(['-', a[start + i++]]);
      else ops.push(['+', b[start + j++]]);
    }
  }
  for (let i = endA; i < a.length; i++) ops.push([' ', a[i]]);
  return withEnclosing(ops);
}

function withEnclosing(ops) {
  const indent = op => /^ */.exec(run.lines[op[1]])[0].length;
  const keep = new Set();
  ops.forEach((op, i) => {
    if (op[0] === ' ') return;
    keep.add(i);
    let depth = indent(op);
    for (let up = i - 1; up >= 0 && depth > 0; up--) {
      if (indent(ops[up]) < depth && !/^\s*[\])}]/.test(run.lines[ops[up][1]])) { keep.add(up); depth = indent(ops[up]); }
    }
  });
  const out = [];
  let skipped = false;
  ops.forEach((op, i) => {
    if (keep.has(i)) {
      if (skipped && out.length) out.push(['…', null]);
      out.push([op[0], run.lines[op[1]]]);
      skipped = false;
    } else if (!/^\s*[\])}],?$/.test(run.lines[op[1]])) skipped = true;
  });
  return out;
}

/// All that can be searched about a step.
let haystack = null;
function textOf(i) {
  haystack = haystack || run.steps.map(step =>
    [nodeName(step.lane), step.kind, step.name, step.text, ...step.acts.map(act => act.text), ...step.changes].join('\n').toLowerCase());
  return haystack[i];
}

function search(query) {
  view.query = query.trim();
  const wanted = view.query.toLowerCase();
  view.hits = wanted ? run.steps.map((_, i) => i).filter(i => textOf(i).includes(wanted)) : [];
}

function seconds(ns) { return (ns / 1e9).toFixed(6); }

function duration(ns) {
  if (ns < 1e6) return `${(ns / 1e3).toFixed(0)} µs`;
  if (ns < 1e9) return `${(ns / 1e6).toFixed(ns < 1e7 ? 1 : 0)} ms`;
  return `${(ns / 1e9).toFixed(ns < 1e10 ? 2 : 1)} s`;
}

/// How long a flight took to this step, in words.
function travelled(flight, step) {
  const from = flight.sent === null ? null : run.steps[flight.sent].at_ns, to = run.steps[step].at_ns;
  return from === null || to === null ? '' : duration(to - from);
}
