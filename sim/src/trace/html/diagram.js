// The space-time diagram: only what is in sight is drawn.

/// Where the times end; less where there is little room.
let GUTTER = 108, narrow = false;
const scroller = document.getElementById('scroller'), canvas = document.getElementById('canvas');
const diagram = document.getElementById('diagram'), rowsLayer = document.getElementById('rows');
const overview = document.getElementById('overview');
let laneX = [], diagramWidth = 0;

const escapes = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const esc = text => String(text).replace(/[&<>"']/g, c => escapes[c]);
const colour = lane => lane === null || lane === undefined || run.lanes[lane].client ? 'var(--n0)'
  : `var(--n${1 + (lane - (clientLane >= 0 ? 1 : 0)) % 8})`;

/// Text with what is searched for marked.
function marked(text) {
  if (!view.query) return esc(text);
  const wanted = view.query.toLowerCase(), low = text.toLowerCase();
  let out = '', at = 0;
  for (let hit = low.indexOf(wanted); hit >= 0; hit = low.indexOf(wanted, at)) {
    out += `${esc(text.slice(at, hit))}<mark>${esc(text.slice(hit, hit + wanted.length))}</mark>`;
    at = hit + wanted.length;
  }
  return out + esc(text.slice(at));
}

const who = lane => `<b class="who" style="--c:${colour(lane)}">${esc(nodeName(lane))}</b>`;
const names = lanes => lanes.map(who).join(', ');

function placeLanes() {
  const shown = run.lanes.map((lane, i) => i)
    .filter(i => !view.hiddenLanes.has(i) && (hasClients || !run.lanes[i].client));
  narrow = scroller.clientWidth < 600;
  GUTTER = narrow ? 64 : 108;
  document.body.classList.toggle('narrow', narrow);
  const room = scroller.clientWidth * (narrow ? 0.48 : 0.54) - GUTTER;
  const space = Math.max(narrow ? 14 : 46, Math.min(150, room / Math.max(1, shown.length)));
  laneX = [];
  shown.forEach((lane, place) => { laneX[lane] = GUTTER + space * (place + 0.5); });
  diagramWidth = GUTTER + space * shown.length;
  document.getElementById('lanes').innerHTML =
    `<i style="right:calc(100% - ${GUTTER - 14}px)">${run.steps.some(s => s.at_ns !== null) ? (narrow ? 's' : 'seconds') : 'step'}</i>`
    + shown.map(i => `<span style="left:${laneX[i]}px;--c:${colour(i)};max-width:${space - 2}px" title="${esc(nodeName(i))}">${esc(space < 60 && run.lanes[i].client ? 'cl' : nodeName(i))}</span>`).join('')
    + `<i class="happened" style="left:${diagramWidth + 14}px">what happened, and what came of it</i>`;
}

const pen = document.createElement('canvas').getContext('2d'), widths = new Map();

/// How wide a text is in such a font.
function widthOf(text, font, family) {
  const key = `${font}${family} ${text}`;
  if (!widths.has(key)) {
    pen.font = `${font} ${getComputedStyle(document.documentElement).getPropertyValue(family)}`;
    widths.set(key, Math.ceil(pen.measureText(text).width));
  }
  return widths.get(key);
}

/// How wide the words beside the diagram may be.
const wordsRoom = () => scroller.clientWidth - diagramWidth - 14 - 12;

/// Packs chips into lines as the browser will. What is longer than a line takes several.
chipLines = (texts, changes) => {
  const room = wordsRoom();
  let lines = 0, left = 0;
  const put = wide => {
    if (wide > room) { lines += Math.min(4, Math.ceil(wide * 1.12 / room)); left = 0; return; }
    if (left < wide) { lines += 1; left = room; }
    left -= wide + 5;
  };
  const word = bold => text => put(widthOf(text, `${bold ? '600 ' : ''}11.5px`, '--sans') + 18);
  texts.filter(text => text.startsWith('✗')).forEach(word(true));
  changes.forEach(text => put(widthOf(text, '11px', '--mono') + 22));
  texts.filter(text => !text.startsWith('✗')).forEach(word(false));
  return lines;
};

const told = document.createElement('template'), widthOfStep = [];

/// How many lines a step's words take.
wordLines = i => {
  if (widthOfStep[i] === undefined) {
    told.innerHTML = headline(i);
    const fonts = { who: '650 14px', what: '500 14px', extra: '12px' };
    const wide = node => widthOf(node.textContent, fonts[node.className] || '14px', '--sans');
    widthOfStep[i] = [...told.content.childNodes].reduce((sum, node) => sum + wide(node), 4);
  }
  const wide = widthOfStep[i] * (narrow ? 13 / 14 : 1), room = wordsRoom();
  return wide <= room ? 1 : Math.min(MOST_LINES, Math.ceil(wide * 1.12 / room));
};

let drawn = { top: -1, bottom: -1 };

function draw(force) {
  const top = scroller.scrollTop, bottom = top + scroller.clientHeight;
  if (!force && top >= drawn.top && bottom <= drawn.bottom) return;
  drawn = { top: Math.max(0, top - 500), bottom: Math.min(height, bottom + 500) };
  canvas.style.height = `${height}px`;
  placeBands();
  const traced = view.chosen === null ? new Set() : new Set(chain(view.chosen));
  drawRows(traced);
  drawDiagram(traced);
}

function drawRows(traced) {
  let html = '';
  for (let r = rowAt(drawn.top); r < rows.length && rows[r].y < drawn.bottom; r++) {
    html += rows[r].gap ? gapRow(rows[r], r) : stepRow(rows[r], r);
  }
  rowsLayer.innerHTML = html;
}

function gapRow(row, r) {
  const quiet = row.folded.filter(i => run.steps[i].quiet).length, other = row.folded.length - quiet;
  const parts = [];
  if (quiet) parts.push(`${quiet} quiet ${quiet === 1 ? 'step' : 'steps'}`);
  if (other) parts.push(`${other} filtered out`);
  const idle = row.idle > IDLE_NS ? `+${duration(row.idle)}` : '';
  return `<div class="gap" style="top:${row.y}px;height:${row.height}px"><span class="at">${idle}</span>`
    + (row.leftOut ? `<span class="leftout" style="right:18px">${row.leftOut.toLocaleString('en')} ${row.leftOut === 1 ? 'step is' : 'steps are'} left out of this page</span>` : '')
    + (parts.length ? `<button data-unfold="${r}" style="left:${diagramWidth + 14}px" title="Show them">⋯ ${parts.join(', ')}</button>` : '')
    + '</div>';
}

function stepRow(row, r) {
  const i = row.step, step = run.steps[i];
  const classes = ['row'];
  if (i === view.chosen) classes.push('chosen');
  if (i === run.ending.step) classes.push('violation');
  if (step.led) classes.push('led');
  if (step.kind === 'plan') classes.push(step.name === HEAL ? 'plan mends' : 'plan');
  if (['crash', 'stop', 'network'].includes(step.kind)) classes.push('fault');
  const chips = [];
  if (i === run.ending.step) chips.push(`<span class="chip bad">✗ ${esc(run.ending.headline)}</span>`);
  changesOf(step).forEach(text => chips.push(`<span class="chip change" style="--c:${colour(step.lane)}" title="${esc(text)}">${marked(text)}</span>`));
  for (const act of acts(step)) if (LOUD_ACTS.has(act.kind)) chips.push(chip(act, step, step.kind === 'crash' ? ' never' : ''));
  return `<div class="${classes.join(' ')}" data-step="${i}" style="top:${row.y}px;height:${row.height}px">${time(i, r)}`
    + `<div class="told" style="left:${diagramWidth + 14}px"><div class="one" style="-webkit-line-clamp:${wordLines(i)}">${headline(i)}</div>`
    + (chips.length ? `<div class="two">${chips.join('')}</div>` : '') + '</div></div>';
}

function time(i, r) {
  const step = run.steps[i];
  if (step.turn !== null) {
    const same = numbers[i].includes('.');
    return `<span class="at${same ? ' same' : ''}">${numbers[i] === '0' ? 'before' : numbers[i]}</span>`;
  }
  if (step.at_ns === null) return `<span class="at">${numbers[i]}</span>`;
  const text = seconds(step.at_ns), before = r > 0 && !rows[r - 1].gap ? run.steps[rows[r - 1].step].at_ns : null;
  const cut = text.length - 3;
  const same = before !== null && seconds(before) === text;
  return `<span class="at${same ? ' same' : ''}" title="${stepName(i)}">${text.slice(0, cut)}<small>${narrow ? '' : text.slice(cut)}</small></span>`;
}

/// A step in one line.
function headline(i) {
  const step = run.steps[i], flight = step.flight === null ? null : run.flights[step.flight];
  const what = `<span class="what">${marked(step.text)}</span>`;
  const verb = word => `<span class="verb">${word}</span>`;
  const me = who(step.lane);
  switch (step.kind) {
    case 'boot': return `${me} ${verb('starts')} ${what}`;
    case 'message': {
      const copy = flight && flight.received.indexOf(i) > 0 ? ' again' : '';
      const took = flight ? travelled(flight, i) : '';
      return `${me} ${verb(`gets${copy}`)} ${what} ${verb('from')} ${flight ? who(flight.from) : '?'}`
        + (took ? ` <span class="extra">after ${took}</span>` : '');
    }
    case 'timer': return `${me} ${verb('timer fires:')} ${what}${step.timer ? ` <span class="extra">(${esc(step.timer)})</span>` : ''}`;
    case 'request': return `${me} ${verb('is asked:')} ${what}`;
    case 'durable': case 'synced': return `${me} ${verb('disk:')} <span class="verb">${marked(step.text)}</span>`;
    case 'crash': return `${me} ${verb('crashes:')} ${what}`;
    case 'stop': return `${me} ${verb('stops by itself:')} ${what}`;
    case 'network': return `${verb('network:')} ${what}`;
    case 'asked': return `${me} ${verb('asks')} ${flight ? who(flight.to) : ''} ${what}`;
    case 'answered': return `${me} ${verb('is answered by')} ${flight ? who(flight.from) : ''} ${what}`;
    default: return what;
  }
}

/// What came of a step, or what a crash prevented.
function chip(act, step, never) {
  const to = act.flights.length ? names(act.flights.map(f => run.flights[f].to)) : '';
  const text = marked(act.text), c = `style="--c:${colour(step.lane)}"`;
  switch (act.kind) {
    case 'append': return `<span class="chip append${never}" ${c}>writes ${text}</span>`;
    case 'send': return `<span class="chip send${never}">→ ${to} ${text}</span>`;
    case 'reply': return `<span class="chip${never}">answers ${text}</span>`;
    default: return `<span class="chip fact${never}" ${c}>${text}</span>`;
  }
}

function drawDiagram(traced) {
  const { top, bottom } = drawn;
  diagram.style.top = `${top}px`;
  diagram.setAttribute('width', diagramWidth);
  diagram.setAttribute('height', bottom - top);
  diagram.setAttribute('viewBox', `0 ${top} ${diagramWidth} ${bottom - top}`);
  const parts = [`<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
    <rect width="6" height="6" fill="var(--fault-wash)"/><line x1="0" y1="0" x2="0" y2="6" stroke="var(--fault)" stroke-width="1" opacity=".45"/></pattern>
    <pattern id="still" width="6" height="5" patternUnits="userSpaceOnUse"><rect width="6" height="5" fill="var(--wash)"/>
    <line x1="0" x2="6" y1="2.5" y2="2.5" stroke="var(--soft)" stroke-width="1" opacity=".55"/></pattern></defs>`];
  const bands = shownBands.filter(it => it.bottom > top && it.top < bottom);
  for (const band of bands) parts.push(shade(band));
  laneX.forEach((x, lane) => parts.push(lifeline(lane, x, top, bottom)));
  for (let r = rowAt(top); r < rows.length && rows[r].y < bottom; r++) {
    const row = rows[r], y = row.y + GAP / 2;
    if (row.gap && row.idle > IDLE_NS) {
      parts.push(`<line x1="${GUTTER}" x2="${diagramWidth}" y1="${y}" y2="${y}" stroke="var(--paper)" stroke-width="7"/>`
        + `<line x1="${GUTTER}" x2="${diagramWidth}" y1="${y}" y2="${y}" stroke="var(--faint)" stroke-width="1" stroke-dasharray="1 5"/>`);
    }
  }
  // Lines first, then what is marked on them, then words; and no word on a mark or on another.
  const labels = { words: [], marks: [], lost: new Map(), taken: [] };
  for (const band of bands) parts.push(wall(band, top, bottom, labels));
  for (const place of flightsBetween(top, bottom)) parts.push(arrow(place, traced, labels));
  for (let r = rowAt(top); r < rows.length && rows[r].y < bottom; r++) {
    if (rows[r].gap) continue;
    const step = run.steps[rows[r].step], x = laneX[step.lane];
    parts.push(glyph(rows[r].step));
    if (x === undefined) continue;
    const written = Math.min(4, step.acts.filter(act => act.kind === 'append').length), y = middle(rows[r].step);
    labels.taken.push({ left: x - 8, right: x + 8 + 7 * written, top: y - 6, bottom: y + 6 });
  }
  diagram.innerHTML = parts.join('') + labels.marks.join('') + placeWords(labels).join('');
}

/// Where a word can stand: by as much higher or lower.
const SHIFTS = [0, 11, -11, 22, -22, 33];

/// Words where there is room for them, what is traced first. One that has no room is left out: the row says it as well.
function placeWords({ words, taken }) {
  const meets = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const boxOf = (word, dy) => {
    const wide = word.wide, y = word.y + dy;
    if (word.turned) return { left: word.x - 8, right: word.x + 6, top: y - wide / 2, bottom: y + wide / 2 };
    const left = { start: word.x, middle: word.x - wide / 2, end: word.x - wide }[word.anchor];
    return { left: left - 1, right: left + wide + 1, top: y - 10, bottom: y + 3 };
  };
  const out = [];
  for (const word of [...words].sort((a, b) => b.rank - a.rank)) {
    const shifts = word.shifts || SHIFTS;
    const shift = shifts.find(dy => { const box = boxOf(word, dy); return box.left >= 2 && box.right <= diagramWidth && !taken.some(other => meets(box, other)); });
    if (shift === undefined) continue;
    taken.push(boxOf(word, shift));
    out.push(word.draw(shift));
  }
  return out;
}

function lifeline(lane, x, top, bottom) {
  const client = run.lanes[lane].client;
  let out = `<line class="life" x1="${x}" x2="${x}" y1="${top}" y2="${bottom}" stroke="${colour(lane)}"${client ? ' stroke-dasharray="2 4"' : ''}/>`;
  for (const outage of run.outages) {
    if (outage.lane !== lane) continue;
    const from = below(outage.from), to = outage.to === null ? height : below(outage.to);
    if (to < top || from > bottom) continue;
    out += `<rect class="down" x="${x - 9}" width="18" y="${from}" height="${Math.max(0, to - from)}" rx="4" fill="var(--paper)"/>`
      + `<rect class="down" x="${x - 9}" width="18" y="${from}" height="${Math.max(0, to - from)}" rx="4" fill="url(#hatch)"/>`;
  }
  return out;
}

/// Where a step is, or where it would be if it is folded away.
function below(step) {
  const y = middle(step);
  if (y !== undefined) return y;
  let low = 0, high = rows.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (rows[mid].until < step) low = mid + 1; else high = mid;
  }
  return low < rows.length ? rows[low].y + rows[low].height / 2 : height;
}

/// A message's way. What the network touched bends at the row where it did.
function arrow(place, traced, labels) {
  const flight = run.flights[place.i], x0 = laneX[flight.from], x1 = laneX[flight.to], y0 = place.top;
  const paint = colour(flight.from);
  const isTraced = flight.received.some(step => traced.has(step)) && traced.has(flight.sent)
    || flight.touches.some(touch => traced.has(touch.step));
  const own = flight.sent === view.chosen && view.chosen !== null;
  const cls = `arrow${isTraced || own ? ' traced' : ''}`;
  const line = (xa, ya, xb, yb, extra) =>
    `<line class="${cls} ${extra || ''}" x1="${xa}" y1="${ya}" x2="${xb}" y2="${yb}" stroke="${paint}"/>`;
  const side = Math.sign(x1 - x0) || 1;
  const middleX = between(x0, x1);
  const marks = [];
  const markAt = (what, x, y) => {
    marks.push(faultMark(what, x, y));
    labels.taken.push({ left: x - 9, right: x + 9, top: y - 9, bottom: y + 9 });
  };
  let out = '', from = place.orphan ? [(place.bends.length ? middleX : x1) - side * 40, y0] : [x0, y0];
  const arrives = place.ends.length > 0;
  for (const [y, what] of place.bends) {
    // Bends lean towards the receiver, so that a message that was held and then lost shows both.
    const bend = [middleX + side * 12 * marks.length, y];
    out += line(...from, ...bend, arrives ? '' : 'broken');
    markAt(what, ...bend);
    from = bend;
  }
  if (!arrives) {
    const down = flight.fate === 'receiver_down' || flight.fate === 'sender_down';
    if (!place.bends.length || down) {
      const x = flight.fate === 'receiver_down' ? x1 - side * 15 : between(from[0], x1), y = from[1] + 24;
      out += line(...from, x, y, 'broken');
      if (down) markAt('down', x, y);
      else marks.push(`<circle cx="${x}" cy="${y}" r="4" fill="var(--paper)" stroke="${paint}" stroke-width="1.5"/>`);
      tagLost(x - side * 8, y + 14, flight, side, isTraced || own, labels);
    }
    labels.marks.push(...marks);
    return out;
  }
  for (const y of place.ends) {
    const [tipX, tipY, dx, dy] = tip(from, [x1, y]);
    out += line(...from, tipX - dx * 5, tipY - dy * 5) + head(tipX, tipY, dx, dy, paint);
    // Below a flat line, beside a steep one; clear of the records that are written there.
    const flat = Math.abs(y - from[1]) < Math.abs(x1 - from[0]) / 2;
    const written = side < 0 ? run.steps[flight.received[0]].acts.filter(act => act.kind === 'append').length * 7 : 0;
    tag(x1 - side * 14 + written, y + (flat ? 14 : 4), flight, side, isTraced || own, labels);
  }
  labels.marks.push(...marks);
  return out;
}

/// About half way, but not on the line of a node that has nothing to do with it.
function between(xa, xb) {
  const space = Math.min(...laneX.filter(x => x !== undefined).map((x, i, all) => i ? x - all[i - 1] : Infinity));
  const free = x => laneX.every(lane => lane === undefined || Math.abs(x - lane) > space * 0.2);
  return [0.5, 0.62, 0.38, 0.56].map(part => xa + (xb - xa) * part).find(free) ?? (xa + xb) / 2;
}

function tip([xa, ya], [xb, yb]) {
  const length = Math.hypot(xb - xa, yb - ya) || 1, dx = (xb - xa) / length, dy = (yb - ya) / length;
  return [xb - dx * 7, yb - dy * 7, dx, dy];
}

const head = (x, y, dx, dy, paint) =>
  `<path class="head" fill="${paint}" d="M${x} ${y}L${x - dx * 8 - dy * 3.6} ${y - dy * 8 + dx * 3.6}L${x - dx * 8 + dy * 3.6} ${y - dy * 8 - dx * 3.6}Z"/>`;

/// One word for all of a kind that leaves at a step and never arrives, below its sender if there are several.
function tagLost(x, y, flight, side, strong, labels) {
  const kind = `${flight.sent} ${label(flight)}`, known = labels.lost.get(kind);
  if (known) Object.assign(known, tag(laneX[flight.from], y, flight, 0, strong, { words: [] }));
  else labels.lost.set(kind, tag(x, y, flight, side, strong, labels));
}

/// The message's word beside the arrow's tip, on the side it comes from.
function tag(x, y, flight, side, strong, labels) {
  if (Math.abs(laneX[flight.from] - laneX[flight.to]) < 84) return null;
  if (run.lanes[flight.from].client || run.lanes[flight.to].client) return null;
  const text = label(flight), anchor = ['start', 'middle', 'end'][side + 1];
  const draw = dy => `<text class="label${strong ? ' traced' : ''}" x="${x}" y="${y + dy}" text-anchor="${anchor}">${esc(text)}</text>`;
  const word = { x, y, anchor, wide: widthOf(text, `${strong ? '600 ' : ''}10.5px`, '--sans'), rank: strong ? 2 : 0, draw };
  labels.words.push(word);
  return word;
}

function faultMark(fate, x, y) {
  const disc = `<circle cx="${x}" cy="${y}" r="9" fill="var(--paper)"/>`;
  switch (fate) {
    case 'lost': return `${disc}<path class="faultmark" d="M${x - 5} ${y - 5}l10 10m0-10l-10 10"/>`;
    case 'cut_off': return `${disc}<path class="faultmark" d="M${x - 2.5} ${y - 7}v14m5-14v14"/>`;
    case 'doubled': return `${disc}<circle class="faultmark" cx="${x - 2}" cy="${y - 2}" r="4"/><circle class="faultmark" cx="${x + 2.5}" cy="${y + 2.5}" r="4"/>`;
    case 'clogged': return `${disc}<path class="faultmark" d="M${x - 6} ${y - 6}v12m0-6h6m0-4v8" stroke-width="1.8"/>`;
    case 'held_back': return `${disc}<path class="faultmark" d="M${x - 4} ${y - 6}h8l-8 12h8z" stroke-width="1.8" stroke-linejoin="round"/>`;
    default: return `<path class="faultmark" d="M${x} ${y - 6}v12"/>`;
  }
}

/// A step's mark on its lane: its shape says what kind of thing it is.
function glyph(i) {
  const step = run.steps[i], x = laneX[step.lane], y = middle(i);
  if (step.kind === 'plan') {
    return `<line x1="${GUTTER}" x2="${diagramWidth}" y1="${y}" y2="${y}" stroke="var(${step.name === HEAL ? '--good' : '--fault'})" stroke-width="1.5"/>`;
  }
  if (x === undefined) return '';
  const written = step.acts.filter(act => act.kind === 'append').length;
  let out = mark(step.kind, x, y, colour(step.lane), i === run.ending.step);
  for (let n = 0; n < Math.min(written, 4); n++) {
    out += `<rect x="${x + 10 + n * 7}" y="${y - 4}" width="5" height="8" rx="1" fill="${colour(step.lane)}"/>`;
  }
  return out;
}

function mark(kind, x, y, paint, violation) {
  const ring = violation ? `<circle cx="${x}" cy="${y}" r="12" fill="none" stroke="var(--bad)" stroke-width="2.5"/>` : '';
  const hollow = `fill="var(--paper)" stroke="${paint}" stroke-width="1.8"`;
  switch (kind) {
    case 'timer': return `${ring}<circle cx="${x}" cy="${y}" r="5.5" ${hollow}/><path d="M${x} ${y - 3}v3h2.5" fill="none" stroke="${paint}" stroke-width="1.4"/>`;
    case 'boot': return `${ring}<path d="M${x} ${y - 7}l7 12h-14z" fill="${paint}" stroke="var(--paper)" stroke-width="1.5"/>`;
    case 'crash': return `${ring}<circle cx="${x}" cy="${y}" r="9" fill="var(--paper)"/><path d="M${x - 6} ${y - 6}l12 12m0-12l-12 12" stroke="var(--fault)" stroke-width="3.2" stroke-linecap="round"/>`;
    case 'stop': return `${ring}<rect x="${x - 8}" y="${y - 8}" width="16" height="16" rx="3" fill="var(--paper)" stroke="var(--fault)" stroke-width="2"/><path d="M${x - 3.5} ${y - 3.5}l7 7m0-7l-7 7" stroke="var(--fault)" stroke-width="2.2"/>`;
    case 'durable': case 'synced': return `${ring}<rect x="${x - 7}" y="${y - 5}" width="14" height="10" rx="2" ${hollow}/><path d="M${x - 3} ${y}l2 2l4-4" fill="none" stroke="${paint}" stroke-width="1.5"/>`;
    case 'asked': case 'answered': return `${ring}<circle cx="${x}" cy="${y}" r="4.5" ${hollow}/>`;
    default: return `${ring}<circle cx="${x}" cy="${y}" r="5.5" fill="${paint}" stroke="var(--paper)" stroke-width="1.5"/>`;
  }
}

const HEAL = 'heal';

/// Where each band is: how far it reaches, and what is drawn of it.
let shownBands = [];

const NODE_BAND_WIDTH = { pause: 22, clock: 30, slow_disk: 38, full_disk: 38 };

function placeBands() {
  const taken = [];
  shownBands = run.bands.filter(band => !view.hiddenBands.has(band.kind)).flatMap(band => {
    const lanes = band.lanes.filter(lane => laneX[lane] !== undefined);
    const links = band.links.filter(([a, b]) => laneX[a] !== undefined && laneX[b] !== undefined);
    if (!lanes.length && !links.length) return [];
    const top = below(band.from), bottom = Math.max(top + 12, band.to === null ? height - 16 : below(band.to) - (rowOf.has(band.to) ? 15 : 0));
    if (lanes.length) {
      const wide = NODE_BAND_WIDTH[band.kind] / 2;
      return [{ band, top, bottom, left: laneX[lanes[0]] - wide, right: laneX[lanes[0]] + wide, walls: [] }];
    }
    // Walls of bands that overlap stand side by side.
    let slot = taken.findIndex(end => end <= top);
    if (slot < 0) slot = taken.length;
    taken[slot] = bottom;
    const walls = new Map();
    for (const [a, b] of links) {
      const side = Math.sign(laneX[a] - laneX[b]);
      walls.set(`${b} ${side}`, { x: laneX[b] + side * (13 + 5 * (slot % 3)), side });
    }
    const xs = links.flat().map(lane => laneX[lane]);
    return [{ band, top, bottom, left: Math.min(...xs), right: Math.max(...xs), walls: [...walls.values()] }];
  });
}

/// The shade of a band, behind everything.
function shade({ band, top, bottom, left, right, walls }) {
  const box = `x="${left}" width="${right - left}" y="${top}" height="${bottom - top}"`;
  if (walls.length) return `<rect class="shade ${band.kind}" ${box}/>`;
  return `<rect class="shade ${band.kind}" ${box} rx="7"/>`;
}

/// What stands in the way of messages, and the words beside it.
function wall({ band, top, bottom, right, walls }, from, to, labels) {
  const [a, b] = [Math.max(top, from - 20), Math.min(bottom, to + 20)];
  let out = walls.map(({ x }) => `<line class="wall ${band.kind}" x1="${x}" x2="${x}" y1="${a}" y2="${b}"/>`).join('');
  const beside = walls.length ? walls[0].x + walls[0].side * 9 : right + 7, every = 420, words = bandLabel(band);
  const long = 6 * words.length + 40;
  if (bottom - top < long || narrow) return out;
  const wide = widthOf(words, '10.5px', '--sans') + 6;
  for (let y = top + long / 2 + 14; y < bottom - long / 2 + 20; y += Math.max(every, long)) {
    if (y < from - 200 || y > to + 200) continue;
    const draw = dy => `<text class="bandlabel" transform="translate(${beside} ${y + dy}) rotate(-90)" text-anchor="middle" dy="3">${esc(words)}</text>`;
    const shifts = Array.from({ length: 12 }, (_, n) => n * 24).filter(dy => y + dy + wide / 2 < bottom);
    labels.words.push({ x: beside, y, turned: true, wide, rank: 1, shifts, draw });
  }
  return out;
}

/// The bands at a place of the diagram.
function bandsAt(x, y) {
  return shownBands.filter(it => y >= it.top && y <= it.bottom && x >= it.left - 6 && x <= it.right + 6).map(it => it.band);
}

/// The whole run in a strip: faults, what is searched for, and where one is.
function drawOverview() {
  const ratio = window.devicePixelRatio || 1, width = 18, tall = overview.clientHeight;
  overview.width = width * ratio; overview.height = tall * ratio;
  const pen = overview.getContext('2d'), style = getComputedStyle(document.documentElement);
  pen.scale(ratio, ratio);
  const line = (step, name, x, w, h) => {
    pen.fillStyle = style.getPropertyValue(name);
    pen.fillRect(x, below(step) / height * tall - h / 2, w, h);
  };
  pen.fillStyle = style.getPropertyValue('--wash');
  const seen = scroller.scrollTop / height * tall;
  pen.fillRect(1, seen, width, Math.max(8, scroller.clientHeight / height * tall));
  pen.fillStyle = style.getPropertyValue('--fault');
  pen.globalAlpha = 0.3;
  for (const { top, bottom } of shownBands) pen.fillRect(1, top / height * tall, 4, Math.max(1, (bottom - top) / height * tall));
  pen.globalAlpha = 1;
  run.steps.forEach((step, i) => {
    if (['crash', 'stop'].includes(step.kind)) line(i, '--fault', 4, 10, 2);
    if (step.kind === 'plan') line(i, '--fault', 4, 10, 1);
  });
  for (const hit of view.hits) line(hit, '--n4', 11, 7, 2);
  if (run.ending.step !== null) line(run.ending.step, '--bad', 1, 17, 4);
  if (view.chosen !== null) line(view.chosen, '--pick-line', 1, 17, 2);
}
