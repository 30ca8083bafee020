//! An inbox that many sessions share, one after the other or at once. Does only what [`Resume`] specifies.

use std::time::Duration;

use crate::approval::item::{Assurance, Choice, Item, Verdict};
use crate::gate::tests::scene::Scene;
use crate::gate::{EngineId, FromEngine, ParkedItem, Resume, ResumeKey, Resumption, ToEngine};

#[derive(Debug, Default)]
pub(super) struct SharedInbox {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    item: Item,
    /// The session that owns it; `None` if the owner left it or died.
    owner: Option<u8>,
    key: Option<ResumeKey>,
    parked_until: Option<i64>,
    verdict: Option<Verdict>,
    /// Whether its owner has received the verdict.
    is_told: bool,
    is_closed: bool,
}

impl SharedInbox {
    /// Handles a session's messages, and delivers the verdicts about its items. Returns true if there was anything to
    /// do.
    pub(super) fn serve(&mut self, session: u8, scene: &mut Scene) -> bool {
        let mut is_any = self.tell(session, scene);
        while self.serve_one(session, scene) {
            is_any = true;
        }
        is_any
    }

    /// Does the same for the session's first message.
    pub(super) fn serve_one(&mut self, session: u8, scene: &mut Scene) -> bool {
        let Some(received) = scene.inbox.pop_front() else {
            return false;
        };
        if let Some(answer) = self.take(session, received, scene.now.unix_ms) {
            scene.inbox_sends(FromEngine::Resume(answer));
        }
        self.tell(session, scene);
        true
    }

    fn take(&mut self, session: u8, received: ToEngine, now_ms: i64) -> Option<Resumption> {
        match received {
            ToEngine::Ask { item, .. } => {
                assert!(self.row(&item.id).is_none(), "an id is used once");
                self.rows.push(Row {
                    item: *item,
                    owner: Some(session),
                    key: None,
                    parked_until: None,
                    verdict: None,
                    is_told: false,
                    is_closed: false,
                });
            }
            ToEngine::Park { item, until_ms } => {
                self.row(&item).unwrap().parked_until = Some(until_ms);
            }
            ToEngine::Close { item, .. } => {
                let row = self.row(&item).unwrap();
                (row.is_closed, row.key) = (true, None);
            }
            ToEngine::Join { .. } | ToEngine::OpenBrowser { .. } | ToEngine::Decided(_) => {}
            ToEngine::Resume(Resume::IsAny) => {
                return Some(Resumption::IsAny(
                    self.rows.iter().any(|row| row.key.is_some()),
                ));
            }
            ToEngine::Resume(Resume::Mark { item, key }) => {
                let row = self.row(&item).unwrap();
                assert!(row.owner == Some(session) && row.parked_until.is_some());
                row.key = Some(key);
            }
            ToEngine::Resume(Resume::Find {
                lookup,
                key,
                request,
            }) => {
                let mut rows = self.rows.iter_mut();
                let found = rows.find(|row| {
                    let is_in_time = row.parked_until.is_some_and(|until| now_ms < until);
                    row.owner.is_none() && row.key == Some(key) && !row.is_closed && is_in_time
                });
                let parked = found.map(|row| {
                    (row.owner, row.is_told) = (Some(session), false);
                    // INVARIANT 2: a yes to what was shown counts only for the same content.
                    let Item {
                        id,
                        asked_ms,
                        expires_ms,
                        ..
                    } = &row.item;
                    assert_eq!(request.item(id.clone(), *asked_ms, *expires_ms), row.item);
                    ParkedItem {
                        id: id.clone(),
                        until_ms: row.parked_until.unwrap(),
                        is_decided: row.verdict.is_some(),
                    }
                });
                return Some(Resumption::Found { lookup, parked });
            }
            ToEngine::Resume(Resume::TakeUp { item }) => {
                let row = self.row(&item).unwrap();
                let is_done = row.owner == Some(session) && row.key.take().is_some();
                return Some(Resumption::TakenUp { item, is_done });
            }
            ToEngine::Resume(Resume::Leave { item }) => {
                let row = self.row(&item).unwrap();
                assert_eq!(row.owner, Some(session));
                row.owner = None;
                row.is_closed |= row.key.is_none();
            }
        }
        None
    }

    fn tell(&mut self, session: u8, scene: &mut Scene) -> bool {
        let mine = self.rows.iter_mut().filter(|row| {
            row.owner == Some(session) && !row.is_told && !row.is_closed && row.verdict.is_some()
        });
        let mut verdicts = Vec::new();
        for row in mine {
            row.is_told = true;
            verdicts.push((row.item.id.clone(), row.verdict.clone().unwrap()));
        }
        let is_any = !verdicts.is_empty();
        for (item, verdict) in verdicts {
            scene.inbox_sends(FromEngine::Verdict {
                engine: EngineId::INBOX,
                item,
                verdict,
            });
        }
        is_any
    }

    /// Somebody decides. Returns true if that counts: the item is open.
    pub(super) fn decide(&mut self, item: &str, choice: Choice) -> bool {
        self.decide_for(item, choice, Duration::ZERO)
    }

    /// Does the same; a yes also covers identical calls for this long.
    pub(super) fn decide_for(&mut self, item: &str, choice: Choice, cover: Duration) -> bool {
        let row = self.row(item).unwrap();
        let is_open = row.verdict.is_none() && !row.is_closed;
        if is_open {
            row.verdict = Some(Verdict {
                fields: None,
                choice,
                reason: None,
                cover,
                assurance: Assurance::InboxSession,
                approver: None,
                decided_ms: row.item.asked_ms,
            });
        }
        is_open
    }

    /// A session is killed, with messages possibly unsent.
    pub(super) fn dies(&mut self, session: u8) {
        for row in &mut self.rows {
            if row.owner == Some(session) {
                row.owner = None;
                row.is_closed |= row.key.is_none();
            }
        }
    }

    /// Attack: somebody who can write to the store sets an item to be parked forever.
    pub(super) fn park_for_ever(&mut self, item: &str) {
        self.row(item).unwrap().parked_until = Some(i64::MAX);
    }

    pub(super) fn newest(&self) -> &str {
        &self.rows.last().expect("there is an item").item.id
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.rows.iter().map(|row| &row.item)
    }

    pub(super) fn is_marked(&mut self, item: &str) -> bool {
        self.row(item).unwrap().key.is_some()
    }

    pub(super) fn is_open(&mut self, item: &str) -> bool {
        !self.row(item).unwrap().is_closed
    }

    fn row(&mut self, item: &str) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.item.id == item)
    }
}
