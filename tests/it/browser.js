// Uses a page as a reader would, and leaves what it saw in the document. The page's own script has run by then.
addEventListener('load', async () => {
  const seen = {};
  const rest = () => new Promise(done => setTimeout(done, 40));
  const press = key => document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
  const click = what => document.querySelector(`[data-toggle="${what}"]`).click();
  const chosen = () => Number((document.querySelector('#rows .chosen') || { dataset: {} }).dataset.step);
  const scrollTo = async top => {
    scroller.scrollTop = top;
    scroller.dispatchEvent(new Event('scroll')); // nobody draws frames here, and so nobody else says it
    await rest();
  };
  const inSight = () => [...document.querySelectorAll('#rows [data-step]')].map(row => Number(row.dataset.step));
  /// Every step that is drawn somewhere on the page.
  const drawn = async () => {
    const steps = new Set(), before = scroller.scrollTop;
    for (let top = 0; top < scroller.scrollHeight; top += scroller.clientHeight) {
      await scrollTo(top);
      inSight().forEach(step => steps.add(step));
    }
    await scrollTo(before);
    return [...steps].sort((a, b) => a - b);
  };
  const find = async text => {
    const field = document.getElementById('search');
    field.value = text;
    field.dispatchEvent(new Event('input', { bubbles: true }));
    await rest();
    return document.querySelector('#find .hits').textContent;
  };

  try {
    const { word, lane, name, large, layout } = JSON.parse(document.getElementById('asked').textContent);
    seen.banner = document.getElementById('banner').className;
    const wrong = document.querySelector('#rows .violation');
    seen.leftOut = (document.querySelector('#banner .leftout') || { textContent: '' }).textContent;
    seen.gaps = rows.filter(row => row.leftOut).length;
    seen.violation = wrong && [Number(wrong.dataset.step), wrong.querySelector('.chip.bad').textContent];
    const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    const boxes = what => [...document.querySelectorAll(what)].map(it => [it.textContent || it.id || it.className, it.getBoundingClientRect()]);
    const collide = all => all.flatMap(([text, box], i) =>
      all.slice(i + 1).filter(([, other]) => meet(box, other)).map(([other]) => `${text} and ${other}`));
    seen.width = innerWidth;
    seen.tooWide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    seen.headings = collide(boxes('#lanes span, #lanes i, #find, #filters').filter(([, box]) => box.width > 0));
    // What is told of a step fits into its row.
    seen.cutOff = [...document.querySelectorAll('#rows .told')].filter(it => it.scrollHeight > it.clientHeight + 2 || it.scrollWidth > it.clientWidth)
      .map(it => it.textContent);
    const number = (document.querySelector('#rows .chosen .at') || { title: '', textContent: '' });
    const where = document.querySelector('#panel .where span') || { textContent: '' };
    seen.numbers = [location.hash, where.textContent, number.title || number.textContent];
    seen.led = [...document.querySelectorAll('#rows .led')].length;
    seen.arrows = document.querySelectorAll('#diagram path, #diagram line').length;

    seen.collisions = collide(boxes('#diagram .label, #diagram .bandlabel'));
    if (layout) {
      // From end to end: the steps chosen one after the other, so that each is traced in turn.
      for (let top = 0; top < scroller.scrollHeight; top += scroller.clientHeight) {
        await scrollTo(top);
        seen.collisions.push(...collide(boxes('#diagram .label, #diagram .bandlabel')));
        seen.cutOff.push(...[...document.querySelectorAll('#rows .told')].filter(it => it.scrollHeight > it.clientHeight + 2).map(it => it.textContent));
        seen.words = (seen.words || 0) + document.querySelectorAll('#diagram .label, #diagram .bandlabel').length;
      }
      press('?');
      seen.tooWide = Math.max(seen.tooWide, document.documentElement.scrollWidth - document.documentElement.clientWidth);
      throw null;
    }

    seen.found = await find(word);
    document.getElementById('search').dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true }));
    seen.hit = [chosen(), document.querySelectorAll('#rows .chosen mark').length];
    await find('');
    press('e');
    seen.end = chosen();

    if (large) {
      press('End');
      seen.last = chosen();
      press('Home');
      seen.first = chosen();
      for (let i = 0; i < 100; i++) press('j');
      seen.walked = chosen();
      await scrollTo(scroller.scrollHeight / 2);
      seen.middle = inSight();
    } else {
      seen.shown = await drawn();
      press('q');
      seen.all = await drawn();
      press('q');
      for (const [filter, what] of Object.entries({ withoutLane: `lane ${lane}`, withoutName: `name ${name}`, withoutTimers: 'sort timer' })) {
        click(what);
        seen[filter] = await drawn();
        click(what);
      }
      seen.again = await drawn();
      seen.walk = [];
      press('Home');
      for (let i = 0; i < 30; i++, press('j')) {
        const heads = [...document.querySelectorAll('#panel h3')].map(head => head.textContent);
        const state = heads.some(head => /^What .*(knows|changes in|changed in)/.test(head));
        seen.walk.push([chosen(), state, document.getElementById('panel').textContent]);
      }
      press('k');
      seen.back = chosen();
    }
  } catch (error) {
    if (error) errors.push(String(error));
  }
  const out = document.createElement('pre');
  out.id = 'seen';
  out.textContent = JSON.stringify({ ...seen, errors });
  document.body.append(out);
  // In a frame, whoever holds it leaves it in its own document.
  if (parent !== window) parent.postMessage(out.textContent, '*');
});
