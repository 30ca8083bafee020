//! Runs the conformance tests with SQLite.

use super::*;
use crate::engines::inbox::store::Store;
use crate::engines::inbox::store::conformance::{Opener, conforms_in_all};

fn sqlite() -> Opener {
    let (dir, state) = for_test();
    let path = state.path().to_path_buf();
    let open = move |redaction: &Redaction| {
        let requests = SqliteStore::open(&state).unwrap();
        // Faster: these tests make many changes and need no protection against power failure.
        let db = &requests.db;
        db.pragma_update(None, "synchronous", "OFF").unwrap();
        Store {
            requests: Box::new(requests.redacting(redaction.clone())),
            liveness: Box::new(Leases::new(&state)),
            logins: Box::new(SqliteLogins::new(&state)),
            devices: Box::new(SqliteLogins::new(&state)),
        }
    };
    Opener {
        open: Box::new(open),
        may_resume: Box::new(move || {
            // Keeps the folder until the opener is dropped.
            let _ = &dir;
            is_flagged(&path)
        }),
    }
}

conforms_in_all!(sqlite);
