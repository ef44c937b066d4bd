'use strict';
// The gallery of a report: reads the data of the page, sets text only as text, loads nothing but its pictures.
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const {queries, pictures, kinds, colours} = data;
  const at = id => document.getElementById(id);
  const label = new Map(kinds.map(kind => [kind.key, kind]));
  const CHUNK = 120;  // tiles made at once, as the reader comes near
  let shown = [], chosen = null, current = 0, opened = null;

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function picture(number, alt, loading = 'lazy') {
    if (number < 0) return make('div', {className: 'none', textContent: 'no picture'});
    return make('img', {alt, loading, decoding: 'async', src: pictures[number]});
  }

  // black or white, whichever is legible on a colour such as #20a0ff (BT.601 luma)
  function legibleOn(colour) {
    const [red, green, blue] = [1, 3, 5].map(start => parseInt(colour.slice(start, start + 2), 16));
    return 0.299 * red + 0.587 * green + 0.114 * blue > 110 ? '#000' : '#fff';
  }

  function press(parent, test) {
    for (const button of parent.querySelectorAll('button')) button.setAttribute('aria-pressed', test(button));
  }

  // -- filters
  function makeFilters() {
    const counts = new Map(kinds.map(({key}) => [key, 0]));
    for (const query of queries) counts.set(query.outcome, counts.get(query.outcome) + 1);
    const chip = (key, text, title, count) => {
      const button = make('button', {type: 'button', className: key || 'all', title}, text, make('b', {textContent: count}));
      button.dataset.outcome = key;
      button.addEventListener('click', () => choose(key || null));
      return button;
    };
    at('chips').append(chip('', 'all', 'all queries', queries.length),
      ...kinds.map(({key, label, meaning}) => chip(key, label, meaning, counts.get(key))));
    for (const {key, label, meaning} of kinds) {
      const words = `${counts.get(key)} ${label}: ${meaning}`;
      const part = make('button', {type: 'button', className: key, title: words, ariaLabel: words});
      part.style.flexGrow = counts.get(key);
      part.addEventListener('click', () => { choose(key); at('gallery-title').scrollIntoView(); });
      at('outcomes').append(part);
    }
    at('search').addEventListener('input', refresh);
    at('order').addEventListener('change', refresh);
    at('order').hidden = !queries.some(({candidates}) => candidates.length && candidates[0].score !== null);
  }

  function choose(key) {
    chosen = chosen === key ? null : key;
    refresh();
  }

  function refresh() {
    const words = at('search').value.toLowerCase();
    const score = query => query.candidates.length ? query.candidates[0].score : -1;
    shown = queries.filter(query => (!chosen || query.outcome === chosen) &&
      (!words || `${query.name}\n${query.status}\n${query.reason}`.toLowerCase().includes(words)));
    if (at('order').value !== 'given') {
      const sign = at('order').value === 'rising' ? 1 : -1;
      shown.sort((a, b) => sign * (score(a) - score(b)));
    }
    press(at('chips'), button => button.dataset.outcome === (chosen || ''));
    at('count').textContent = `${shown.length} of ${queries.length} queries` + (chosen ? `: ${label.get(chosen).meaning}` : '');
    at('tiles').replaceChildren();
    current = 0;
    grow(CHUNK);
  }

  // -- tiles
  function tile(query, number) {
    const kind = label.get(query.outcome);
    const match = query.candidates[0] || query.true;
    const button = make('button', {type: 'button', className: `tile card ${query.outcome}`, tabIndex: number ? -1 : 0},
      make('span', {className: 'pictures'}, picture(query.picture, `query ${query.name}`),
        match ? picture(match.picture, `${query.candidates.length ? 'best candidate' : 'true place'} ${match.name}`)
          : make('div', {className: 'none', textContent: 'no candidate'})),
      make('span', {className: 'words'},
        make('span', {className: query.name.includes('/') ? 'name path' : 'name', title: query.name}, make('bdi', {textContent: query.name})),
        make('span', {className: 'badge', textContent: kind.label})));
    button.addEventListener('click', () => { focus(number); open(number); });
    return button;
  }

  function grow(until) {
    const tiles = at('tiles'), from = tiles.children.length;
    tiles.append(...shown.slice(from, until).map((query, number) => tile(query, from + number)));
  }

  function focus(number) {
    const tiles = at('tiles');
    number = Math.max(0, Math.min(shown.length - 1, number));
    if (number < 0) return;
    if (number >= tiles.children.length) grow(number + CHUNK);
    tiles.children[current].tabIndex = -1;
    current = number;
    tiles.children[current].tabIndex = 0;
    tiles.children[current].focus();
  }

  at('tiles').addEventListener('keydown', event => {
    const columns = getComputedStyle(at('tiles')).gridTemplateColumns.split(' ').length;
    const steps = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -Infinity, End: Infinity};
    if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    focus(current + steps[event.key]);
  });
  new IntersectionObserver(seen => {
    if (seen.some(entry => entry.isIntersecting)) grow(at('tiles').children.length + CHUNK);
  }, {rootMargin: '1200px'}).observe(at('more'));

  // -- one pair
  function side(title, entry, boxes, palette) {
    const frame = make('div', {className: boxes.length ? 'frame drawn' : 'frame'},
      picture(entry.picture, `${title} ${entry.name}`, 'eager'));
    boxes.forEach(([x, y, wide, tall], number) => {
      const box = make('div', {className: 'box'}, make('span', {textContent: number + 1}));
      box.dataset.pair = number;
      box.style.cssText = `left:${x / 10}%;top:${y / 10}%;width:${wide / 10}%;height:${tall / 10}%`;
      box.style.setProperty('--pair', palette[number]);
      box.firstChild.style.color = legibleOn(palette[number]);
      frame.append(box);
    });
    return make('figure', {}, frame, make('figcaption', {textContent: `${title}: ${entry.name}`}));
  }

  function showSides(query, candidate) {
    const match = query.candidates[candidate];
    const pairs = candidate === 0 ? query.pairs : [];
    const palette = colours[pairs.length];
    const sides = [side('query', query, pairs.map(pair => pair[0]), palette)];
    if (match) sides.push(side(candidate ? `candidate ${candidate + 1}` : 'best candidate', match, pairs.map(pair => pair[1]), palette));
    if (query.true && (!match || match.truth !== 'true')) sides.push(side('true place', query.true, [], []));
    at('sides').replaceChildren(...sides);
    press(at('candidates'), button => Number(button.dataset.candidate) === candidate);
  }

  const JUDGED = {true: '✓ true', false: '✗ false', ignored: '· counts neither way'};

  function open(number) {
    const query = shown[opened = number];
    const kind = label.get(query.outcome);
    at('pair-title').textContent = query.name;
    at('pair-kind').textContent = kind.label;
    at('pair-kind').className = `badge ${query.outcome}`;
    at('pair-kind').title = kind.meaning;
    at('pair-reason').textContent = query.reason ? `${query.status}: ${query.reason}` : query.status;
    at('facts').replaceChildren(...query.facts.flatMap(([name, value]) =>
      [make('dt', {textContent: name}), make('dd', {textContent: value})]));
    at('candidates').replaceChildren(...query.candidates.map((candidate, rank) => {
      const score = candidate.score === null ? '' : `${candidate.score.toFixed(3)} `;
      const button = make('button', {type: 'button', title: candidate.name}, picture(candidate.picture, candidate.name),
        make('span', {textContent: `${rank + 1}. ${score}${JUDGED[candidate.truth]}`}));
      button.dataset.candidate = rank;
      button.addEventListener('click', () => showSides(query, rank));
      return make('li', {}, button);
    }));
    showSides(query, 0);
    at('previous').disabled = number === 0;
    at('next').disabled = number === shown.length - 1;
    if (!at('pair').open) at('pair').showModal();
  }

  function step(by) {
    const number = opened + by;
    if (number >= 0 && number < shown.length) open(number);
  }

  // At once, and not when the event "close" comes: until then the focus would be where the pair was opened from.
  function shut() {
    at('pair').close();
    focus(opened);
  }

  at('pair').addEventListener('keydown', event => {
    const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!by) return;
    event.preventDefault();
    step(by);
  });
  at('pair').addEventListener('click', event => { if (event.target === at('pair')) shut(); });
  at('pair').addEventListener('cancel', shut);  // Escape
  at('previous').addEventListener('click', () => step(-1));
  at('next').addEventListener('click', () => step(1));
  at('close').addEventListener('click', shut);
  at('sides').addEventListener('pointerover', event => {
    const box = event.target.closest('.box');
    for (const other of at('sides').querySelectorAll('.box'))
      other.classList.toggle('dim', box !== null && other.dataset.pair !== box.dataset.pair);
  });

  makeFilters();
  refresh();
})();
