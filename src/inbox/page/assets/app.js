// Keeps open pages of the inbox fresh, and brings the keys. Everything also works without it.
'use strict';
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Logging in: what stands behind `#` in the link from the terminal is sent, and forgotten.
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

  // A page that was opened before this browser was logged in shows itself once another tab is.
  if ('BroadcastChannel' in window) {
    const door = new BroadcastChannel('approvals-login');
    if (document.body.hasAttribute('data-live')) door.postMessage('here');
    // What it is may be the answer to a form, which cannot be asked for again.
    else if ($('#trouble .command')) door.onmessage = () => location.replace(location.pathname.replace(/\/decide$|^\/login$/, '') || '/');
  }

  // Times, in the reader's own words.
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
      write(time, left <= 0 ? 'time is over' : s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)} left` : `${span(left)} left`);
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

  // The number of what waits: in the title, the tab and the icon.
  const bareTitle = document.title.replace(/^\(\d+\) /, '');
  const badge = (count) => {
    document.title = count > 0 ? `(${count}) ${bareTitle}` : bareTitle;
    const shown = $('#count');
    if (shown) write(shown, String(count));
    const icon = count > 0 ? '/assets/icon-waiting.svg' : '/assets/icon.svg';
    if (!$('link[rel=icon]').href.endsWith(icon)) $('link[rel=icon]').href = icon;
  };

  // What has just moved must not be pressed by mistake.
  let settled;
  const settle = () => {
    document.body.classList.add('settling');
    clearTimeout(settled);
    settled = setTimeout(() => document.body.classList.remove('settling'), 700);
  };

  // The list: items that stay keep their elements, and so what is typed, focused and unfolded.
  const isBusy = (card) => {
    const typed = all('input[type=text], input[type=password]', card).some((field) => field.value !== field.defaultValue);
    return typed || card.contains(document.activeElement) && document.activeElement !== card;
  };
  const leave = (item) => {
    const card = $('.card', item);
    if (!isBusy(card)) return item.remove();
    if (card.classList.contains('gone')) return;
    card.classList.add('gone');
    answer(card, 'This waits no more.');
    for (const button of all('button', card)) button.disabled = true;
  };
  const answer = (card, text) => {
    const form = $('.actions', card);
    if (!form) return;
    const old = $('.answer', form);
    const note = old || document.createElement('p');
    note.className = 'answer';
    note.setAttribute('role', 'alert');
    note.textContent = text;
    if (!old) form.append(note);
    say('');
  };
  const swap = (html) => {
    const fresh = $('#inbox', new DOMParser().parseFromString(html, 'text/html'));
    if (!fresh || !inbox()) return [];
    const before = all('#cards > li').map((item) => $('.card', item).id).join();
    const known = new Map(all('#cards > li').map((item) => [$('.card', item).id, item]));
    const added = [];
    const wanted = all('#cards > li', fresh).map((item) => {
      const card = $('.card', item);
      const old = known.get(card.id);
      known.delete(card.id);
      if (old && $('.card', old).dataset.state === card.dataset.state) return old;
      if (old && isBusy($('.card', old))) return old;
      if (old) {
        old.replaceWith(item);
        return item;
      }
      card.classList.add('fresh');
      added.push(card);
      return item;
    });
    for (const item of known.values()) leave(item);
    // Only what is new or out of place is moved: moving an element takes its focus away.
    let next = cards().firstElementChild;
    for (const item of wanted) {
      while (next && $('.gone', next)) next = next.nextElementSibling;
      if (item === next) next = next.nextElementSibling;
      else cards().insertBefore(item, next);
    }
    for (const part of ['.empty', '.more']) {
      const [old, now] = [$(part, inbox()), $(part, fresh)];
      if (old) old.remove();
      if (now && part === '.empty') cards().before(now);
      else if (now) inbox().append(now);
    }
    inbox().dataset.count = fresh.dataset.count;
    // Whoever has logged in again, in another tab, has another one.
    const secret = $('[name=csrf]', fresh);
    if (secret) for (const field of all('[name=csrf]')) field.value = secret.value;
    const after = all('#cards > li').map((item) => $('.card', item).id).join();
    if (before && before !== after) settle();
    moments(inbox());
    tick(inbox());
    filter();
    return added;
  };

  let fetching = false;
  let again = false;
  let decisions = 0;
  const refresh = async () => {
    if (fetching) {
      again = true;
      return;
    }
    fetching = true;
    try {
      const decidedBefore = decisions;
      const show = new URLSearchParams(location.search).get('show');
      const path = inbox() && show ? `/fragment?show=${encodeURIComponent(show)}` : '/fragment';
      const response = await fetch(path, { redirect: 'error' });
      if (response.status === 401) return location.reload();
      const html = await response.text();
      const offline = $('#offline');
      if (!response.ok) {
        const why = $('#trouble [role=alert]', new DOMParser().parseFromString(html, 'text/html'));
        offline.textContent = why ? why.textContent : 'The inbox cannot be read.';
        offline.hidden = false;
        return;
      }
      offline.hidden = true;
      if (decisions !== decidedBefore) {
        // It may still show what has been decided here meanwhile.
        again = true;
        return;
      }
      const count = Number((html.match(/data-count="(\d+)"/) || [])[1] || 0);
      const was = Number($('#count').textContent);
      const added = swap(html);
      badge(count);
      if (count > was) {
        say(count - was === 1 ? 'One more approval waits.' : `${count - was} more approvals wait.`);
        notify(added, count);
      } else if (count === 0 && was > 0 && !$('#status').textContent) {
        // What is said of one's own verdict stays.
        say('Nothing waits any more.');
      }
    } catch {
      $('#offline').hidden = false;
    } finally {
      fetching = false;
      if (again) {
        again = false;
        refresh();
      }
    }
  };

  // A browser has few connections to one server, and every listening tab would keep one: so one
  // tab listens, and tells the others.
  if (live) {
    const channel = 'BroadcastChannel' in window ? new BroadcastChannel('approvals') : null;
    if (channel) channel.onmessage = () => refresh();
    let lost = false;
    const listen = () => {
      const events = new EventSource('/events');
      events.addEventListener('changed', () => {
        refresh();
        if (channel) channel.postMessage('changed');
      });
      events.onopen = () => {
        if (lost) {
          lost = false;
          refresh();
          if (channel) channel.postMessage('changed');
        }
      };
      events.onerror = () => {
        lost = true;
        $('#offline').hidden = false;
        if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
      };
    };
    if (channel && navigator.locks) navigator.locks.request('approvals-listen', () => new Promise(listen));
    else listen();
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) refresh();
    });
    window.addEventListener('pageshow', (event) => {
      if (event.persisted) refresh();
    });
  }

  // Notifications, once they are asked for. They name no arguments: they may be seen by others.
  const bell = $('#notify');
  const offer = () => {
    bell.hidden = !('Notification' in window) || Notification.permission !== 'default';
  };
  if (bell) {
    offer();
    bell.addEventListener('click', async () => {
      await Notification.requestPermission();
      offer();
      say(Notification.permission === 'granted' ? 'You will be notified of new approvals.' : 'The browser does not allow notifications.');
    });
  }
  const notify = (added, count) => {
    if (!('Notification' in window) || Notification.permission !== 'granted' || document.hasFocus()) return;
    const tools = added.slice(0, 3).map((card) => $('h2', card).textContent);
    const note = new Notification(count === 1 ? 'An approval waits' : `${count} approvals wait`, {
      body: tools.join(', '),
      icon: '/assets/icon.svg',
      tag: 'approvals',
    });
    note.onclick = () => {
      window.focus();
      note.close();
    };
  };

  // Deciding without leaving the page.
  document.addEventListener('submit', async (event) => {
    const form = event.target;
    if (!form.matches('.actions')) return;
    if (document.body.classList.contains('settling')) {
      event.preventDefault();
      say('The list has just moved. Look again, then decide.');
      return;
    }
    // On its own page an item is decided as without a script.
    if (!form.closest('#cards')) return;
    event.preventDefault();
    const card = form.closest('.card');
    const body = new URLSearchParams(new FormData(form, event.submitter));
    const buttons = all('button', form);
    for (const button of buttons) button.disabled = true;
    let text = 'The inbox cannot be reached. Nothing was decided.';
    let done = false;
    try {
      const response = await fetch(form.action, { method: 'POST', body });
      const page = new DOMParser().parseFromString(await response.text(), 'text/html');
      const said = $('#said', page) || $('#trouble', page);
      text = said ? said.textContent : text;
      done = response.ok && Boolean(said) && said.classList.contains('good');
      if (response.ok) {
        decisions += 1;
        say(text);
        const next = neighbour(card);
        card.closest('li').remove();
        settle();
        if (chosen === card) choose(next);
        await refresh();
        return;
      }
    } catch {
      // What is said already says it.
    }
    for (const button of buttons) button.disabled = false;
    answer(card, text);
    const secret = $('[name=passphrase]', form);
    if (secret && !done) {
      secret.value = '';
      secret.focus();
    }
  });

  // The keys.
  let chosen = null;
  const list = () => all('.card, .row').filter((card) => !card.closest('li')?.hidden);
  const neighbour = (card) => {
    const cards = list();
    const at = cards.indexOf(card);
    return cards[at + 1] || cards[at - 1] || null;
  };
  const choose = (card) => {
    if (chosen) chosen.classList.remove('chosen');
    chosen = card;
    if (!card) return;
    card.classList.add('chosen');
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
  // Without a passphrase the button is focused, with one its field: Enter does the rest.
  const aim = (choice) => {
    const form = current() && $('.actions', current());
    if (!form) return;
    form.dataset.aim = choice;
    const secret = $('[name=passphrase]', form);
    const field = choice === 'deny' ? $('[name=reason]', form) : secret && !secret.value ? secret : null;
    (field || $(`[value=${choice}]`, form)).focus();
    say(choice === 'deny' ? 'Enter denies.' : 'Enter approves.');
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
    if (target.matches('input, select, textarea')) {
      if (event.key === 'Escape') {
        target.blur();
        if (chosen) chosen.focus({ preventScroll: true });
      }
      const form = target.closest('.actions');
      if (event.key === 'Enter' && form && target.matches('[name=passphrase], [name=reason]')) {
        event.preventDefault();
        const choice = target.name === 'reason' ? 'deny' : form.dataset.aim;
        if (choice) form.requestSubmit($(`[value=${choice}]`, form));
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
      o: () => current() && $('h2 a, a.tool', current())?.click(),
      x: () => {
        const texts = current() ? all('details', current()) : [];
        const open = texts.some((text) => !text.open);
        for (const text of texts) text.open = open;
      },
      '/': () => ($('#filter') || $('[name=tool]'))?.focus(),
      '?': () => help?.showModal(),
    };
    // On an item's own page the arrows scroll, as everywhere.
    if (!keys[event.key] || (event.key.startsWith('Arrow') && !$('li .card, .row'))) return;
    event.preventDefault();
    keys[event.key]();
  });

  // The filter of the list, over what is shown.
  const filter = () => {
    const field = $('#filter');
    if (!field) return;
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of all('#cards > li')) {
      const text = words.length ? item.textContent.toLowerCase() : '';
      item.hidden = !words.every((word) => text.includes(word));
      if (!item.hidden) shown += 1;
    }
    if (words.length) say(`${shown} shown by the filter.`);
    $('#list-tools').hidden = !words.length && all('#cards > li').length < 2;
  };
  if ($('#filter')) {
    $('#filter').addEventListener('input', () => {
      settle();
      filter();
      if (!$('#filter').value) say('');
    });
    filter();
  }
})();
