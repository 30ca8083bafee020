// Shows a notification for each push message, and opens the item's page when it is tapped.
// Neither decides nor stores anything, and leaves all requests to the browser: the page is never shown from a cache.
'use strict';

(() => {
  const ICON = '/assets/icon-180.png';
  /** Browsers want a notification for every message, also for one that we cannot read. */
  const UNREADABLE = { title: 'A call is waiting for approval', body: '', item: '' };
  /** The longest text that is shown, in characters. Ours are shorter. */
  const LONGEST = 400;

  // What a message may say: two texts and an item's id. Never a URL, so no message can lead anywhere else.
  const isId = (text) => typeof text === 'string' && /^[0-9a-f]{32}$/.test(text);
  const isText = (text) => typeof text === 'string' && text.length <= LONGEST;
  const read = (data) => {
    try {
      const { title, body, item } = data.json();
      return isText(title) && title && isText(body) && isId(item) ? { title, body, item } : UNREADABLE;
    } catch {
      return UNREADABLE;
    }
  };

  // A newer notification replaces an older one about the same item, and alerts again.
  const show = ({ title, body, item }) => self.registration.showNotification(title, {
    body,
    icon: ICON,
    tag: item || 'waiting',
    renotify: true,
    data: { item },
  });

  // Focuses a page that shows the item already. Does not take another page there: the person may have typed something.
  const open = async (item) => {
    const path = isId(item) ? `/item/${item}` : '/';
    const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
    const shown = pages.find((page) => {
      const { origin, pathname } = new URL(page.url);
      return origin === self.location.origin && pathname === path;
    });
    if (shown) {
      try {
        return await shown.focus();
      } catch {
        // The browser may not allow it. Then open another one.
      }
    }
    return self.clients.openWindow(new URL(path, self.location.origin).href);
  };

  self.addEventListener('push', (event) => event.waitUntil(show(read(event.data))));
  self.addEventListener('notificationclick', (event) => {
    event.notification.close();
    event.waitUntil(open(event.notification.data?.item));
  });
})();
