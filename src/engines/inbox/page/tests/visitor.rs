//! A test browser, a page, and a clock that the test moves.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tempfile::TempDir;

use super::super::access::Site;
use super::super::routes::router;
use super::super::{App, PageSettings, Passphrase, Push, Remote, WrongPassphrase, token_hash};
use super::devices::SharedDevices;
use super::memory::Memory;
use crate::approval::item::{Item, Verdict};
use crate::engines::Callbacks;
use crate::engines::inbox::log::InboxLog;
use crate::engines::inbox::remote::PageUrl;
use crate::engines::inbox::store::{
    ApprovalRequests, Closed, Decided, Elsewhere, Entry, Filter, Logins, Remembered, Resumed,
    SignedVerdict, StoreError, Token,
};
use crate::gate::Now;
use crate::policy::Risk;
use crate::sys::clock::random_seed;
use crate::sys::state_dir::StateDir;

pub(super) const PORT: u16 = 4000;
pub(super) const HERE: &str = "127.0.0.1:4000";
pub(super) const ORIGIN: &str = "http://127.0.0.1:4000";
pub(super) const PHONE_HOST: &str = "phone.example:8443";
pub(super) const PHONE_ORIGIN: &str = "https://phone.example:8443";
pub(super) const SECRET: [u8; 32] = [7; 32];
pub(super) const NOW_MS: i64 = 1_790_000_000_000;

/// A store that the test can read while the page uses it.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared(pub(super) Arc<Mutex<Memory>>);

impl Shared {
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    pub(super) fn entry(&self, id: &str) -> Entry {
        self.with(|memory| memory.find(id).unwrap().unwrap())
    }
}

impl ApprovalRequests for Shared {
    fn ask(&mut self, item: &Item, proxy: &str) -> Result<(), StoreError> {
        self.with(|memory| memory.ask(item, proxy))
    }
    fn park(&mut self, id: &str, until_ms: i64) -> Result<(), StoreError> {
        self.with(|memory| memory.park(id, until_ms))
    }
    fn close(&mut self, id: &str, how: Closed, now_ms: i64) -> Result<(), StoreError> {
        self.with(|memory| memory.close(id, how, now_ms))
    }
    fn withdraw(&mut self, id: &str, now_ms: i64) -> Result<bool, StoreError> {
        self.with(|memory| memory.withdraw(id, now_ms))
    }
    fn remember(&mut self, key: &str, what: &Remembered) -> Result<(), StoreError> {
        self.with(|memory| memory.remember(key, what))
    }
    fn recall(&mut self, key: &str) -> Result<Option<Remembered>, StoreError> {
        self.with(|memory| memory.recall(key))
    }
    fn decide(&mut self, id: &str, verdict: &SignedVerdict) -> Result<Decided, StoreError> {
        self.with(|memory| memory.decide(id, verdict))
    }
    fn reopen(&mut self, id: &str) -> Result<(), StoreError> {
        self.with(|memory| memory.reopen(id))
    }
    fn take_verdicts(&mut self, proxy: &str) -> Result<Vec<(String, SignedVerdict)>, StoreError> {
        self.with(|memory| memory.take_verdicts(proxy))
    }
    fn settle(&mut self, proxy: &str) -> Result<(), StoreError> {
        self.with(|memory| memory.settle(proxy))
    }
    fn mark(&mut self, id: &str, proxy: &str, key: &str) -> Result<bool, StoreError> {
        self.with(|memory| memory.mark(id, proxy, key))
    }
    fn resume(
        &mut self,
        key: &str,
        proxy: &str,
        now_ms: i64,
    ) -> Result<Option<Resumed>, StoreError> {
        self.with(|memory| memory.resume(key, proxy, now_ms))
    }
    fn take_up(&mut self, id: &str, proxy: &str) -> Result<bool, StoreError> {
        self.with(|memory| memory.take_up(id, proxy))
    }
    fn leave(&mut self, id: &str, proxy: &str, now_ms: i64) -> Result<(), StoreError> {
        self.with(|memory| memory.leave(id, proxy, now_ms))
    }
    fn record(&mut self, decided: &[Elsewhere]) -> Result<(), StoreError> {
        self.with(|memory| memory.record(decided))
    }
    fn changed(
        &mut self,
        longest: Duration,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<bool, StoreError> {
        self.with(|memory| memory.changed(longest, interrupt))
    }
    fn waiting(&mut self, limit: usize) -> Result<(Vec<Entry>, usize), StoreError> {
        self.with(|memory| memory.waiting(limit))
    }
    fn history(&mut self, filter: &Filter, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.with(|memory| memory.history(filter, limit))
    }
    fn find(&mut self, id: &str) -> Result<Option<Entry>, StoreError> {
        self.with(|memory| memory.find(id))
    }
    fn find_by_beginning(
        &mut self,
        beginning: &str,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.with(|memory| memory.find_by_beginning(beginning, limit))
    }
    fn sweep(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.with(|memory| memory.sweep(now_ms))
    }
    fn check(&mut self) -> Result<(), StoreError> {
        self.with(Memory::check)
    }
    fn scrub(&mut self) -> Result<bool, StoreError> {
        self.with(Memory::scrub)
    }
}

impl Logins for Shared {
    fn add_token(&mut self, kind: Token, hash: &[u8; 32], until_ms: i64) -> Result<(), StoreError> {
        self.with(|memory| memory.add_token(kind, hash, until_ms))
    }
    fn has_token(&mut self, kind: Token, hash: &[u8; 32], now_ms: i64) -> Result<bool, StoreError> {
        self.with(|memory| memory.has_token(kind, hash, now_ms))
    }
    fn take_token(
        &mut self,
        kind: Token,
        hash: &[u8; 32],
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.with(|memory| memory.take_token(kind, hash, now_ms))
    }
    fn set_approver(&mut self, kind: Token, hash: &[u8; 32], name: &str) -> Result<(), StoreError> {
        self.with(|memory| memory.set_approver(kind, hash, name))
    }
    fn approver(&mut self, kind: Token, hash: &[u8; 32]) -> Result<Option<String>, StoreError> {
        self.with(|memory| memory.approver(kind, hash))
    }
    fn forget_old(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.with(|memory| memory.forget_old(now_ms))
    }
}

/// Accepts "open sesame". The signature is the data that was signed.
struct TestPassphrase;

impl Passphrase for TestPassphrase {
    fn sign(
        &self,
        passphrase: &str,
        item_id: &str,
        fingerprint: &str,
        verdict: &Verdict,
    ) -> Result<Vec<u8>, WrongPassphrase> {
        let signed = format!("{item_id} {fingerprint} {}", verdict.choice.as_str());
        let is_right = passphrase == "open sesame";
        is_right.then(|| signed.into_bytes()).ok_or(WrongPassphrase)
    }
}

/// A browser at a page.
pub(super) struct Visitor {
    pub(super) store: Shared,
    pub(super) app: Arc<App>,
    clock: Arc<Mutex<Now>>,
    router: Router,
    pub(super) cookie: String,
    host: &'static str,
    origin: &'static str,
    /// The state folder, if the page needs one.
    pub(super) folder: Option<Arc<TempDir>>,
}

/// A response with its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

impl Visitor {
    /// Returns a browser that is not logged in.
    pub(super) fn stranger(has_passphrase: bool) -> Visitor {
        let passphrase = has_passphrase.then(|| Box::new(TestPassphrase) as _);
        Visitor::of_a_page(Shared::default(), [9; 32], passphrase)
    }

    /// Returns a browser that is not logged in, at a page with this passphrase.
    pub(super) fn with_passphrase(passphrase: impl Passphrase + 'static) -> Visitor {
        Visitor::of_a_page(Shared::default(), [9; 32], Some(Box::new(passphrase)))
    }

    /// Returns a visitor of a page that takes these callbacks.
    pub(super) fn with_callbacks(callbacks: Callbacks, has_passphrase: bool) -> Visitor {
        let passphrase = has_passphrase.then(|| Box::new(TestPassphrase) as _);
        Visitor::of_a_page_with(Shared::default(), [9; 32], passphrase, callbacks)
    }

    /// Returns another browser at the same page, with its own login.
    pub(super) async fn and_another(&self) -> Visitor {
        let mut visitor = Visitor {
            store: self.store.clone(),
            app: Arc::clone(&self.app),
            clock: Arc::clone(&self.clock),
            router: self.router.clone(),
            cookie: String::new(),
            host: self.host,
            origin: self.origin,
            folder: self.folder.clone(),
        };
        visitor.log_in().await;
        visitor
    }

    /// Returns a device that is not paired, at a remote page with these devices.
    pub(super) fn phone(devices: &SharedDevices, has_passphrase: bool) -> Visitor {
        Visitor::phone_with(devices, has_passphrase, |_| None)
    }

    /// Likewise, at a page that sends push messages.
    pub(super) fn phone_with(
        devices: &SharedDevices,
        has_passphrase: bool,
        push: impl FnOnce(&StateDir) -> Option<Push>,
    ) -> Visitor {
        let passphrase = has_passphrase.then(|| Box::new(TestPassphrase) as _);
        let (folder, state) = crate::sys::state_dir::for_test();
        let url = PageUrl::read(PHONE_ORIGIN).unwrap();
        let mut remote = Remote::new(url, Box::new(devices.clone()), InboxLog::new(&state));
        if let Some(push) = push(&state) {
            remote = remote.with_push(push);
        }
        let settings = PageSettings {
            // As if another process served it: devices stay paired.
            instance: random_seed().unwrap(),
            secret: SECRET,
            passphrase,
            callbacks: Arc::default(),
            remote: Some(remote),
        };
        let mut visitor = Visitor::with(Shared::default(), settings);
        visitor.folder = Some(Arc::new(folder));
        visitor
    }

    /// Returns the same browser at the page of another process with the same store.
    pub(super) fn at_the_next_page(&self) -> Visitor {
        let mut visitor = Visitor::of_a_page(self.store.clone(), [10; 32], None);
        visitor.cookie.clone_from(&self.cookie);
        visitor
    }

    fn of_a_page(
        store: Shared,
        instance: [u8; 32],
        passphrase: Option<Box<dyn Passphrase>>,
    ) -> Visitor {
        Visitor::of_a_page_with(store, instance, passphrase, Callbacks::default())
    }

    fn of_a_page_with(
        store: Shared,
        instance: [u8; 32],
        passphrase: Option<Box<dyn Passphrase>>,
        callbacks: Callbacks,
    ) -> Visitor {
        let settings = PageSettings {
            instance,
            secret: SECRET,
            passphrase,
            callbacks: Arc::new(callbacks),
            remote: None,
        };
        Visitor::with(store, settings)
    }

    fn with(store: Shared, settings: PageSettings) -> Visitor {
        let (host, origin) = match settings.remote {
            None => (HERE, ORIGIN),
            Some(_) => (PHONE_HOST, PHONE_ORIGIN),
        };
        let clock = Arc::new(Mutex::new(Now {
            elapsed: Duration::ZERO,
            unix_ms: NOW_MS,
        }));
        let read = Arc::clone(&clock);
        let now = Box::new(move || *read.lock().unwrap());
        let mut app = App::new(
            Box::new(store.clone()),
            Box::new(store.clone()),
            settings,
            now,
        );
        if let Site::Local(port) = &mut app.site {
            *port = PORT;
        }
        let app = Arc::new(app);
        Visitor {
            store,
            clock,
            router: router(Arc::clone(&app)),
            app,
            cookie: String::new(),
            host,
            origin,
            folder: None,
        }
    }

    /// Returns a browser that is logged in.
    pub(super) async fn logged_in(has_passphrase: bool) -> Visitor {
        let mut visitor = Visitor::stranger(has_passphrase);
        visitor.log_in().await;
        visitor
    }

    pub(super) async fn log_in(&mut self) {
        self.add_login("one time");
        let answer = self.post("/login", "token=one+time").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        let cookie = answer.header("set-cookie").split(';').next().unwrap();
        self.cookie = cookie.to_owned();
    }

    pub(super) fn add_login(&self, token: &str) {
        let until = NOW_MS + 600_000;
        self.store
            .with(|memory| memory.add_token(Token::Login, &token_hash(token), until))
            .unwrap();
    }

    pub(super) fn advance(&self, time: Duration) {
        let mut now = self.clock.lock().unwrap();
        now.elapsed += time;
        now.unix_ms += i64::try_from(time.as_millis()).unwrap();
    }

    pub(super) fn ask(&self, item: &Item) {
        self.store.with(|memory| memory.ask(item, "proxy")).unwrap();
    }

    /// Sends a request as our own page in a browser would, except for `headers`.
    pub(super) async fn raw(&self, request: Request<Body>) -> Response<Body> {
        let service = TowerToHyperService::new(self.router.clone());
        service.call(request).await.unwrap()
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.raw(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(super) fn request(&self, method: &str, path: &str, body: &str) -> Request<Body> {
        let request = Request::builder().method(method).uri(path);
        let mut request = request
            .header("host", self.host)
            .header("cookie", &self.cookie);
        if method != "GET" {
            request = request
                .header("origin", self.origin)
                .header("content-type", "application/x-www-form-urlencoded");
        }
        request.body(Body::from(body.to_owned())).unwrap()
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path, "")).await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> Answer {
        self.send(self.request("POST", path, body)).await
    }

    /// Returns the CSRF token of the page's forms.
    pub(super) async fn csrf(&self) -> String {
        let page = self.get("/").await.text;
        let after = page.split("name=\"csrf\" value=\"").nth(1).unwrap();
        after.split('"').next().unwrap().to_owned()
    }

    /// Decides about an item as shown. `rest` is the form without its hidden fields.
    pub(super) async fn decide(&self, item: &Item, rest: &str) -> Answer {
        let csrf = self.csrf().await;
        let body = format!("csrf={csrf}&shown={}&{rest}", item.fingerprint());
        self.post(&decide_path(item), &body).await
    }
}

pub(super) fn decide_path(item: &Item) -> String {
    format!("/item/{}/decide", item.id)
}

/// Returns a waiting item with this call.
pub(super) fn item(number: u32, call: &str) -> Item {
    Item {
        form: None,
        id: format!("{number:032x}"),
        server: "crm".to_owned(),
        tool: "delete_user".to_owned(),
        risk: Risk::High,
        why: "it destroys".to_owned(),
        question: "Allow this tool call?".to_owned(),
        title: None,
        description: Some("Deletes a user.".to_owned()),
        hints: "destructive".to_owned(),
        call: call.to_owned(),
        digest: blake3::hash(call.as_bytes()).to_hex().to_string(),
        client: Some("agent".to_owned()),
        client_title: None,
        asked_ms: NOW_MS + i64::from(number),
        expires_ms: Some(NOW_MS + 600_000),
    }
}

pub(super) fn usual() -> Item {
    item(
        1,
        r#"{"name":"delete_user","arguments":{"id":90071992547409931,"ratio":1.50}}"#,
    )
}

/// Returns the content of an asset of the page.
pub(super) fn asset(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engines/inbox/page/assets");
    std::fs::read(folder.join(name)).unwrap()
}
