// Keeps open pages of the inbox up to date, and adds keyboard shortcuts. The page also works without it.
'use strict';
import {
  $, TOO_SOON, all, arrive, fold, hasFocus, holdKeys, keysAreHeld, checkMoves, note, objection, pointer, unfold, unseen, unsettle,
} from './guard.js';

(() => {
  // Logging in: sends the part after `#` in the link from the terminal, and removes it from the address.
  const login = $('#login');
  if (login) {
    const token = location.hash.slice(1);
    if (token) {
      history.replaceState(null, '', location.pathname);
      $('#login-title').textContent = 'Logging in …';
      $('#token').value = token;
      login.submit();
    }
    return;
  }

  // Pairing: fills in the code from the link that the phone has scanned. The person sends it.
  const code = $('#code');
  if (code) {
    if (location.hash.length > 1) {
      code.value = location.hash.slice(1);
      history.replaceState(null, '', location.pathname);
    }
    return;
  }

  // A page that asked to log in reloads as soon as another tab is logged in.
  if ('BroadcastChannel' in window) {
    const loginChannel = new BroadcastChannel('approvals-login');
    if (document.body.hasAttribute('data-live')) loginChannel.postMessage('here');
    // The page may be the response to a form, which cannot be requested again. So load the page with the form.
    else if ($('#error .command')) loginChannel.onmessage = () => location.replace(location.pathname.replace(/\/decide$|^\/login$/, '') || '/');
  }

  // Times, in the reader's own language.
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
  const short = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
  const two = (number) => String(number).padStart(2, '0');
  const span = (ms) => {
    const s = Math.floor(ms / 1000);
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
    return `${Math.floor(s / 86400)} days`;
  };
  const write = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  const tick = (root = document) => {
    const now = Date.now();
    for (const time of all('time[data-ago]', root)) {
      const passed = now - Number(time.dataset.ago);
      time.title = full.format(Number(time.dataset.ago));
      write(time, passed < 5000 ? 'just now' : `${span(passed)} ago`);
    }
    for (const time of all('time[data-left]', root)) {
      const left = Number(time.dataset.left) - now;
      const s = Math.max(0, Math.ceil(left / 1000));
      write(time, left <= 0 ? 'expired' : s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)} left` : `${span(left)} left`);
      time.parentElement.classList.toggle('soon', left < 60000);
    }
  };
  const moments = (root) => {
    for (const time of all('time[data-ms]', root)) {
      const when = Number(time.dataset.ms);
      time.dateTime = new Date(when).toISOString();
      time.title = full.format(when);
      write(time, (time.closest('.row') ? short : full).format(when));
    }
  };
  moments(document);
  tick();
  setInterval(tick, 1000);
  for (const element of all('.needs-script')) element.hidden = false;

  const live = document.body.hasAttribute('data-live');
  const inbox = () => $('#inbox');
  const cards = () => $('#cards');
  let silence;
  const say = (text) => {
    const status = $('#status');
    if (!status) return;
    status.textContent = text;
    clearTimeout(silence);
    silence = setTimeout(() => { status.textContent = ''; }, 8000);
  };

  // The number of waiting items: in the title, the tab and the icon.
  const bareTitle = document.title.replace(/^\(\d+\) /, '');
  const badge = (count) => {
    document.title = count > 0 ? `(${count}) ${bareTitle}` : bareTitle;
    const shown = $('#count');
    if (shown) write(shown, String(count));
    const icon = count > 0 ? '/assets/icon-waiting.svg' : '/assets/icon.svg';
    if (!$('link[rel=icon]').href.endsWith(icon)) $('link[rel=icon]').href = icon;
  };

  // The approver's name, which another tab may have changed.
  const showName = (name) => {
    write($('#approver'), name || 'Your name');
    const field = $('#name-form [name=name]');
    // Do not overwrite it while the person edits it here.
    if (me.open) return;
    field.value = field.defaultValue = name;
  };
  const me = $('#me');
  if (me) {
    me.addEventListener('toggle', () => {
      if (me.open) $('[name=name]', me).focus({ preventScroll: true });
    });
    document.addEventListener('pointerdown', (event) => {
      if (!me.contains(event.target)) me.open = false;
    });
  }

  // The connection to the inbox. Without it, calls may be waiting that we do not know of, so the page must not
  // say that nothing is waiting.
  const NONE_LEFT = 'Nothing is waiting any more.';
  const offline = $('#offline');
  const lostText = offline?.textContent;
  const setLost = (why) => {
    if (!offline) return;
    write(offline, why || lostText);
    offline.hidden = !why;
    document.body.classList.toggle('lost', Boolean(why));
    if (why && $('#status')?.textContent === NONE_LEFT) say('');
  };

  // A correct passphrase is kept in this page's memory only, until the person leaves the page, enters a wrong
  // one, or has not used it for some minutes.
  const KEPT_FOR = 5 * 60 * 1000;
  let secret = '';
  let usedSecret = 0;
  let forgetting;
  const updateFields = () => {
    for (const field of all('#cards [name=passphrase]')) {
      field.required = !secret;
      field.placeholder = secret ? 'kept while this page is open' : '';
    }
    if ($('#forget')) $('#forget').hidden = !secret;
  };
  const keep = (text) => {
    secret = text;
    usedSecret = Date.now();
    clearTimeout(forgetting);
    if (text) forgetting = setTimeout(() => keep(''), KEPT_FOR);
    updateFields();
  };
  // A timer may be late, for example after the machine has slept.
  const kept = () => {
    if (secret && Date.now() - usedSecret > KEPT_FOR) keep('');
    return secret;
  };
  window.addEventListener('pagehide', () => keep(''));
  $('#forget')?.addEventListener('click', () => {
    keep('');
    say('Passphrase forgotten.');
  });

  // The list. Items that stay keep their elements, and with them typed text, focus and unfolded texts.
  // Nothing moves while the person uses the list: new items wait behind a button, and an item that no
  // longer waits leaves a gap.
  const QUIET = 400;
  const IDLE = 2000;
  const OUTCOMES = {
    approved: 'Approved elsewhere. The call may run.',
    denied: 'Denied elsewhere. The call will not run.',
    expired: 'Nobody decided in time, so the call did not run.',
    withdrawn: 'The call was withdrawn before anybody decided.',
  };
  const MAX_EXPLAINED = 20;
  /** How a waiting item has changed. One line, because the card must not grow. */
  const CHANGES = {
    parked: 'Refused for now. If you approve, the agent can make the call again.',
    'waiting disregarded': 'A verdict did not count: press “changed” above the list.',
    'parked disregarded': 'A verdict did not count: press “changed” above the list.',
  };

  const itemsOf = (root) => new Map(all('#cards > li', root).map((item) => [$('.card', item).id, item]));
  const isGone = (item) => $('.card', item).classList.contains('gone');
  const isTyped = (card) => all('.actions input:not([type=hidden])', card).some((field) => field.value !== field.defaultValue || field.checked !== field.defaultChecked)
    || all('.answers option', card).some((option) => option.selected && !option.defaultSelected && option.value);
  const isSelected = (element) => {
    const selection = getSelection();
    return !selection.isCollapsed && selection.rangeCount > 0 && selection.getRangeAt(0).intersectsNode(element);
  };
  const isThere = () => {
    const isFocused = hasFocus(cards()) && !document.activeElement.closest('.gone');
    return isFocused || (!document.hidden && pointer.isOver(inbox()));
  };
  const inUse = () => {
    if (!cards().firstElementChild) return false;
    // Gaps have no buttons, so the list may change as soon as the person pauses.
    if (!$('.card:not(.gone)', cards())) return performance.now() - pointer.lastInput < IDLE;
    return isThere() || isSelected(cards()) || all('.card', cards()).some(isTyped);
  };

  // The newest list from the server, until it is shown.
  let pending = null;
  let usedAt = -Infinity;
  const isFree = () => {
    if (inUse()) usedAt = performance.now();
    return performance.now() - usedAt >= QUIET;
  };

  // Replaces a card with a gap of the same size that says what happened.
  const leaveGap = (card, text) => {
    const height = `${card.getBoundingClientRect().height}px`;
    const box = $('.pick input', card);
    if (box) Object.assign(box, { checked: false, disabled: true });
    const row = $('.whole:not([open]) > summary .begin', card);
    if (row) {
      row.className = 'begin gone-note';
      row.setAttribute('role', 'status');
      for (const form of all('.actions', card)) form.remove();
    }
    const place = $('.actions, .large', card);
    if (place) {
      const outcome = document.createElement('p');
      outcome.className = 'gone-note';
      outcome.setAttribute('role', 'status');
      const hadFocus = place.contains(document.activeElement);
      outcome.style.height = `${place.getBoundingClientRect().height}px`;
      place.replaceWith(outcome);
      if (hadFocus) card.focus({ preventScroll: true });
    }
    card.style.minHeight = height;
    card.classList.add('gone');
    write($('.gone-note', card), text);
    recount();
  };
  const explain = async (gone) => {
    for (const card of gone.slice(0, MAX_EXPLAINED)) {
      try {
        const response = await fetch(`/item/${card.id.replace(/^item-/, '')}`, { redirect: 'error' });
        const page = new DOMParser().parseFromString(await response.text(), 'text/html');
        const outcome = OUTCOMES[$('.card.single', page)?.dataset.state];
        if (outcome && !card.dataset.decided) write($('.gone-note', card), outcome);
      } catch {
        return;
      }
    }
  };

  // Marks cards that are gone or have changed, without moving anything.
  const mark = (fresh) => {
    const [old, now] = [itemsOf(document), itemsOf(fresh)];
    const ids = [...old.keys()];
    // The server may list only the newest items. Older ones that are missing may still wait.
    const end = $('.more', fresh) ? ids.findLastIndex((id) => now.has(id)) : ids.length;
    const gone = [];
    for (const id of ids.slice(0, end + 1)) {
      const card = $('.card', old.get(id));
      if (isGone(old.get(id)) || card.dataset.sending) continue;
      if (!now.has(id)) {
        leaveGap(card, 'No longer waiting.');
        gone.push(card);
        continue;
      }
      const { state } = $('.card', now.get(id)).dataset;
      if (state === (card.dataset.seen ?? card.dataset.state)) continue;
      if (state === card.dataset.state) {
        delete card.dataset.seen;
        note(card, '');
      } else {
        card.dataset.seen = state;
        note(card, CHANGES[state] || 'This call has changed: press “changed” above the list.');
      }
      unsettle(card);
      if (card === chosen) holdKeys();
    }
    if (gone.length > 0) explain(gone);
  };
  const showCounts = () => {
    const [old, now] = [itemsOf(document), pending ? itemsOf(pending) : new Map()];
    const items = [...old.values()];
    const count = {
      new: [...now.keys()].filter((id) => !old.has(id) || isGone(old.get(id))).length,
      changed: all('#cards .card[data-seen]:not(.gone)').length,
      gone: items.filter((item) => isGone(item) && !$('.card', item).dataset.decided).length,
      // Only for touch: a mouse leaves the list, and these gaps with it.
      done: pointer.isTouch ? items.filter((item) => isGone(item) && $('.card', item).dataset.decided).length : 0,
    };
    const words = Object.entries(count).filter(([, number]) => number > 0).map(([word, number]) => `${number} ${word}`);
    const button = $('#news');
    write(button, words.join(', '));
    button.hidden = !pending || words.length === 0;
    return count;
  };

  // Copies what the person typed, selected and unfolded to the replacement of a card.
  const copyInput = (from, to) => {
    const value = (card, name) => $(`[name=${name}]`, card)?.value;
    if (value(from, 'shown') !== value(to, 'shown')) return;
    for (const name of ['reason', 'minutes', 'passphrase']) {
      const field = $(`[name=${name}]`, to);
      if (field) field.value = value(from, name) ?? field.value;
    }
    for (const field of all('.answers [name]', to)) {
      const old = $(`[name=${field.name}]`, from);
      if (old) [field.value, field.checked] = [old.value, old.checked];
    }
    const [box, was] = [to, from].map((card) => $('.pick input', card));
    if (box && was) box.checked = was.checked;
    const [old, fresh] = [from, to].map((card) => all('details.whole, .code details', card));
    // A whole card counts as an opened row.
    const row = $('details.whole', to);
    if (row && !$('details.whole', from)) {
      old.unshift({ open: false, dataset: { read: '' } });
    } else if (!row && $('details.whole', from)) {
      old.shift();
    }
    fresh.forEach((text, at) => {
      if (!old[at]) return;
      text.open = old[at].open;
      if ('read' in old[at].dataset) text.dataset.read = '';
    });
  };
  const show = () => {
    const [fresh, added] = [pending, []];
    pending = null;
    const old = itemsOf(document);
    const wanted = [...itemsOf(fresh)].map(([id, item]) => {
      const [card, known] = [$('.card', item), old.get(id)];
      const isRow = (it) => $('.card', it).matches('.compact');
      const isSame = known && !isGone(known) && $('.card', known).dataset.state === card.dataset.state && isRow(known) === isRow(item);
      if (isSame || (known && $('.card', known).dataset.sending)) {
        old.delete(id);
        return known;
      }
      fold(item);
      if (known && !isGone(known)) {
        copyInput($('.card', known), card);
        if ($('.card', known) === chosen) holdKeys();
      } else {
        card.classList.add('fresh');
        added.push(card);
      }
      return item;
    });
    const hadFocus = cards().contains(document.activeElement);
    for (const item of old.values()) if (!$('.card', item).dataset.sending) item.remove();
    // Move only what is new or out of place: an element loses its focus when it moves.
    let next = cards().firstElementChild;
    for (const item of wanted) {
      if (item === next) next = next.nextElementSibling;
      else cards().insertBefore(item, next);
    }
    for (const part of ['.empty', '.more']) {
      const [was, is] = [$(part, inbox()), $(part, fresh)];
      if (was) was.remove();
      if (is && part === '.empty') cards().before(is);
      else if (is) inbox().append(is);
    }
    inbox().dataset.count = fresh.dataset.count;
    moments(inbox());
    tick(inbox());
    filter();
    updateFields();
    recount();
    if (chosen && !chosen.isConnected) choose(document.getElementById(chosen.id), hadFocus);
    if (hadFocus && !cards().contains(document.activeElement)) $('#main').focus({ preventScroll: true });
    checkMoves();
    showCounts();
    return added;
  };
  const showIfFree = () => {
    // Usually there is nothing to show. Then skip the check of hundreds of cards' fields.
    if (!pending && !$('#cards .gone')) {
      if (isThere()) usedAt = performance.now();
      return;
    }
    if (!isFree()) return;
    if (pending) return show();
    for (const item of all('#cards > li')) if (isGone(item)) item.remove();
  };
  const receive = (fresh) => {
    // The token changes when the person logs in again in another tab.
    const secret = $('[name=csrf]', fresh);
    if (secret) for (const field of all('[name=csrf]')) field.value = secret.value;
    pending = fresh;
    if (isFree()) return show();
    mark(fresh);
    const { new: added, changed, gone, done } = showCounts();
    if (added + changed + gone + done === 0 && !$('#cards .gone')) pending = null;
  };
  const showNews = (isKey) => {
    if (!pending) return;
    const [first] = show();
    if (isKey) holdKeys();
    if (isKey && first) choose(first);
    // New items are at the end of the list, so scroll to them.
    else if (first) first.scrollIntoView({ block: 'nearest' });
    else if (isKey) $('#main').focus({ preventScroll: true });
  };
  if (inbox()) {
    setInterval(showIfFree, 150);
    $('#news').addEventListener('click', (event) => showNews(event.detail === 0));
  }

  let seenIds = inbox() && new Set(itemsOf(document).keys());
  let fetching = false;
  let again = false;
  let decisionCount = 0;
  const refresh = async () => {
    if (fetching) {
      again = true;
      return;
    }
    fetching = true;
    try {
      const decidedBefore = decisionCount;
      const most = new URLSearchParams(location.search).get('show');
      const path = inbox() && most ? `/fragment?show=${encodeURIComponent(most)}` : '/fragment';
      const response = await fetch(path, { redirect: 'error' });
      if (response.status === 401) return location.reload();
      const html = await response.text();
      if (!response.ok) {
        const why = $('#error [role=alert]', new DOMParser().parseFromString(html, 'text/html'));
        setLost(why ? why.textContent : 'The inbox cannot be read.');
        return;
      }
      setLost('');
      if (decisionCount !== decidedBefore) {
        // The list may still contain an item that was decided here in the meantime.
        again = true;
        return;
      }
      const fresh = $('#inbox', new DOMParser().parseFromString(html, 'text/html'));
      if (!fresh) return;
      const count = Number(fresh.dataset.count);
      const was = Number($('#count').textContent);
      const added = [...itemsOf(fresh)].filter(([id]) => seenIds && !seenIds.has(id)).map(([, item]) => $('.card', item));
      seenIds = new Set(itemsOf(fresh).keys());
      if (inbox()) receive(fresh);
      badge(count);
      showName(fresh.dataset.approver);
      if (count > was) {
        const words = count - was === 1 ? 'One more call is waiting' : `${count - was} more calls are waiting`;
        say(pending && !$('#news').hidden ? `${words}: press “${$('#news').textContent}” above the list.` : `${words}.`);
        notify(added, count);
      } else if (count === 0 && was > 0 && !$('#status')?.textContent) {
        // Do not replace the message about the person's own verdict.
        say(NONE_LEFT);
      }
    } catch {
      setLost(lostText);
    } finally {
      fetching = false;
      if (again) {
        again = false;
        refresh();
      }
    }
  };

  // A browser opens only a few connections to one server, and every listening tab would keep one. So only one
  // tab listens, and notifies the others.
  if (live) {
    const channel = 'BroadcastChannel' in window ? new BroadcastChannel('approvals') : null;
    if (channel) channel.onmessage = () => refresh();
    let lost = false;
    let isListening = false;
    const listen = () => {
      isListening = true;
      const events = new EventSource('/events');
      events.addEventListener('changed', () => {
        refresh();
        if (channel) channel.postMessage('changed');
      });
      events.onopen = () => {
        // No event reports changes between the creation of this page and the start of listening.
        refresh();
        if (lost) {
          lost = false;
          if (channel) channel.postMessage('changed');
        }
      };
      events.onerror = () => {
        lost = true;
        setLost(lostText);
        if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
      };
    };
    if (channel && navigator.locks) navigator.locks.request('approvals-listen', () => new Promise(listen));
    else listen();
    // If another tab listens, this page has missed the events during its own loading.
    setTimeout(() => {
      if (inbox() && !isListening) refresh();
    }, 500);
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) refresh();
    });
    window.addEventListener('pageshow', (event) => {
      if (event.persisted) refresh();
    });
  }

  // Push messages, which reach a device while no page is open.
  const pushKey = 'serviceWorker' in navigator && 'PushManager' in window ? document.body.dataset.push : undefined;
  // One for another key is worth nothing: somebody has removed the key's file.
  const isForOurKey = ({ options }) => {
    const bytes = new Uint8Array(options?.applicationServerKey ?? []);
    const text = btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
    return text === pushKey;
  };
  const subscription = async () => {
    const found = await (await navigator.serviceWorker.getRegistration('/'))?.pushManager.getSubscription();
    if (!found || isForOurKey(found)) return found;
    await found.unsubscribe();
    return null;
  };
  const sendSubscription = async (found) => {
    const body = new URLSearchParams({ csrf: $('input[name=csrf]').value, subscription: JSON.stringify(found) });
    const answer = await fetch('/push', { method: 'POST', body });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
  };
  const subscribe = async () => {
    await navigator.serviceWorker.register('/sw.js');
    const { pushManager } = await navigator.serviceWorker.ready;
    await sendSubscription(await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: pushKey }));
  };

  // Notifications, if the person wants them. They contain no arguments, because others may see them.
  const notifyButton = $('#notify');
  const offer = async () => {
    const isPossible = 'Notification' in window && Notification.permission !== 'denied';
    const isOn = isPossible && Notification.permission === 'granted' && (!pushKey || await subscription());
    notifyButton.hidden = !isPossible || Boolean(isOn);
  };
  if (notifyButton) {
    offer();
    // The page may have forgotten a subscription that the browser still has.
    if (pushKey) subscription().then((found) => found && sendSubscription(found)).catch(() => {});
    notifyButton.addEventListener('click', async () => {
      await Notification.requestPermission();
      const isAllowed = Notification.permission === 'granted';
      try {
        if (isAllowed && pushKey) await subscribe();
        say(isAllowed ? 'You will be notified of new calls.' : 'The browser does not allow notifications.');
      } catch {
        say('The browser’s push service cannot be reached, so you will not be notified.');
      }
      offer();
    });
  }
  const notify = async (added, count) => {
    if (!('Notification' in window) || Notification.permission !== 'granted' || document.hasFocus()) return;
    // A push message says it already. Only a service worker may show notifications on a phone.
    if (pushKey && await subscription()) return;
    const tools = added.slice(0, 3).map((card) => $('h2', card).textContent);
    const note = new Notification(count === 1 ? 'A call needs your approval' : `${count} calls need your approval`, {
      body: tools.join(', '),
      icon: '/assets/icon.svg',
      tag: 'approvals',
    });
    note.onclick = () => {
      window.focus();
      note.close();
    };
  };

  // Deciding. An inactive button says why.
  let isByKey = true;
  const mayDecide = (event, button) => {
    const why = objection(button, isByKey);
    if (!why) return true;
    event.preventDefault();
    event.stopImmediatePropagation();
    say(why);
    return false;
  };
  document.addEventListener('click', (event) => {
    const button = event.target.closest('.actions button');
    if (!button) return;
    isByKey = event.detail === 0;
    if (button.matches('.unfold')) unfold(button.closest('.card'));
    else mayDecide(event, button);
  }, true);
  document.addEventListener('submit', async (event) => {
    const form = event.target;
    if (form.id === 'batch') {
      const why = severalObjection(event.submitter?.value);
      if (why) event.preventDefault();
      if (why) say(why);
      return;
    }
    if (form.id === 'name-form') {
      // Do not reload the page: it would lose typed text and unfolded texts.
      event.preventDefault();
      let text = 'The inbox cannot be reached. Your name may not have changed.';
      try {
        const response = await fetch(form.action, { method: 'POST', body: new URLSearchParams(new FormData(form)) });
        const page = new DOMParser().parseFromString(await response.text(), 'text/html');
        if (response.ok) {
          const name = $('#name-form [name=name]', page).value;
          me.open = false;
          showName(name);
          text = name ? 'Your decisions will be recorded with your name.' : 'Your decisions will be recorded without a name.';
        } else {
          text = $('#error p', page)?.textContent ?? text;
        }
      } catch {
        // `text` already says so.
      }
      return say(text);
    }
    if (!form.matches('.actions')) return;
    const wasByKey = isByKey;
    if (form.closest('.card').dataset.sending) return event.preventDefault();
    const isAllowed = mayDecide(event, event.submitter || $('[value=deny], [name=choice]', form));
    isByKey = true;
    // On its own page, an item is decided as without the script.
    if (!isAllowed || !form.closest('#cards')) return;
    event.preventDefault();
    const card = form.closest('.card');
    const body = new URLSearchParams(new FormData(form, event.submitter));
    const asksSecret = body.has('passphrase');
    if (asksSecret && !body.get('passphrase')) body.set('passphrase', kept());
    const buttons = all('[name=choice]', form);
    for (const button of buttons) button.disabled = true;
    card.dataset.sending = 'yes';
    let text = 'The inbox cannot be reached. Your decision may not have counted.';
    let done = false;
    try {
      const response = await fetch(form.action, { method: 'POST', body });
      const page = new DOMParser().parseFromString(await response.text(), 'text/html');
      const said = $('#said', page) || $('#error', page);
      text = said ? said.textContent : text;
      done = response.ok;
      if (asksSecret && done) keep(body.get('passphrase'));
      else if (asksSecret && [403, 429].includes(response.status)) keep('');
    } catch {
      // `text` already says so.
    }
    delete card.dataset.sending;
    if (done) {
      decisionCount += 1;
      say(text);
      card.dataset.decided = 'yes';
      const next = neighbour(card);
      leaveGap(card, text);
      if (chosen === card) choose(next, wasByKey);
      holdKeys();
      await refresh();
      return;
    }
    for (const button of buttons) button.disabled = false;
    note(card, text);
    if (pending) {
      mark(pending);
      showCounts();
    }
    const field = $('[name=passphrase]', form);
    if (field) {
      field.value = '';
      field.focus();
    }
  });

  // Several at once. The form leads to a page that lists the calls, and decides nothing yet.
  const MOST = 100;
  const batch = $('#batch');
  const boxes = () => all('#cards .pick input');
  const picked = () => boxes().filter((box) => box.checked).map((box) => box.closest('.card'));
  const some = (number, one, many) => (number === 1 ? `1 of them ${one}` : `${number} of them ${many}`);
  const severalObjection = (choice) => {
    const cards = picked();
    if (cards.length === 0) return 'Select a call first: tick its box, or press s.';
    if (cards.length > MOST) return `At most ${MOST} calls can be decided at once.`;
    if (choice !== 'approve') return null;
    const risky = cards.filter((card) => card.matches('.high')).length;
    if (risky > 0) return `High-risk calls are approved one by one: ${some(risky, 'is high-risk', 'are high-risk')}.`;
    const [first, ...others] = cards.map(unseen).filter(Boolean);
    return first ? `Only calls shown in full can be approved: ${some(others.length + 1, first, 'must be opened and unfolded first')}.` : null;
  };
  // A hoisted function, because the list calls it before execution reaches this line.
  function recount() {
    if (!batch) return;
    const cards = picked();
    const why = cards.length > 0 ? severalObjection('approve') : null;
    const words = cards.length === 1 ? '1 call selected.' : `${cards.length} calls selected.`;
    write($('#picked'), why ? `${words} ${why}` : words);
    batch.hidden = cards.length === 0;
    if (why) $('[value=approve]', batch).setAttribute('aria-disabled', 'true');
    else $('[value=approve]', batch).removeAttribute('aria-disabled');
    for (const box of boxes()) box.closest('.card').classList.toggle('is-picked', box.checked);
  }
  if (batch) {
    document.addEventListener('change', (event) => {
      if (event.target.matches('.pick input')) recount();
    });
    document.addEventListener('toggle', recount, true);
    $('#unpick').addEventListener('click', () => {
      for (const box of boxes()) box.checked = false;
      recount();
    });
    $('#pick-all').addEventListener('click', () => {
      const free = boxes().filter((box) => !box.disabled && !box.closest('li').hidden);
      free.forEach((box, at) => { box.checked = at < MOST; });
      recount();
    });
    recount();
  }

  // The keys.
  let chosen = null;
  const list = () => all('.card:not(.gone), .row').filter((card) => !card.closest('li')?.hidden);
  const neighbour = (card) => {
    const cards = list();
    const at = cards.indexOf(card);
    return cards[at + 1] || cards[at - 1] || null;
  };
  const choose = (card, isKey = true) => {
    if (chosen) chosen.classList.remove('chosen');
    chosen = card;
    if (!card) return;
    card.classList.add('chosen');
    // The page must not scroll under a mouse.
    if (!isKey) return;
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: 'nearest' });
  };
  const step = (by) => {
    const cards = list();
    const at = cards.indexOf(chosen);
    choose(cards[at < 0 ? 0 : Math.min(Math.max(at + by, 0), cards.length - 1)] || null);
  };
  const current = () => {
    const single = $('.card.single');
    if (single) return single;
    return chosen && chosen.isConnected ? chosen : null;
  };
  // Focuses the button or, if a passphrase is needed, its field. Then Enter decides.
  const aim = (choice) => {
    const form = current() && $('.actions', current());
    if (!form) return;
    const row = $('details.whole:not([open])', current());
    if (row) {
      row.open = true;
      current().scrollIntoView({ block: 'nearest' });
      holdKeys();
      return say('The call is open now. Read it, then press the key again.');
    }
    const button = $(`[value=${choice}]`, form);
    if (!button) return;
    form.dataset.aim = choice;
    arrive(current());
    const asked = $('[name=passphrase]', form);
    const field = choice === 'deny' ? $('[name=reason]', form) : asked && !asked.value && !kept() ? asked : null;
    const target = field || button;
    const { top, bottom } = current().getBoundingClientRect();
    // The card comes into view only now.
    if (bottom < 0 || top > innerHeight) holdKeys();
    target.focus();
    const why = choice === 'approve' && objection(target, true);
    if (why) say(`${why} Press x to unfold.`);
    else say(choice === 'deny' ? 'Press Enter to deny.' : 'Press Enter to approve.');
  };
  const help = $('#help');
  if (help) $('#help-button').addEventListener('click', () => help.showModal());
  document.addEventListener('focusin', (event) => {
    const card = event.target.closest('.card, .row');
    if (card && card !== chosen && event.target !== card) {
      if (chosen) chosen.classList.remove('chosen');
      chosen = card;
      card.classList.add('chosen');
    }
  });
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const target = event.target;
    if (help && help.open) return;
    if (event.key === 'Escape' && me?.open) {
      me.open = false;
      $('summary', me).focus({ preventScroll: true });
      return;
    }
    if (target.matches('input:not([type=checkbox]), select, textarea')) {
      if (event.key === 'Escape') {
        target.blur();
        if (chosen) chosen.focus({ preventScroll: true });
      }
      const form = target.closest('.actions');
      if (event.key === 'Enter' && form && target.matches('[name=passphrase], [name=reason]')) {
        event.preventDefault();
        isByKey = true;
        const choice = target.name === 'reason' ? 'deny' : form.dataset.aim;
        const button = choice && $(`[value=${choice}]`, form);
        if (button) form.requestSubmit(button);
        else say('Press Approve or Deny.');
      }
      return;
    }
    const keys = {
      j: () => step(1),
      ArrowDown: () => step(1),
      k: () => step(-1),
      ArrowUp: () => step(-1),
      a: () => aim('approve'),
      d: () => aim('deny'),
      s: () => $('.pick input:not(:disabled)', current() ?? document.createElement('p'))?.click(),
      A: () => batch?.requestSubmit($('[value=approve]', batch)),
      D: () => batch?.requestSubmit($('[value=deny]', batch)),
      n: () => showNews(true),
      o: () => current() && $('h2 a, a.tool', current())?.click(),
      x: () => {
        const texts = current() ? all('details', current()) : [];
        const open = texts.some((text) => !text.open);
        // The person needs time to read.
        if (open) holdKeys();
        for (const text of texts) text.open = open;
        if (open) texts[0].scrollIntoView({ block: 'nearest' });
      },
      '/': () => ($('#filter') || $('[name=tool]'))?.focus(),
      '?': () => help?.showModal(),
    };
    // On an item's own page the arrow keys scroll, as usual.
    if (!keys[event.key] || (event.key.startsWith('Arrow') && !$('li .card, .row'))) return;
    event.preventDefault();
    if (keysAreHeld()) say(TOO_SOON);
    else keys[event.key]();
  });

  // The list's filter. It covers only the items on this page.
  const filter = () => {
    const field = $('#filter');
    if (!field) return;
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of all('#cards > li')) {
      const text = words.length ? item.textContent.toLowerCase() : '';
      item.hidden = !words.every((word) => text.includes(word));
      if (!item.hidden) shown += 1;
      // A hidden call must not be decided.
      else if ($('.pick input', item)) $('.pick input', item).checked = false;
    }
    recount();
    if (words.length) say(`${shown} ${shown === 1 ? 'matches' : 'match'} the filter.`);
    // The filter takes the same space even when hidden, so the list does not move.
    $('#list-tools').classList.toggle('unseen-tools', !words.length && all('#cards > li').length < 2);
  };
  if ($('#filter')) {
    $('#filter').addEventListener('input', () => {
      filter();
      checkMoves();
      if (!$('#filter').value) say('');
    });
    filter();
  }
})();
