//! An in-memory store, for tests and for examples/inbox_page_demo.rs.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::approval::item::{Item, Verdict};
use crate::engines::inbox::store::{
    ApprovalRequests, Closed, Decided, Elsewhere, Entry, ErrorKind, Filter, Logins, MAX_TOKENS,
    Place, Remembered, Resumed, SignedVerdict, State, StoreError, Token, cut_reason,
};

/// Items and tokens in lists.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Newest last.
    pub(crate) entries: Vec<Entry>,
    /// The proxy of each item, by id.
    owners: Vec<(String, String)>,
    /// The verdicts that were not taken yet, by item id.
    verdicts: Vec<(String, SignedVerdict)>,
    tokens: Vec<(Token, [u8; 32], i64)>,
    keys: Vec<(String, Remembered)>,
    names: Vec<(Token, [u8; 32], String)>,
    /// Whether another user of the store has changed something.
    pub(crate) is_changed: bool,
    /// If set, every operation fails with it.
    pub(crate) broken: Option<ErrorKind>,
    /// The signature of the last verdict.
    pub(crate) signature: Option<Vec<u8>>,
}

impl Memory {
    fn works(&self) -> Result<(), StoreError> {
        match self.broken {
            None => Ok(()),
            Some(kind) => Err(StoreError {
                place: Place::Host("db.example:5432".to_owned()),
                kind,
                source: None,
            }),
        }
    }

    fn entry(&mut self, id: &str) -> Result<Option<&mut Entry>, StoreError> {
        self.works()?;
        Ok(self.entries.iter_mut().find(|entry| entry.item.id == id))
    }
}

impl ApprovalRequests for Memory {
    fn ask(&mut self, item: &Item, proxy: &str) -> Result<(), StoreError> {
        self.works()?;
        self.owners.push((item.id.clone(), proxy.to_owned()));
        self.entries.push(Entry {
            item: item.clone(),
            state: State::Waiting,
            verdict: None,
            engine: None,
            parked_until_ms: None,
            closed_ms: None,
            was_disregarded: false,
        });
        Ok(())
    }

    fn park(&mut self, id: &str, until_ms: i64) -> Result<(), StoreError> {
        if let Some(entry) = self.entry(id)?.filter(|entry| entry.state.is_open()) {
            entry.state = State::Parked;
            entry.parked_until_ms = Some(until_ms);
        }
        Ok(())
    }

    fn remember(&mut self, key: &str, what: &Remembered) -> Result<(), StoreError> {
        self.works()?;
        self.keys.push((key.to_owned(), what.clone()));
        Ok(())
    }

    fn recall(&mut self, key: &str) -> Result<Option<Remembered>, StoreError> {
        self.works()?;
        let mut keys = self.keys.iter();
        let found = keys.find(|(known, _)| known == key);
        Ok(found.map(|(_, what)| what.clone()))
    }

    fn close(&mut self, id: &str, how: Closed, now_ms: i64) -> Result<(), StoreError> {
        if let Some(entry) = self.entry(id)?.filter(|entry| entry.state.is_open()) {
            entry.state = State::Closed(how);
            entry.closed_ms = Some(now_ms);
        }
        Ok(())
    }

    fn withdraw(&mut self, id: &str, now_ms: i64) -> Result<bool, StoreError> {
        let is_open = self.entry(id)?.is_some_and(|entry| entry.state.is_open());
        self.close(id, Closed::Withdrawn, now_ms)?;
        Ok(is_open)
    }

    fn decide(&mut self, id: &str, signed: &SignedVerdict) -> Result<Decided, StoreError> {
        let Some(entry) = self.entry(id)? else {
            return Ok(Decided::Unknown);
        };
        if !entry.state.is_open() {
            return Ok(Decided::TooLate(entry.state));
        }
        entry.state = State::Decided(signed.verdict.choice);
        entry.closed_ms = Some(signed.verdict.decided_ms);
        let reason = signed.verdict.reason.as_deref();
        entry.verdict = Some(Verdict {
            reason: reason.map(|reason| cut_reason(reason).to_owned()),
            ..signed.verdict.clone()
        });
        entry.engine.clone_from(&signed.engine);
        entry.was_disregarded = false;
        self.verdicts.push((id.to_owned(), signed.clone()));
        self.signature.clone_from(&signed.signature);
        Ok(Decided::Recorded)
    }

    fn reopen(&mut self, id: &str) -> Result<(), StoreError> {
        if let Some(entry) = self.entry(id)? {
            entry.state = State::Waiting;
            entry.verdict = None;
            entry.was_disregarded = true;
        }
        Ok(())
    }

    fn take_verdicts(&mut self, proxy: &str) -> Result<Vec<(String, SignedVerdict)>, StoreError> {
        self.works()?;
        let owners = &self.owners;
        let is_its = |id: &String| owners.iter().any(|one| one.0 == *id && one.1 == proxy);
        Ok(self.verdicts.extract_if(.., |one| is_its(&one.0)).collect())
    }

    fn settle(&mut self, _proxy: &str) -> Result<(), StoreError> {
        self.works()
    }

    fn mark(&mut self, _id: &str, _proxy: &str, _key: &str) -> Result<bool, StoreError> {
        // Items cannot outlive this store.
        self.works().map(|()| false)
    }

    fn resume(
        &mut self,
        _key: &str,
        _proxy: &str,
        _now_ms: i64,
    ) -> Result<Option<Resumed>, StoreError> {
        self.works().map(|()| None)
    }

    fn take_up(&mut self, _id: &str, _proxy: &str) -> Result<bool, StoreError> {
        self.works().map(|()| false)
    }

    fn leave(&mut self, id: &str, _proxy: &str, now_ms: i64) -> Result<(), StoreError> {
        self.close(id, Closed::Withdrawn, now_ms)
    }

    fn record(&mut self, decided: &[Elsewhere]) -> Result<(), StoreError> {
        self.works()?;
        for one in decided {
            let (id, how) = (&one.item.id, State::Closed(Closed::Withdrawn));
            self.entries
                .retain(|entry| entry.item.id != *id || entry.state != how);
            if self.entries.iter().any(|entry| entry.item.id == *id) {
                continue;
            }
            self.entries.push(Entry {
                item: one.item.clone(),
                state: State::Decided(one.verdict.choice),
                verdict: Some(one.verdict.clone()),
                engine: Some(one.engine.clone()),
                parked_until_ms: None,
                closed_ms: Some(one.verdict.decided_ms),
                was_disregarded: false,
            });
        }
        Ok(())
    }

    fn changed(
        &mut self,
        _longest: Duration,
        _interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<bool, StoreError> {
        self.works()?;
        Ok(std::mem::take(&mut self.is_changed))
    }

    fn waiting(&mut self, limit: usize) -> Result<(Vec<Entry>, usize), StoreError> {
        self.works()?;
        let open = self.entries.iter().filter(|entry| entry.state.is_open());
        let mut open: Vec<Entry> = open.cloned().collect();
        open.sort_by_key(|entry| entry.item.asked_ms);
        let count = open.len();
        open.truncate(limit);
        Ok((open, count))
    }

    fn history(&mut self, filter: &Filter, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.works()?;
        let mut found: Vec<Entry> = self.entries.iter().rev().cloned().collect();
        found.retain(|entry| {
            let tool = filter.tool.as_deref().unwrap_or_default().to_lowercase();
            !entry.state.is_open()
                && filter
                    .state
                    .as_deref()
                    .is_none_or(|state| state == entry.state.as_str())
                && filter
                    .server
                    .as_ref()
                    .is_none_or(|server| *server == entry.item.server)
                && entry.item.tool.to_lowercase().contains(&tool)
                && filter
                    .before_ms
                    .is_none_or(|before| entry.item.asked_ms < before)
        });
        found.sort_by_key(|entry| std::cmp::Reverse(entry.item.asked_ms));
        found.truncate(limit);
        Ok(found)
    }

    fn find(&mut self, id: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.entry(id)?.cloned())
    }

    fn find_by_beginning(
        &mut self,
        beginning: &str,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.works()?;
        let found = self.entries.iter().rev();
        let mut found: Vec<Entry> = found
            .filter(|entry| entry.item.id.starts_with(beginning))
            .cloned()
            .collect();
        found.sort_by_key(|entry| !entry.state.is_open());
        found.truncate(limit);
        Ok(found)
    }

    fn sweep(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.works()?;
        for entry in &mut self.entries {
            let until = match entry.state {
                State::Parked => entry.parked_until_ms,
                State::Waiting | State::Decided(_) | State::Closed(_) => entry.item.expires_ms,
            };
            if entry.state.is_open() && until.is_some_and(|until| until <= now_ms) {
                entry.state = State::Closed(Closed::Expired);
                entry.closed_ms = Some(now_ms);
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), StoreError> {
        self.works()
    }

    fn scrub(&mut self) -> Result<bool, StoreError> {
        self.works().map(|()| true)
    }
}

impl Logins for Memory {
    fn add_token(&mut self, kind: Token, hash: &[u8; 32], until_ms: i64) -> Result<(), StoreError> {
        self.works()?;
        self.tokens.push((kind, *hash, until_ms));
        let own = self.tokens.iter().filter(|token| token.0 == kind);
        if own.clone().count() > MAX_TOKENS
            && let Some(first) = own.map(|token| token.2).min()
        {
            self.tokens
                .retain(|token| token.0 != kind || token.2 != first);
        }
        Ok(())
    }

    fn has_token(&mut self, kind: Token, hash: &[u8; 32], now_ms: i64) -> Result<bool, StoreError> {
        self.works()?;
        let is_it = |token: &(Token, [u8; 32], i64)| {
            token.0 == kind && token.1 == *hash && token.2 > now_ms
        };
        Ok(self.tokens.iter().any(is_it))
    }

    fn take_token(
        &mut self,
        kind: Token,
        hash: &[u8; 32],
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        if !self.has_token(kind, hash, now_ms)? {
            return Ok(false);
        }
        self.tokens
            .retain(|token| (token.0, token.1) != (kind, *hash));
        self.names
            .retain(|token| (token.0, token.1) != (kind, *hash));
        Ok(true)
    }

    fn set_approver(&mut self, kind: Token, hash: &[u8; 32], name: &str) -> Result<(), StoreError> {
        self.works()?;
        self.names
            .retain(|token| (token.0, token.1) != (kind, *hash));
        self.names.push((kind, *hash, name.to_owned()));
        Ok(())
    }

    fn approver(&mut self, kind: Token, hash: &[u8; 32]) -> Result<Option<String>, StoreError> {
        self.works()?;
        let mut names = self.names.iter();
        let found = names.find(|token| (token.0, token.1) == (kind, *hash));
        Ok(found.map(|(_, _, name)| name.clone()))
    }

    fn forget_old(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.works()?;
        self.tokens.retain(|token| token.2 > now_ms);
        Ok(())
    }
}
