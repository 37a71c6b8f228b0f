// The banner, the filters, the panel, the keyboard.

const panel = document.getElementById('panel'), help = document.getElementById('help');

function showBanner() {
  const { ending } = run, banner = document.getElementById('banner');
  banner.className = ending.passed ? 'good' : 'bad';
  banner.innerHTML = `<div><h1>${esc(run.title)} <span class="verdict">${ending.passed ? '✓' : '✗'} ${esc(ending.headline)}</span></h1>`
    + (ending.why ? `<p class="why">${esc(ending.why)}</p>` : '')
    + `<p class="about">${esc(run.subtitle)}</p>${tellLeftOut()}</div><div class="side">`
    + (run.replay ? `<div class="replay"><code>${esc(run.replay)}</code><button id="copy">copy</button></div>` : '')
    + `<div class="details">${run.details.map(([name, value]) => `<span>${esc(name)} <span class="mono">${esc(value)}</span></span>`).join('')}`
    + `${run.plan ? '<span><button class="goto" data-do="plan">the plan</button></span>' : ''}</div></div>`;
  const copy = document.getElementById('copy');
  if (copy) copy.onclick = () => copyText(run.replay).then(done => { copy.textContent = done ? 'copied' : 'select it'; });
}

/// A page that does not show everything says so.
function tellLeftOut() {
  const out = run.left_out, many = n => n.toLocaleString('en');
  if (!out) return '';
  return `<p class="leftout">This page shows ${many(run.steps.length)} of ${many(out.of)} steps. Left out are ${many(out.quiet)} quiet ones`
    + `${out.steps > out.quiet ? ` and ${many(out.steps - out.quiet)} others, those that are far from what broke` : ''}; nothing that led to how it ended is.`
    + ` <code>--html-all</code> makes a page of all, in some ${many(Math.ceil(out.bytes / 1e6))} MB.</p>`;
}

/// Copies, also where a page from a file may not use the clipboard.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement('textarea');
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    return done;
  }
}

function toggle(pressed, data, content, title) {
  return `<button class="toggle" aria-pressed="${pressed}" data-toggle="${esc(data)}"${title ? ` title="${esc(title)}"` : ''}>${content}</button>`;
}

function showFilters() {
  const lanes = run.lanes.map((lane, i) => (!lane.client || hasClients)
    ? toggle(!view.hiddenLanes.has(i), `lane ${i}`, `<span class="dot" style="--c:${colour(i)}"></span>${esc(lane.name)}`) : '').join('');
  const count = n => `<span class="count">${n}</span>`;
  const kinds = [...variants].map(([name, { label, count: n }]) =>
    toggle(!view.hiddenNames.has(name), `name ${name}`, esc(label || name) + count(n))).join('');
  const broken = Object.entries(BAND_KINDS).map(([kind, name]) => {
    const n = run.bands.filter(band => band.kind === kind).length;
    return n ? toggle(!view.hiddenBands.has(kind), `band ${kind}`, name + count(n)) : '';
  }).join('');
  const timers = run.steps.filter(step => step.kind === 'timer').length, disk = run.steps.filter(step => step.kind === 'synced').length;
  document.getElementById('filters').innerHTML =
    `<div class="group"><span class="name">Nodes</span>${lanes}</div>`
    + (kinds ? `<div class="group"><span class="name">Messages</span>${kinds}</div>` : '')
    + (broken ? `<div class="group"><span class="name">Broken</span>${broken}</div>` : '')
    + `<div class="group"><span class="name">Also</span>${toggle(!view.hiddenSorts.has('timer'), 'sort timer', `timers${count(timers)}`)}`
    + `${toggle(!view.hiddenSorts.has('disk'), 'sort disk', `disk${count(disk)}`)}`
    + (led.length ? toggle(view.ledOnly, 'led', `only what led to it${count(led.length)}`, 'Only the steps that led to how the run ended') : '')
    + `${toggle(view.quiet, 'quiet', `quiet steps${count(quietCount)}`, 'Periodic timers and other things that every run is full of, where nothing comes of them')}</div>`;
  showHits();
}

function showHits() {
  const place = view.hits.indexOf(view.chosen), hits = document.querySelector('#find .hits');
  hits.textContent = !view.query ? '' : !view.hits.length ? 'no match' : place < 0 ? `${view.hits.length} found` : `${place + 1} of ${view.hits.length}`;
}

/// Lays everything out anew; the chosen step, or what is at the top, stays where it is on the screen.
function refresh() {
  const anchorStep = view.chosen !== null && rowOf.has(view.chosen) ? view.chosen
    : (rows.slice(rowAt(scroller.scrollTop)).find(row => !row.gap) || {}).step;
  const offset = anchorStep === undefined ? 0 : middle(anchorStep) - scroller.scrollTop;
  placeLanes();
  layOut();
  canvas.style.height = `${height}px`;
  if (anchorStep !== undefined) scroller.scrollTop = below(anchorStep) - offset;
  draw(true);
  drawOverview();
}

function choose(step, how) {
  if (step === null || step === undefined || !run.steps[step]) return;
  view.chosen = step;
  if (!rowOf.has(step)) { view.shown.add(step); layOut(); canvas.style.height = `${height}px`; }
  const row = rows[rowOf.get(step)], room = scroller.clientHeight;
  if (how === 'centre' || row.y < scroller.scrollTop - room || row.y > scroller.scrollTop + 2 * room) {
    scroller.scrollTop = row.y - room * 0.45;
  } else if (row.y < scroller.scrollTop + 60) scroller.scrollTop = row.y - 60;
  else if (row.y + row.height > scroller.scrollTop + room - 80) scroller.scrollTop = row.y + row.height - room + 80;
  draw(true);
  drawOverview();
  showPanel();
  showHits();
  const hash = `#step-${numbers[step]}`;
  if (location.hash !== hash) history.replaceState(null, '', hash);
}

/// No step is chosen: the panel tells of the whole run.
function showPlan() {
  view.chosen = null;
  draw(true);
  drawOverview();
  showPanel();
  showHits();
  history.replaceState(null, '', '#');
}

/// The step that the keyboard goes on from, if none is chosen: the first in sight.
function neighbour(by) {
  const at = view.chosen === null ? rowAt(scroller.scrollTop) - by : rowOf.get(view.chosen);
  for (let r = at + by; r >= 0 && r < rows.length; r += by) if (!rows[r].gap) return rows[r].step;
  return null;
}

function atSameNode(by) {
  const lane = view.chosen === null ? null : run.steps[view.chosen].lane;
  for (let r = (rowOf.get(view.chosen) ?? 0) + by; lane !== null && r >= 0 && r < rows.length; r += by) {
    if (!rows[r].gap && run.steps[rows[r].step].lane === lane) return rows[r].step;
  }
  return null;
}

function nextHit(by) {
  if (!view.hits.length) return;
  const here = view.chosen === null ? -1 : view.chosen;
  const next = by > 0 ? view.hits.find(hit => hit > here) ?? view.hits[0]
    : [...view.hits].reverse().find(hit => hit < here) ?? view.hits[view.hits.length - 1];
  choose(next, 'centre');
}

// The panel.

const MOST_CAUSES = 12;
const goto = (step, text) => `<button class="goto" data-go="${step}">${text || stepName(step)}</button>`;
const icon = (kind, paint) => `<svg viewBox="-8 -8 16 16">${actMark(kind, paint)}</svg>`;

function actMark(kind, paint) {
  switch (kind) {
    case 'append': return `<rect x="-3.5" y="-5.5" width="7" height="11" rx="1.5" fill="${paint}"/>`;
    case 'send': return `<path d="M-6 0h9" stroke="${paint}" stroke-width="1.6"/><path d="M6 0l-5-3.4v6.8z" fill="${paint}"/>`;
    case 'reply': return `<path d="M6 0h-9" stroke="${paint}" stroke-width="1.6"/><path d="M-6 0l5-3.4v6.8z" fill="${paint}"/>`;
    case 'fact': return `<rect x="-5.5" y="-4" width="11" height="8" rx="2" fill="none" stroke="${paint}" stroke-width="1.5"/>`;
    case 'arm': case 'disarm': return mark('timer', 0, 0, 'var(--faint)');
    default: return '<circle r="2.5" fill="var(--faint)"/>';
  }
}

function fateOf(flight) {
  const arrived = flight.received.map((step, n) => `${n ? 'and again ' : 'arrives '}${travelled(flight, step) && `after ${travelled(flight, step)}, `}${goto(step)}`);
  if (arrived.length) return arrived.join('; ');
  const last = flight.touches[flight.touches.length - 1], touched = last ? `, ${goto(last.step)}` : '';
  switch (flight.fate) {
    case 'lost': return `the network loses it${touched}`;
    case 'cut_off': return `a cut keeps it from passing${touched}`;
    case 'receiver_down': return 'lost: its receiver is down';
    case 'sender_down': return 'lost: its sender goes down first';
    case 'arrived': return 'it arrives at a step that is left out of this page';
    default: return 'it does not arrive before the run ends';
  }
}

function actItem(act, lane) {
  const paint = colour(lane), text = marked(act.text);
  const flights = act.flights.map(f => run.flights[f]);
  switch (act.kind) {
    case 'append': return `<li>${icon('append', paint)}writes <b>${text}</b> to its journal</li>`;
    case 'send': return `<li>${icon('send', paint)}sends <b>${text}</b>${flights.map(f => `<div class="soft">to ${who(f.to)}: ${fateOf(f)}</div>`).join('')}</li>`;
    case 'reply': return `<li>${icon('reply', paint)}answers the client: <b>${text}</b>${flights.map(f => `<div class="soft">${fateOf(f)}</div>`).join('')}</li>`;
    case 'fact': return `<li>${icon('fact', paint)}<b>${text}</b></li>`;
    case 'arm': return `<li class="minor">${icon('arm')}sets a timer: ${text}</li>`;
    case 'disarm': return `<li class="minor">${icon('arm')}cancels the timer: ${text}</li>`;
    default: return `<li class="minor">${icon('publish')}publishes ${text}</li>`;
  }
}

function showPanel() {
  if (view.chosen === null) {
    panel.innerHTML = '<h2>How to read this</h2><p>Each column is a node, and time goes down. Choose a step to see what it did, what led to it, and what it changed.</p>'
      + (run.ending.step === null ? '' : `<p>${goto(run.ending.step, 'Go to where it went wrong')} <kbd>e</kbd></p>`)
      + planList() + `<h3>The signs</h3>${legend()}`;
    panel.scrollTop = 0;
    return;
  }
  const i = view.chosen, step = run.steps[i], parts = [];
  parts.push(`<div class="where"><span>${stepName(i)}${step.turn === 0 ? '' : ` of ${stepCount}`}${step.at_ns === null ? '' : ` · ${seconds(step.at_ns)} s`}</span>`
    + `<span>${step.lane === null ? '' : `<button data-do="back" title="The step before at ${esc(nodeName(step.lane))} ([)">↑ ${esc(nodeName(step.lane))}</button><button data-do="on" title="The next step at ${esc(nodeName(step.lane))} (])">↓ ${esc(nodeName(step.lane))}</button>`}</span></div>`);
  parts.push(`<h2>${headline(i)}</h2>`);
  if (i === run.ending.step) {
    parts.push(`<div class="violated"><b>✗ ${esc(run.ending.headline)}</b>${run.ending.why ? `<br>${esc(run.ending.why)}` : ''}</div>`);
  }
  if (step.kind === 'network' && step.flight !== null) {
    const flight = run.flights[step.flight], last = flight.touches[flight.touches.length - 1].step === i;
    if (!last || !['lost', 'cut_off'].includes(flight.fate)) parts.push(`<p class="soft">The message: ${fateOf(flight)}.</p>`);
  }
  if (bandOf.has(i)) {
    const band = bandOf.get(i);
    if (band.links.length) parts.push(`<p>${tellLinks(band)}</p>`);
    if (step.at_ns === null) parts.push(`<p class="soft">It lasts ${band.to === null ? 'to the end' : goto(band.to, 'to the step after its end')}.</p>`);
    else parts.push(`<p class="soft">It lasts ${duration(band.for_ns)}${band.to === null ? ', longer than the run' : `: ${goto(band.to, 'to the step after its end')}`}.</p>`);
  }
  const done = acts(step).map(act => actItem(act, step.lane));
  const takes = ['boot', 'message', 'timer', 'request', 'durable', 'synced'].includes(step.kind);
  if (done.length) parts.push(`<h3>${step.kind === 'synced' ? 'What was waiting for the disk' : `What ${esc(nodeName(step.lane))} ${step.kind === 'crash' ? 'never comes to' : 'does'}`}</h3><ul class="acts">${done.join('')}</ul>`);
  else if (takes && step.kind !== 'synced') parts.push(`<p class="soft">${idleReason(i)}</p>`);
  const all = chain(i), causes = all.slice(-MOST_CAUSES), earlier = all.length - causes.length;
  if (causes.length > 1) {
    const more = all === led ? ` <button class="goto" data-toggle="led">${view.ledOnly ? 'show all steps' : `show only these ${led.length}`}</button>` : '';
    parts.push(`<h3>What led to it${more}</h3><ol class="chain">${earlier ? `<li><button class="soft" data-go="${all[0]}">… ${earlier} earlier ${earlier === 1 ? 'step' : 'steps'}</button></li>` : ''}${causes.map(c => `<li style="--c:${colour(run.steps[c].lane)}">`
      + (run.steps[c].at_ns === null ? `<span class="time">${numbers[c]}</span>` : `<span class="time">${seconds(run.steps[c].at_ns).slice(0, -3)}</span>`)
      + (c === i ? '<span class="here">this step</span>' : `<button data-go="${c}">${headline(c)}</button>`) + '</li>').join('')}</ol>`);
  }
  const broken = brokenAt(i);
  if (broken.length) {
    parts.push(`<h3>What is broken meanwhile</h3><ul class="broken">${broken.map(band => `<li>${bandIcon(band)}${goto(band.from, bandLabel(band))}`
      + `${band.to === null || run.steps[i].at_ns === null ? '' : ` <span class="soft">for another ${duration(run.steps[band.from].at_ns + band.for_ns - run.steps[i].at_ns)}</span>`}</li>`).join('')}</ul>`);
  }
  parts.push(stateChange(i));
  if (run.plan) parts.push(`<details><summary>The plan of this run</summary>${planList()}</details>`);
  parts.push(`<details><summary>How to read this</summary>${legend()}</details>`);
  panel.innerHTML = parts.join('');
  panel.scrollTop = 0;
}

/// What was to happen, and whether it did.
function planList() {
  if (!run.plan) return '';
  const item = it => {
    const time = it.at_ns === null ? '' : seconds(it.at_ns).slice(0, -3);
    const what = it.step === null ? `<span class="soft">${esc(it.what)}</span>` : `<button data-go="${it.step}">${esc(it.what)}</button>`;
    const notes = [it.when && esc(it.when), it.step === null && 'did not come to it'].filter(Boolean);
    return `<li class="${it.fault ? 'fault' : ''}${it.step !== null && it.step === view.chosen ? ' here' : ''}"><span class="time">${time}</span>`
      + `<span>${what}${notes.length ? `<span class="note">${notes.join('; ')}</span>` : ''}</span></li>`;
  };
  return '<h3>The plan: what was asked, and what was made to break</h3>'
    + (run.plan.links ? `<p class="soft">${esc(run.plan.links)}</p>` : '')
    + `<ol class="plan">${run.plan.items.map(item).join('')}</ol>`;
}

/// Which directions a band concerns, each pair once.
function tellLinks({ kind, links }) {
  const [one, both] = kind === 'cut' ? ['↛', '↮'] : ['→', '↔'];
  const has = (a, b) => links.some(([from, to]) => from === a && to === b);
  return links.filter(([a, b]) => !has(b, a) || a < b)
    .map(([a, b]) => `<span class="link">${who(a)} ${has(b, a) ? both : one} ${who(b)}</span>`).join(', ');
}

/// A band as a small sign.
function bandIcon(band) {
  if (band.lanes.length) return `<svg viewBox="0 0 24 16"><rect class="shade ${band.kind}" x="6" y="1" width="12" height="14" rx="4"/></svg>`;
  const both = band.links.some(([a, b]) => band.links.some(([c, d]) => a === d && b === c));
  return `<svg viewBox="0 0 24 16"><rect class="shade ${band.kind}" x="2" y="0" width="20" height="16"/>`
    + `${both ? `<line class="wall ${band.kind}" x1="6" x2="6" y1="0" y2="16"/>` : ''}<line class="wall ${band.kind}" x1="18" x2="18" y1="0" y2="16"/></svg>`;
}

function idleReason(i) {
  const step = run.steps[i];
  if (step.state !== null) return 'Nothing comes of it that others could see.';
  const next = run.steps.slice(i + 1, i + 20).find(other => other.lane === step.lane);
  return next && ['crash', 'stop'].includes(next.kind) ? 'It crashes before it does anything about it.' : 'The run ends before anything comes of it.';
}

function stateChange(i) {
  const step = run.steps[i];
  if (step.state === null) return '';
  const before = stateBefore[i], name = esc(nodeName(step.lane));
  const old = before === null ? null : run.steps[before].state;
  const whole = `<details><summary>All that ${name} knows after this step</summary><pre class="diff">${run.states[step.state].map(line => `<div>${esc(run.lines[line])}</div>`).join('')}</pre></details>`;
  const missing = [...leftOutBefore.keys()].some(at => at > (before ?? -1) && at <= i);
  if (before === null) return `<h3>What ${name} knows</h3><p class="soft">${missing ? 'What it did before is left out of this page.' : 'It has just started.'}</p>${whole}`;
  const changes = difference(old, step.state);
  const title = step.kind === 'boot' ? `What the crash changed in ${name}` : `What changes in ${name}`;
  if (!changes.length) return `<h3>${title}</h3><p class="soft">Nothing.</p>${whole}`;
  const classes = { '+': 'add', '-': 'del', '…': 'cut', ' ': '' };
  const lines = changes.map(([sign, text]) => `<div class="${classes[sign]}">${sign === '…' ? '  ⋯' : `${sign === '-' ? '−' : sign} ${esc(text)}`}</div>`);
  const since = missing ? `<p class="soft">Since ${goto(before)}: of the steps between, some are left out of this page.</p>` : '';
  return `<h3>${title}</h3>${since}<pre class="diff">${lines.join('')}</pre>${whole}`;
}

function legend() {
  const c = 'var(--n1)', item = (drawing, words) => `<svg viewBox="0 0 46 22">${drawing}</svg><span>${words}</span>`;
  const line = (dash, x2) => `<line x1="3" y1="7" x2="${x2}" y2="15" stroke="${c}" stroke-width="1.5"${dash ? ' stroke-dasharray="4 3"' : ''}/>`;
  return '<div class="legend">'
    + item(line(0, 36) + head(41, 16.2, .98, .2, c), 'a message, from the node that sends it to the one that gets it')
    + item(line(1, 26) + faultMark('lost', 28, 15), 'lost by the network')
    + item(line(1, 26) + faultMark('cut_off', 28, 15), 'stopped by a cut between the two')
    + item(line(1, 34) + faultMark('down', 36, 15), 'lost because one of the two is down')
    + item(line(1, 26) + `<circle cx="28" cy="15" r="4" fill="var(--paper)" stroke="${c}" stroke-width="1.5"/>`, 'it does not arrive before the run ends: it is still under way, or its connection is gone')
    + item(faultMark('held_back', 23, 11), 'held back, so that later ones overtake it')
    + item(faultMark('doubled', 23, 11), 'arrives twice')
    + item(mark('message', 23, 11, c), 'a node gets a message or a request')
    + item(mark('timer', 23, 11, c), 'a timer fires')
    + item(mark('message', 17, 11, c) + `<rect x="28" y="7" width="5" height="8" rx="1" fill="${c}"/>`, 'it writes a record; what it says next waits until that is on disk')
    + item(mark('synced', 23, 11, c), 'the record is on disk, and survives a crash')
    + item(mark('crash', 23, 11, c), 'a crash: all but the disk is forgotten')
    + item('<rect x="14" y="1" width="18" height="20" rx="4" fill="url(#hatch)"/>', 'the node is down')
    + item(mark('boot', 23, 11, c), 'it starts, from what its disk holds')
    + item('<line x1="2" x2="44" y1="11" y2="11" stroke="var(--fault)" stroke-width="1.5"/>', 'something happens to the whole system, such as a cut')
    + item(mark('message', 23, 11, c, true), 'here it went wrong')
    + (led.length ? item('<rect x="8" y="0" width="4" height="22" fill="var(--bad)" opacity=".55"/>', 'at the left of a step: it is part of what led to that') : '')
    + bandLegend(item)
    + '</div>';
}

/// The kinds of bands that this run has.
function bandLegend(item) {
  const has = kind => run.bands.some(band => band.kind === kind);
  const between = (kind, both) => `<rect class="shade ${kind}" x="4" y="0" width="38" height="22"/>`
    + `${both ? `<line class="wall ${kind}" x1="12" x2="12" y1="0" y2="22"/>` : ''}<line class="wall ${kind}" x1="34" x2="34" y1="0" y2="22"/>`;
  const around = kind => `<rect class="shade ${kind}" x="12" y="1" width="22" height="20" rx="6"/><line x1="23" x2="23" y1="0" y2="22" stroke="var(--n1)" stroke-width="1.5" opacity=".5"/>`;
  const drawings = {
    cut: item(between('cut'), 'a cut: from that side, nothing gets through the wall to the node behind it') + item(between('cut', true), 'the same in both directions'),
    clog: item(between('clog'), 'a clog: what comes from that side is held until its end'),
    slow_link: item(between('slow_link'), 'what comes from that side takes longer'),
    pause: item(around('pause'), 'the node stands still, and knows nothing of it'),
    clock: item(around('clock'), 'its clock is too fast or too slow'),
    slow_disk: item(around('slow_disk'), 'its disk is slow'),
    full_disk: item(around('full_disk'), 'its disk is full'),
  };
  return Object.keys(BAND_KINDS).filter(has).map(kind => drawings[kind]).join('');
}

function showHelp() {
  const keys = [['j ↓ / k ↑', 'next, previous step'], ['] / [', 'next, previous step of the same node'], ['c', 'the step that caused this one'],
    ['Home / End', 'first, last step'], ['e', 'where it went wrong'], ['/', 'search'], ['n / N', 'next, previous match'],
    ['q', 'show or hide quiet steps'], ['p', 'the plan of this run'], ['Esc', 'close, clear'], ['?', 'this']];
  help.innerHTML = `<div class="columns"><div><h2>Keys</h2><dl>${keys.map(([key, what]) => `<dt>${key.split(' ').map(k => k === '/' && key !== '/' ? '/' : `<kbd>${k}</kbd>`).join(' ')}</dt><dd>${what}</dd>`).join('')}</dl>`
    + '<p class="soft">The address of this page names the chosen step: copy it to show somebody where to look. Quiet stretches are folded; a dotted line means that time passes.</p></div>'
    + `<div><h2>How to read this</h2>${legend()}</div></div>`;
  if (!help.open) help.showModal();
}

// What one can do.

function flip(set, value) { if (!set.delete(value)) set.add(value); }

document.addEventListener('click', event => {
  const at = name => event.target.closest(`[data-${name}]`);
  let it;
  if ((it = at('go'))) choose(Number(it.dataset.go));
  else if ((it = at('unfold'))) { rows[Number(it.dataset.unfold)].folded.forEach(i => view.shown.add(i)); refresh(); }
  else if ((it = at('step'))) { if (!String(getSelection())) choose(Number(it.dataset.step)); }
  else if ((it = at('do'))) ({ help: showHelp, plan: showPlan, back: () => choose(atSameNode(-1)), on: () => choose(atSameNode(1)) })[it.dataset.do]();
  else if ((it = at('toggle'))) {
    const [what, value] = it.dataset.toggle.split(/ (.*)/);
    if (what === 'lane') flip(view.hiddenLanes, Number(value));
    if (what === 'name') flip(view.hiddenNames, value);
    if (what === 'sort') flip(view.hiddenSorts, value);
    if (what === 'band') flip(view.hiddenBands, value);
    if (what === 'quiet') view.quiet = !view.quiet;
    if (what === 'led') view.ledOnly = !view.ledOnly;
    view.shown.clear();
    showFilters();
    refresh();
    if (what === 'led') showPanel();
  } else if (event.target === help) help.close();
});

document.addEventListener('input', event => {
  if (event.target.id !== 'search') return;
  search(event.target.value);
  showHits();
  draw(true);
  drawOverview();
});

document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const field = event.target.id === 'search';
  if (field) {
    if (event.key === 'Enter') { nextHit(event.shiftKey ? -1 : 1); event.preventDefault(); }
    if (event.key === 'Escape') { event.target.value = ''; search(''); showHits(); draw(true); drawOverview(); scroller.focus(); }
    return;
  }
  const first = by => { for (let r = by > 0 ? 0 : rows.length - 1; r >= 0 && r < rows.length; r += by) if (!rows[r].gap) return rows[r].step; return null; };
  const does = {
    j: () => choose(neighbour(1)), ArrowDown: () => choose(neighbour(1)), k: () => choose(neighbour(-1)), ArrowUp: () => choose(neighbour(-1)),
    ']': () => choose(atSameNode(1)), '[': () => choose(atSameNode(-1)),
    c: () => view.chosen !== null && choose(run.steps[view.chosen].cause),
    Home: () => choose(first(1)), End: () => choose(first(-1)), e: () => choose(run.ending.step, 'centre'),
    '/': () => document.getElementById('search').select(), n: () => nextHit(1), N: () => nextHit(-1),
    p: showPlan,
    q: () => { view.quiet = !view.quiet; view.shown.clear(); showFilters(); refresh(); }, '?': showHelp,
    Escape: () => { if (help.open) help.close(); else showPlan(); },
  }[event.key];
  if (does) { event.preventDefault(); does(); }
});

// What is broken where the pointer is.
const hint = document.getElementById('tip');
scroller.addEventListener('mousemove', event => {
  const box = scroller.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top + scroller.scrollTop;
  const found = x < diagramWidth ? bandsAt(x, y) : [];
  hint.hidden = !found.length;
  hint.innerHTML = found.map(band => `<div>${bandIcon(band)}${esc(band.text)}</div>`).join('');
  hint.style.left = `${x + 16}px`;
  hint.style.top = `${event.clientY - box.top + 46}px`;
});
scroller.addEventListener('mouseleave', () => { hint.hidden = true; });

let waiting = false;
scroller.addEventListener('scroll', () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(false); drawOverview(); });
});
overview.addEventListener('mousedown', event => {
  const go = e => { scroller.scrollTop = (e.clientY - overview.getBoundingClientRect().top) / overview.clientHeight * height - scroller.clientHeight / 2; };
  const stop = () => { removeEventListener('mousemove', go); removeEventListener('mouseup', stop); };
  go(event); addEventListener('mousemove', go); addEventListener('mouseup', stop);
});
addEventListener('resize', refresh);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawOverview);

function fromHash() {
  const found = /^#step-([\d.]+)$/.exec(location.hash);
  return found ? stepOf.get(found[1]) ?? null : null;
}
addEventListener('hashchange', () => choose(fromHash(), 'centre'));

showBanner();
showFilters();
refresh();
showPanel();
choose(fromHash() ?? run.ending.step, 'centre');
