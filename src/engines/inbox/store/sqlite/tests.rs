//! Tests of what is specific to SQLite: its files. `store::conformance` has the tests for every store and runs here
//! too.
//!
//! `failures`: damaged and locked files. `secrets`: what remains of calls in the files. `named`: older versions and
//! approvers' names. `outliving`: items that outlive their session.

mod conforms;
mod devices;
mod failures;
mod named;
mod outliving;
mod secrets;

use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::engines::inbox::store::conformance::{
    self, REDACTED, UNTIL, asked, elsewhere, ids, item, verdict,
};
use crate::engines::inbox::store::{
    HISTORY_MS, KEPT_MS, LASTING, Lease, Liveness as _, Logins as _, Token,
};
use crate::sys::state_dir::for_test;

/// A store in its own folder.
struct Scene {
    dir: TempDir,
    state: StateDir,
    store: SqliteStore,
}

impl Scene {
    fn new() -> Scene {
        let (dir, state) = for_test();
        let store = SqliteStore::open(&state).unwrap();
        Scene { dir, state, store }
    }

    fn lease(&self, proxy: &str) -> Lease {
        Leases::new(&self.state).lease(proxy).unwrap()
    }

    fn other(&self) -> SqliteStore {
        SqliteStore::open(&self.state).unwrap()
    }

    fn state_of(&mut self, id: &str) -> State {
        conformance::state_of(&mut self.store, id)
    }
}

#[test]
fn processes_that_create_a_store_at_once_open_the_same_one() {
    let (_dir, state) = for_test();
    std::thread::scope(|scope| {
        for i in 0..8 {
            let state = &state;
            scope.spawn(move || {
                let mut store = SqliteStore::open(state).unwrap();
                store.ask(&item(&i.to_string()), "p").unwrap();
            });
        }
    });
    let mut store = SqliteStore::open(&state).unwrap();
    assert_eq!(store.waiting(0).unwrap(), (Vec::new(), 8));
}
