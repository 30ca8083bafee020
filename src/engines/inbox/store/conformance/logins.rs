//! The tokens of the page's logins.

use super::{New, Scene};
use crate::engines::inbox::store::{MAX_TOKENS, Token};

pub(crate) fn a_token_is_valid_until_it_expires_and_can_be_taken_once(new: New) {
    let mut scene = Scene::new(new);
    let (hash, other) = ([1; 32], [2; 32]);
    scene.logins.add_token(Token::Login, &hash, 1_000).unwrap();
    let store = &mut *scene.logins;
    assert!(store.has_token(Token::Login, &hash, 999).unwrap());
    assert!(!store.has_token(Token::Login, &hash, 1_000).unwrap());
    assert!(!store.has_token(Token::Session, &hash, 0).unwrap());
    assert!(!store.has_token(Token::Login, &other, 0).unwrap());
    assert!(!store.take_token(Token::Login, &hash, 1_000).unwrap());
    store.forget_old(999).unwrap();
    let taken: usize = std::thread::scope(|scope| {
        let taking: Vec<_> = (0..8)
            .map(|_| {
                let mut store = scene.logins();
                scope.spawn(move || store.take_token(Token::Login, &hash, 0).unwrap())
            })
            .collect();
        taking
            .into_iter()
            .map(|one| usize::from(one.join().unwrap()))
            .sum()
    });
    assert_eq!(taken, 1);
    assert!(!scene.logins.has_token(Token::Login, &hash, 0).unwrap());
}

pub(crate) fn of_too_many_tokens_those_that_expire_first_are_forgotten(new: New) {
    let mut scene = Scene::new(new);
    let hash = |i: usize| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&i.to_be_bytes());
        hash
    };
    for i in 0..=MAX_TOKENS {
        let until = i64::try_from(i).unwrap() + 10;
        scene
            .logins
            .add_token(Token::Session, &hash(i), until)
            .unwrap();
    }
    assert!(!scene.logins.has_token(Token::Session, &hash(0), 0).unwrap());
    assert!(scene.logins.has_token(Token::Session, &hash(1), 0).unwrap());
    scene.logins.forget_old(i64::MAX).unwrap();
    assert!(
        !scene
            .logins
            .has_token(Token::Session, &hash(MAX_TOKENS), 0)
            .unwrap()
    );
}

pub(crate) fn a_token_keeps_its_name_until_it_ends(new: New) {
    let mut scene = Scene::new(new);
    let (one, two) = ([1; 32], [2; 32]);
    let mut page = scene.logins();
    let store = &mut *scene.logins;
    for hash in [&one, &two] {
        store.add_token(Token::Session, hash, 9_000).unwrap();
    }
    assert_eq!(store.approver(Token::Session, &one).unwrap(), None);
    store.set_approver(Token::Session, &one, "Ann").unwrap();
    let name = page.approver(Token::Session, &one).unwrap();
    assert_eq!(name.as_deref(), Some("Ann"));
    assert_eq!(page.approver(Token::Session, &two).unwrap(), None);
    assert_eq!(page.approver(Token::Login, &one).unwrap(), None);
    assert!(page.has_token(Token::Session, &one, 8_999).unwrap());
    assert!(store.take_token(Token::Session, &one, 0).unwrap());
    assert_eq!(store.approver(Token::Session, &one).unwrap(), None);
    // Without a token, a name is not stored.
    store.set_approver(Token::Session, &one, "Ann").unwrap();
    assert!(!store.has_token(Token::Session, &one, 0).unwrap());
}
