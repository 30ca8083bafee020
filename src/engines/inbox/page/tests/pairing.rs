//! Paired devices: how they sign in to the remote page, and that nobody else does.

use std::fs;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::timeout;

use super::super::{CODE_LIFE, PairingCode};
use super::devices::SharedDevices;
use super::visitor::{Answer, NOW_MS, PHONE_ORIGIN, SECRET, Visitor, decide_path, usual};
use crate::engines::inbox::store::{DEVICE_MS, Devices as _, MAX_DEVICES, MAX_WRONG_CODES, State};

/// Makes a code valid, and returns it as people see it.
pub(super) fn offer(devices: &SharedDevices) -> String {
    let code = PairingCode::random().unwrap();
    let until_ms = NOW_MS + CODE_LIFE;
    devices
        .clone()
        .offer(&code.hash(&SECRET), until_ms)
        .unwrap();
    code.shown()
}

pub(super) async fn pair(visitor: &mut Visitor, code: &str) -> Answer {
    let answer = visitor
        .post("/pair", &format!("code={code}&name=Ann"))
        .await;
    if answer.status == StatusCode::SEE_OTHER {
        let cookie = answer.header("set-cookie").split(';').next().unwrap();
        visitor.cookie = cookie.to_owned();
    }
    answer
}

/// Returns a paired phone.
async fn paired(devices: &SharedDevices, has_passphrase: bool) -> Visitor {
    let mut phone = Visitor::phone(devices, has_passphrase);
    let code = offer(devices);
    assert_eq!(pair(&mut phone, &code).await.status, StatusCode::SEE_OTHER);
    phone
}

fn records(visitor: &Visitor) -> Vec<Value> {
    let folder = visitor.folder.as_ref().unwrap().path();
    let log = fs::read_to_string(folder.join("audit/inbox.jsonl")).unwrap_or_default();
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_code_is_eight_letters_that_nobody_confuses_and_each_is_another() {
    let codes: Vec<String> = (0..200)
        .map(|_| PairingCode::random().unwrap().shown())
        .collect();
    for code in &codes {
        let (first, second) = code.split_once('-').unwrap();
        assert_eq!((first.len(), second.len()), (4, 4));
        let is_clear =
            |c: char| (c.is_ascii_uppercase() || c.is_ascii_digit()) && !"ILO01".contains(c);
        assert!((first.to_owned() + second).chars().all(is_clear), "{code}");
    }
    let mut distinct = codes.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), codes.len());
}

#[tokio::test]
async fn a_code_signs_a_phone_in_once_and_is_recorded() {
    let devices = SharedDevices::default();
    let mut phone = Visitor::phone(&devices, false);
    phone.ask(&usual());
    assert_eq!(phone.get("/").await.status, StatusCode::UNAUTHORIZED);
    let code = offer(&devices);
    let form = phone.get("/pair").await;
    assert!(form.text.contains("name=\"code\"") && !form.text.contains(&code));
    // As people type it.
    let typed = code.to_lowercase().replace('-', "+");
    let answer = pair(&mut phone, &typed).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::SEE_OTHER, "/")
    );
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-approvals_8443="), "{cookie}");
    for part in [
        "; Path=/",
        "; HttpOnly",
        "; Secure",
        "; SameSite=Strict",
        "; Max-Age=2592000",
    ] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    assert!(phone.get("/").await.text.contains("delete_user"));

    let mut other = Visitor::phone(&devices, false);
    let again = pair(&mut other, &code).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    assert!(again.text.contains("No code is valid now"));
    assert_eq!(other.get("/").await.status, StatusCode::UNAUTHORIZED);

    let records = records(&phone);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["event"], "device_paired");
    assert_eq!(records[0]["name"], "Ann");
    let known = devices.clone().devices(NOW_MS).unwrap();
    assert_eq!(records[0]["device"], known[0].id.as_str());
}

#[tokio::test]
async fn a_code_is_valid_for_five_minutes() {
    let devices = SharedDevices::default();
    let mut phone = Visitor::phone(&devices, false);
    let code = offer(&devices);
    phone.advance(Duration::from_secs(300));
    assert_eq!(pair(&mut phone, &code).await.status, StatusCode::FORBIDDEN);
    assert!(records(&phone).is_empty());
}

#[tokio::test]
async fn five_wrong_codes_void_the_code_for_everybody() {
    let devices = SharedDevices::default();
    let (mut phone, mut attacker) = (
        Visitor::phone(&devices, false),
        Visitor::phone(&devices, false),
    );
    let code = offer(&devices);
    // A longer text that begins with the code is wrong, too.
    let wrong = [
        "".to_owned(),
        "AAAA-AAAA".to_owned(),
        format!("{code}A"),
        code.get(..8).unwrap().to_owned(),
        "%00".to_owned(),
    ];
    assert_eq!(wrong.len(), usize::try_from(MAX_WRONG_CODES).unwrap());
    for wrong in wrong {
        let answer = pair(&mut attacker, &wrong).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{wrong}");
        assert!(answer.text.contains("The code is wrong"), "{wrong}");
    }
    let answer = pair(&mut phone, &code).await;
    assert!(
        answer.text.contains("No code is valid now"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn no_link_and_no_other_page_pairs_a_device() {
    let devices = SharedDevices::default();
    let phone = Visitor::phone(&devices, false);
    let code = offer(&devices);
    let form = format!("code={code}");
    for method in ["GET", "HEAD", "PUT"] {
        phone
            .send(phone.request(method, &format!("/pair?{form}"), &form))
            .await;
    }
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "http://phone.example:8443"),
        ("origin", "https://phone.example"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("host", "evil.example:8443"),
        ("host", "127.0.0.1:8443"),
    ] {
        let mut request = phone.request("POST", "/pair", &form);
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
        assert_eq!(
            phone.send(request).await.status,
            StatusCode::FORBIDDEN,
            "{name}: {value}"
        );
    }
    assert_eq!(devices.clone().devices(NOW_MS).unwrap(), []);
    let answer = phone.post("/pair", &form).await;
    assert_eq!(
        answer.status,
        StatusCode::SEE_OTHER,
        "else this test proves nothing"
    );
}

#[tokio::test]
async fn a_device_stays_paired_when_another_process_serves_the_page_and_for_30_days() {
    let devices = SharedDevices::default();
    let phone = paired(&devices, false).await;
    let mut later = Visitor::phone(&devices, false);
    later.cookie.clone_from(&phone.cookie);
    later.ask(&usual());
    assert!(later.get("/").await.text.contains("delete_user"));
    later.advance(Duration::from_millis(DEVICE_MS.unsigned_abs() - 1));
    assert_eq!(later.get("/").await.status, StatusCode::OK);
    let used = devices.clone().devices(NOW_MS).unwrap()[0].used_ms;
    assert_eq!(used, NOW_MS + DEVICE_MS - 1);
    later.advance(Duration::from_millis(1));
    assert_eq!(later.get("/").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_revoked_device_sees_and_decides_nothing() {
    let devices = SharedDevices::default();
    let phone = paired(&devices, false).await;
    phone.ask(&usual());
    let csrf = phone.csrf().await;
    let id = devices.clone().devices(NOW_MS).unwrap()[0].id.clone();
    devices.clone().revoke(&id).unwrap();
    let form = format!("csrf={csrf}&shown={}&choice=approve", usual().fingerprint());
    let answer = phone.post(&decide_path(&usual()), &form).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.text.contains("inbox --pair"));
    for path in ["/", "/fragment", "/history", "/events"] {
        let answer = phone.get(path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(!answer.text.contains("delete_user"), "{path}");
    }
    assert_eq!(phone.store.entry(&usual().id).state, State::Waiting);
}

#[tokio::test(start_paused = true)]
async fn the_open_page_of_a_revoked_device_is_told_and_hears_no_more() {
    let devices = SharedDevices::default();
    let phone = paired(&devices, false).await;
    let other = paired(&devices, false).await;
    let mut body = phone
        .raw(phone.request("GET", "/events", ""))
        .await
        .into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, ":\n\n");
    let id = devices.clone().devices(NOW_MS).unwrap()[0].id.clone();
    devices.clone().revoke(&id).unwrap();
    // At the next keep-alive at the latest. The event makes the page ask, and learn that it is not paired.
    let told = timeout(Duration::from_secs(16), body.frame())
        .await
        .unwrap();
    let told = told.unwrap().unwrap().into_data().unwrap();
    assert_eq!(told, "event: changed\ndata:\n\n");
    assert!(body.frame().await.is_none(), "the stream ends");
    assert_eq!(
        phone.get("/fragment").await.status,
        StatusCode::UNAUTHORIZED
    );

    let mut body = other
        .raw(other.request("GET", "/events", ""))
        .await
        .into_body();
    for _ in 0..5 {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, ":\n\n", "another device hears on");
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_page_does_not_outlive_its_session() {
    let mut visitor = Visitor::logged_in(false).await;
    let mut body = visitor
        .raw(visitor.request("GET", "/events", ""))
        .await
        .into_body();
    assert!(body.frame().await.is_some());
    let csrf = visitor.csrf().await;
    visitor.post("/logout", &format!("csrf={csrf}")).await;
    assert!(body.frame().await.is_some());
    assert!(body.frame().await.is_none());

    visitor.log_in().await;
    let mut body = visitor
        .raw(visitor.request("GET", "/events", ""))
        .await
        .into_body();
    assert!(body.frame().await.is_some());
    visitor.advance(Duration::from_secs(12 * 60 * 60));
    assert!(body.frame().await.is_some());
    assert!(body.frame().await.is_none(), "twelve hours later");
}

#[tokio::test]
async fn a_full_disk_does_not_keep_a_phone_from_reading() {
    let devices = SharedDevices::default();
    let phone = paired(&devices, false).await;
    phone.ask(&usual());
    devices.fill();
    phone.advance(Duration::from_secs(61));
    let list = phone.get("/").await;
    assert_eq!(list.status, StatusCode::OK, "{}", list.text);
    assert!(list.text.contains("delete_user"));
}

#[tokio::test]
async fn a_device_is_revoked_even_if_that_cannot_be_recorded() {
    let devices = SharedDevices::default();
    let phone = paired(&devices, false).await;
    let audit = phone.folder.as_ref().unwrap().path().join("audit");
    fs::remove_dir_all(&audit).unwrap();
    fs::write(&audit, "").unwrap();
    let csrf = phone.csrf().await;
    let answer = phone.post("/logout", &format!("csrf={csrf}")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text.contains("no longer paired"), "{}", answer.text);
    assert_eq!(devices.clone().devices(NOW_MS).unwrap(), []);
}

#[tokio::test]
async fn logging_out_ends_the_pairing_and_is_recorded() {
    let devices = SharedDevices::default();
    let phone = paired(&devices, false).await;
    let csrf = phone.csrf().await;
    let answer = phone.post("/logout", &format!("csrf={csrf}")).await;
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(devices.clone().devices(NOW_MS).unwrap(), []);
    assert_eq!(phone.get("/").await.status, StatusCode::UNAUTHORIZED);
    let records = records(&phone);
    assert_eq!(records[1]["event"], "device_revoked");
    assert_eq!(records[1]["by"], "page");
}

#[tokio::test]
async fn a_cookie_that_was_made_up_or_belongs_to_the_local_page_is_worth_nothing() {
    let devices = SharedDevices::default();
    let mut phone = paired(&devices, false).await;
    let good = phone.cookie.clone();
    let local = Visitor::logged_in(false).await.cookie;
    let value = local.split_once('=').unwrap().1;
    let flipped = good.replace(|c: char| c.is_ascii_digit(), "a");
    for cookie in [
        local.clone(),
        format!("__Host-approvals_8443={value}"),
        format!("__Host-approvals_8443={}", "0".repeat(128)),
        good.replace("8443", "443"),
        flipped,
        String::new(),
    ] {
        phone.cookie = cookie.clone();
        assert_eq!(
            phone.get("/").await.status,
            StatusCode::UNAUTHORIZED,
            "{cookie}"
        );
    }
    phone.cookie = good;
    assert_eq!(phone.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn links_of_the_local_page_log_nobody_in() {
    let devices = SharedDevices::default();
    let phone = Visitor::phone(&devices, false);
    phone.add_login("one time");
    let answer = phone.post("/login", "token=one+time").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(phone.get("/login").await.status, StatusCode::OK);
    // Only the local page proves itself to other processes: the proof would be good for both.
    let nonce = "0".repeat(64);
    assert_eq!(
        phone.get(&format!("/prove?nonce={nonce}")).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_verdict_from_a_phone_needs_the_passphrase_if_one_is_set() {
    let devices = SharedDevices::default();
    let phone = paired(&devices, true).await;
    phone.ask(&usual());
    let answer = phone
        .decide(&usual(), "choice=approve&passphrase=wrong")
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(phone.store.entry(&usual().id).state, State::Waiting);
    let answer = phone
        .decide(&usual(), "choice=approve&passphrase=open+sesame")
        .await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(phone.store.with(|memory| memory.signature.is_some()));
}

#[tokio::test]
async fn a_phone_keeps_its_users_name_and_the_store_cannot_choose_it() {
    let devices = SharedDevices::default();
    let mut phone = paired(&devices, false).await;
    let csrf = phone.csrf().await;
    let answer = phone
        .post("/name", &format!("csrf={csrf}&name=Ann+M%C3%BCller&back=/"))
        .await;
    let kept = answer
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let mut later = Visitor::phone(&devices, false);
    later.cookie = format!("{}; {kept}", phone.cookie);
    later.ask(&usual());
    assert!(later.get("/").await.text.contains("Ann Müller"));
    later.decide(&usual(), "choice=approve").await;
    let verdict = later.store.entry(&usual().id).verdict.unwrap();
    assert_eq!(verdict.approver.as_deref(), Some("Ann Müller"));
    // Forgotten when the person removes it.
    phone.cookie = later.cookie.clone();
    let csrf = phone.csrf().await;
    let answer = phone
        .post("/name", &format!("csrf={csrf}&name=&back=/"))
        .await;
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
}

#[tokio::test]
async fn no_more_than_twenty_devices_are_paired() {
    let devices = SharedDevices::default();
    for _ in 0..MAX_DEVICES {
        paired(&devices, false).await;
    }
    let mut phone = Visitor::phone(&devices, false);
    let code = offer(&devices);
    let answer = pair(&mut phone, &code).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.text.contains("--revoke"));
    let oldest = devices.clone().devices(NOW_MS).unwrap()[0].id.clone();
    devices.clone().revoke(&oldest).unwrap();
    assert_eq!(pair(&mut phone, &code).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_device_that_cannot_be_recorded_is_not_paired() {
    let devices = SharedDevices::default();
    let mut phone = Visitor::phone(&devices, false);
    let folder = phone.folder.as_ref().unwrap().path().to_owned();
    // A file in the place of the folder of the logs.
    fs::write(folder.join("audit"), "").unwrap();
    let code = offer(&devices);
    let answer = pair(&mut phone, &code).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("set-cookie"), "");
    assert_eq!(devices.clone().devices(NOW_MS).unwrap(), []);
}

#[tokio::test]
async fn what_a_device_is_called_is_guessed_and_shown_as_text() {
    let devices = SharedDevices::default();
    let phone = Visitor::phone(&devices, false);
    for (agent, name) in [
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)",
            "iPhone",
        ),
        ("Mozilla/5.0 (Linux; Android 15; Pixel 9)", "Android phone"),
        ("\"><script>", "Device"),
    ] {
        let mut request = phone.request("GET", "/pair", "");
        request
            .headers_mut()
            .insert("user-agent", HeaderValue::from_static(agent));
        let page = phone.send(request).await.text;
        assert!(page.contains(&format!("value=\"{name}\"")), "{agent}");
        assert!(!page.contains("<script>"));
    }
    assert!(
        phone
            .get("/pair")
            .await
            .text
            .contains("<form id=\"pair\" method=\"post\"")
    );
    assert!(PHONE_ORIGIN.starts_with("https:"));
}
