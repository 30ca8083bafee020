use super::*;
use crate::approval::item::Closed;
use crate::engines::for_test::{carry, context, item};

fn options(changes: &Value) -> Map<String, Value> {
    let mut all = json!({
        "smtp": "smtps://bot:PROBE-pass@mail.example",
        "from": "Approvals <bot@mail.example>",
        "to": "olga@people.example",
    });
    let changes = changes.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(changes);
    all.as_object().unwrap().clone()
}

fn read(changes: &Value) -> Result<EmailSettings, String> {
    let transport = TransportSettings {
        page_url: PageUrl::read("https://phone.example").ok(),
        ..TransportSettings::default()
    };
    settings(&options(changes), &transport).map_err(|BadOptions(why)| why)
}

#[test]
fn to_is_an_address_or_a_list() {
    let addresses = |to: Value| {
        let settings = read(&json!({ "to": to })).unwrap();
        let to = settings.parties.to.into_iter();
        to.map(|to| to.email.to_string()).collect::<Vec<String>>()
    };
    assert_eq!(addresses(json!(" a@b.example ")), ["a@b.example"]);
    let two = addresses(json!(["Olga <a@b.example>", "c@d.example"]));
    assert_eq!(two, ["a@b.example", "c@d.example"]);
    let many: Vec<String> = (0..=MAX_RECIPIENTS)
        .map(|n| format!("a{n}@b.example"))
        .collect();
    for wrong in [
        json!([]),
        json!(many),
        json!([7]),
        json!(7),
        json!(null),
        json!("olga"),
        json!(["a@b.example", "x\r\nDATA@b.example"]),
    ] {
        let why = read(&json!({ "to": wrong })).unwrap_err();
        assert!(why.starts_with("`to` "), "{wrong}: {why}");
    }
}

#[test]
fn wrong_options_are_named_and_no_secret_is_quoted() {
    for (key, wrong) in [
        ("smtp", json!("smtp://bot:PROBE-pass@mail.example")),
        ("smtp", json!("PROBE-pass")),
        ("smtp", json!(["smtps://bot:PROBE-pass@mail.example"])),
        ("from", json!("bot")),
        // A mail from there could not be written.
        ("from", json!("\"a b\"@c.example")),
        ("from", json!("bot@[192.0.2.7]")),
        ("from", json!("a@b.example\nBcc: eve@evil.example")),
        ("from", json!(7)),
    ] {
        let why = read(&json!({ key: wrong })).unwrap_err();
        assert!(why.contains(&format!("`{key}`")), "{why}");
        assert!(!why.contains("PROBE"), "{why}");
    }
    let without = settings(&options(&json!({})), &TransportSettings::default());
    let why = without.unwrap_err().0;
    assert!(why.contains("`approvalProxy.inbox.pageUrl`"), "{why}");
    let printed = format!("{:?}", read(&json!({})).unwrap());
    assert!(
        printed.contains("mail.example:465") && !printed.contains("PROBE"),
        "{printed}"
    );
}

#[test]
fn nobody_decides_by_mail() {
    let settings = read(&json!({})).unwrap();
    for name in ["email:olga@people.example", "olga", ""] {
        assert!(!settings.recognizes(name));
    }
}

#[test]
fn nothing_starts_before_the_first_question() {
    // Nobody listens there.
    let settings = read(&json!({"smtp": "smtp://127.0.0.1:1"})).unwrap();
    let context = context("email");
    let mut courier = settings.courier(&context);
    assert!(settings.needs_page(&context) && !context.runtime.is_running());
    let item = item("a");
    let results = carry(&mut *courier, &item);
    assert!(context.runtime.is_running());
    courier.withdraw(&item.id, &Ending::Closed(Closed::Withdrawn));
    assert!(results.recv().is_err(), "no verdict, and no failure");
}
