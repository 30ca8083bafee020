// Decides when a card's buttons are active. After a card moves, they stay inactive until the pointer moves.
// Keys do nothing in the first second. Approve is inactive until the row is open and every long text was
// unfolded.
// app.js sends verdicts and changes the list.
'use strict';

export const $ = (selector, root = document) => root.querySelector(selector);
export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

/** How long after a card's move the pointer's movement does not count, because nobody reacts faster; in ms. */
const NOTICE = 300;
/** How far the pointer must move, in pixels. A resting hand moves it less. */
const MIN_MOVE = 6;
/** How long keys do nothing, and taps on a moved card do nothing, in ms. */
const HOLD = 1000;
/** How often we check whether a card has moved, in ms. */
const CHECK_EVERY = 150;
/** How long after a press a change of focus counts as caused by it, in ms. */
const PRESS = 500;
/** How long the page may keep scrolling after the wheel has turned, in ms. */
const MOMENTUM = 1000;

const MOVED = 'This call just moved or changed. Check it, move the pointer, then decide.';
const MOVED_BY_KEY = 'This call just moved or changed. Check it, then press a or d.';
export const TOO_SOON = 'Keys do nothing in the first second. Read, then press again.';

const now = () => performance.now();
const buttonOf = (element) => element?.closest('.actions [name=choice]') || null;

// The pointer.

export const pointer = {
  x: null,
  y: null,
  isTouch: matchMedia('(hover: none)').matches,
  isPressed: false,
  /** When the person last moved or pressed anything. */
  lastInput: -Infinity,
  /** Returns true if it is over an element. A finger that is not on the screen may be over any. */
  isOver(element) {
    if (this.isTouch) return true;
    if (this.x === null) return false;
    const { left, right, top, bottom } = element.getBoundingClientRect();
    return this.x >= left && this.x < right && this.y >= top && this.y < bottom;
  },
};
/** The button that the person has moved the pointer onto, which may no longer be the one under it. */
let aim = null;
let wheeled = -Infinity;
let releasedAt = -Infinity;
let pressedMoved = false;
let pressedFocus = null;

// The keys.

let keysFrom = now() + HOLD;
let isInKey = false;
let arrivedAt = null;

export const holdKeys = () => {
  keysFrom = now() + HOLD;
};
export const keysAreHeld = () => now() < keysFrom;

/** Returns true if the focus is in an element. A click also focuses text that is only read; that does not count. */
export const hasFocus = (element) => {
  const focus = document.activeElement;
  return element.contains(focus) && (focus !== pressedFocus || focus.matches('input:not([type=checkbox]), select'));
};

// What has moved.

const moved = new Map();
const places = new WeakMap();
const placed = () => all('#cards > li, .card.single');
const cardOf = (place) => (place.matches('.card') ? place : $('.card', place));

/** Deactivates the buttons of a card that has moved or changed, until the person can have noticed. */
export const unsettle = (card) => {
  moved.set(card, { at: now(), x: pointer.x, y: pointer.y });
  render(card);
};
const settle = (card) => {
  if (moved.delete(card)) render(card);
};

/** Finds the cards that have moved on the page since the last check, for whatever reason. */
export const checkMoves = () => {
  for (const place of placed()) {
    if (place.hidden) {
      places.delete(place);
      continue;
    }
    const { left, top, width, height } = place.getBoundingClientRect();
    const is = { left: left + scrollX, top: top + scrollY, width, height, inView: top };
    const was = places.get(place);
    places.set(place, is);
    const differs = (name) => Math.abs(is[name] - was[name]) > 1;
    const isSeen = (it) => it.inView < innerHeight && it.inView + it.height > 0;
    const hasMoved = !was || ['left', 'width', 'height'].some(differs) || (differs('top') && differs('inView'));
    if (hasMoved && (!was || isSeen(is) || isSeen(was))) unsettle(cardOf(place));
  }
  for (const [card, { at }] of moved) {
    const isSettled = now() - at >= HOLD && (pointer.isTouch || arrivedAt === card);
    if (!card.isConnected) moved.delete(card);
    else if (isSettled) settle(card);
  }
};

// Folded texts.

/** Folds the long texts below an element. The server sends them unfolded, for browsers without scripts. */
export const fold = (root = document) => {
  for (const text of all('details[data-fold]', root)) text.open = false;
};
const unread = (card) => all('.code details[data-fold]:not([data-read])', card);
/** A row that nobody has opened yet. */
const closedRow = (card) => $('details.whole:not([data-read])', card);
/** Returns why a card was not shown in full on this page; `null` if it was. */
export const unseen = (card) => {
  if ($('.large', card)) return 'is shown in full only on its own page';
  if (closedRow(card)) return 'has not been opened';
  return unread(card).length > 0 ? 'has a folded text' : null;
};
const texts = (count) => (count === 1 ? 'the long text' : `${count} long texts`);

/** Unfolds a card's unread texts, and scrolls to the first. */
export const unfold = (card) => {
  const [first, ...others] = unread(card);
  if (!first) return;
  holdKeys();
  for (const text of [first, ...others]) text.open = true;
  $('summary', first).focus({ preventScroll: true });
  first.scrollIntoView({ block: 'start' });
};

// How a card shows its state.

const notes = new WeakMap();

/** Shows a message below a card's buttons. */
export const note = (card, text) => {
  notes.set(card, text);
  render(card);
};

export const render = (card) => {
  const form = $('.actions', card);
  if (!form) return;
  const left = unread(card).length;
  for (const button of all('[name=choice]', form)) {
    const isOff = moved.has(card) || (button.value === 'approve' && (left > 0 || closedRow(card)));
    if (isOff) button.setAttribute('aria-disabled', 'true');
    else button.removeAttribute('aria-disabled');
  }
  const hint = $('.hint', form);
  const text = notes.get(card) || '';
  const words = left > 0 ? `Unfold ${texts(left)} first` : '';
  const shown = `${text}|${words}`;
  if (hint.dataset.shown === shown) return;
  hint.dataset.shown = shown;
  const parts = [];
  if (text) {
    const said = document.createElement('span');
    said.className = 'answer';
    said.setAttribute('role', 'alert');
    said.textContent = text;
    parts.push(said);
  }
  if (words) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'unfold';
    button.textContent = words;
    parts.push(button);
  }
  hint.replaceChildren(...parts);
};

/** Returns why a button is inactive; `null` if it is active. */
export const objection = (button, isKey) => {
  const card = button.closest('.card');
  checkMoves();
  const left = unread(card).length;
  if (button.value === 'approve' && closedRow(card)) return 'Open the row first.';
  if (button.value === 'approve' && left > 0) return `Unfold ${texts(left)} first.`;
  if (isKey) {
    // A key presses the focused button, even after it has moved. The person only needs time to notice.
    const at = moved.get(card)?.at ?? -Infinity;
    if (keysAreHeld()) return TOO_SOON;
    return now() - at < HOLD ? MOVED_BY_KEY : null;
  }
  const isElsewhere = pointer.isTouch ? pressedMoved : aim !== button;
  return moved.has(card) || isElsewhere ? MOVED : null;
};

/** Activates the buttons of a card when a key or a screen reader moves the focus to it. */
export const arrive = (card) => {
  arrivedAt = card;
  if (card) settle(card);
};

// What the person does.

const listenerOptions = { capture: true, passive: true };

document.addEventListener('pointermove', (event) => {
  pointer.isTouch = event.pointerType !== 'mouse';
  const { clientX: x, clientY: y } = event;
  if (pointer.isTouch || (x === pointer.x && y === pointer.y)) return;
  const from = pointer.x === null ? { x: x - event.movementX, y: y - event.movementY } : { x: pointer.x, y: pointer.y };
  Object.assign(pointer, { x, y, lastInput: now() });
  aim = buttonOf(event.target);
  for (const [card, move] of moved) {
    if (now() - move.at < NOTICE) Object.assign(move, { x, y });
    else {
      if (move.x === null) Object.assign(move, from);
      if (Math.abs(x - move.x) + Math.abs(y - move.y) >= MIN_MOVE) settle(card);
    }
  }
}, listenerOptions);
document.addEventListener('pointerdown', (event) => {
  pointer.isTouch = event.pointerType !== 'mouse';
  Object.assign(pointer, { isPressed: true, lastInput: now() });
  checkMoves();
  const card = event.target.closest('.card');
  pressedMoved = moved.has(card);
}, listenerOptions);
for (const type of ['pointerup', 'pointercancel']) {
  document.addEventListener(type, () => {
    releasedAt = now();
    Object.assign(pointer, { isPressed: false, lastInput: releasedAt });
  }, listenerOptions);
}
// Without capture: with it, this would get the event of every element in the document.
document.documentElement.addEventListener('pointerleave', () => Object.assign(pointer, { x: null, y: null }));
document.addEventListener('wheel', () => {
  wheeled = now();
}, listenerOptions);
document.addEventListener('scroll', () => {
  if (now() - wheeled < MOMENTUM && pointer.x !== null) aim = buttonOf(document.elementFromPoint(pointer.x, pointer.y));
}, listenerOptions);
document.addEventListener('keydown', (event) => {
  isInKey = true;
  pressedFocus = null;
  pointer.lastInput = now();
  setTimeout(() => {
    isInKey = false;
  });
  // A key that is held down would also press the next button that gets the focus.
  if (event.repeat && ['Enter', ' '].includes(event.key) && event.target.closest('.actions')) event.preventDefault();
}, true);
document.addEventListener('focusin', (event) => {
  // With touch, the focus changes after the finger was lifted.
  const isPressed = !isInKey && (pointer.isPressed || now() - releasedAt < PRESS);
  pressedFocus = isPressed ? event.target : null;
  if (!isPressed) arrive(event.target.closest('.card'));
}, true);
document.addEventListener('focusout', () => {
  arrivedAt = null;
}, true);
document.addEventListener('toggle', (event) => {
  const text = event.target;
  if (!text.matches('details[data-fold], details.whole') || !text.open) return;
  text.dataset.read = '';
  const card = text.closest('.card');
  if (card) render(card);
}, true);
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) holdKeys();
});
window.addEventListener('focus', holdKeys);
window.addEventListener('pageshow', (event) => {
  holdKeys();
  if (event.persisted) for (const card of all('.card')) unsettle(card);
});
// A large page is painted long after it has loaded.
requestAnimationFrame(() => requestAnimationFrame(holdKeys));

fold();
checkMoves();
setInterval(checkMoves, CHECK_EVERY);
// From here on app.css lets the pointer press buttons.
document.documentElement.classList.add('guarded');
