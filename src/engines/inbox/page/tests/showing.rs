//! The page shows everything in a call, and nothing in a call becomes active on the page.

use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::visitor::{NOW_MS, Visitor, asset, item, usual};
use crate::approval::item::{Assurance, Choice, Item, Verdict};
use crate::engines::inbox::store::{ApprovalRequests as _, Closed, SignedVerdict};

async fn shown(item: &Item) -> (String, String) {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(item);
    let own = visitor.get(&format!("/item/{}", item.id)).await;
    assert_eq!(own.status, StatusCode::OK);
    (visitor.get("/").await.text, own.text)
}

#[tokio::test]
async fn an_item_is_shown_with_everything_known_about_it() {
    let (list, own) = shown(&usual()).await;
    assert!(own.contains(&usual().digest));
    for page in [list, own] {
        for part in [
            "High risk",
            "delete_user",
            "crm",
            "agent",
            "it destroys",
            "Deletes a user.",
            "destructive",
            "Allow this tool call?",
            "<span class=\"key\">&quot;id&quot;</span>: <span class=\"num\">90071992547409931</span>",
            "<span class=\"num\">1.50</span>",
            "name=\"choice\" value=\"approve\"",
            "name=\"choice\" value=\"deny\"",
            &usual().fingerprint(),
        ] {
            assert!(page.contains(part), "{part}");
        }
    }
}

#[tokio::test]
async fn an_item_says_that_a_verdict_did_not_count() {
    let warning = "A verdict on this call did not count";
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    let pages = ["/".to_owned(), format!("/item/{}", usual().id)];
    for page in &pages {
        assert!(!visitor.get(page).await.text.contains(warning));
    }
    let mut store = visitor.store.clone();
    store.reopen(&usual().id).unwrap();
    for page in &pages {
        let text = visitor.get(page).await.text;
        assert!(text.contains(warning) && text.contains("value=\"deny\""));
    }
}

#[tokio::test]
async fn no_text_from_outside_is_ever_markup() {
    let evil = "\"><script>alert(1)</script><img src=x onerror='x'>\u{202e}\u{200b}\u{0}`";
    let mut hostile = item(
        1,
        &json!({"name": evil, evil: evil, "arguments": {evil: [evil, {evil: null}]}})
            .to_string()
            .replace("\\u0000", ""),
    );
    hostile.server = evil.to_owned();
    hostile.tool = evil.to_owned();
    hostile.why = evil.to_owned();
    hostile.question = evil.to_owned();
    hostile.description = Some(evil.repeat(20));
    hostile.hints = evil.to_owned();
    hostile.digest = "\"><script>".to_owned();
    hostile.client = Some(evil.to_owned());
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&hostile);
    let path = format!("/item/{}", hostile.id);
    let mut pages = vec![
        visitor.get("/").await.text,
        visitor.get("/fragment").await.text,
    ];
    pages.push(visitor.get(&path).await.text);
    let verdict = Verdict {
        fields: None,
        choice: Choice::Deny,
        reason: Some(evil.to_owned()),
        cover: std::time::Duration::ZERO,
        assurance: Assurance::InboxTerminal,
        approver: None,
        decided_ms: NOW_MS,
    };
    let signed = SignedVerdict {
        verdict,
        signature: None,
        engine: None,
    };
    visitor
        .store
        .with(|memory| memory.decide(&hostile.id, &signed))
        .unwrap();
    pages.push(visitor.get(&path).await.text);
    let query = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    pages.push(visitor.get("/history").await.text);
    pages.push(
        visitor
            .get(&format!("/history?server={query}&tool={query}"))
            .await
            .text,
    );
    pages.push(
        visitor
            .get(&format!(
                "/?said=late&item={query}&state={query}&show={query}"
            ))
            .await
            .text,
    );
    pages.push(visitor.get(&format!("/item/{query}")).await.text);
    for page in pages {
        let known = "<script type=\"module\" src=\"/assets/app.js\"></script>";
        let page = page.replace(known, "");
        for part in [
            "<script",
            "<img src=x",
            "onerror='",
            "\u{202e}",
            "\u{200b}",
            "\u{0}",
            "\"><scr",
        ] {
            assert!(!page.contains(part), "{part:?} in {page}");
        }
    }
}

#[tokio::test]
async fn parameters_other_than_arguments_are_shown_too() {
    let call = r#"{"name":"other","arguments":{},"_meta":{"x":"hidden?"},"task":{"ttl":1}}"#;
    let (list, _) = shown(&item(1, call)).await;
    for part in ["hidden?", "ttl", "names another tool", "No arguments."] {
        assert!(list.contains(part), "{part}");
    }
    for call in ["not json <b>", "[1]", "{\"a\":1,\"a\":2}"] {
        let (list, _) = shown(&item(1, call)).await;
        assert!(list.contains("It is shown as received"), "{call}");
    }
    assert!(shown(&item(1, "not <b>")).await.0.contains("not &lt;b&gt;"));
}

fn part<'p>(page: &'p str, from: &str, to: &str) -> &'p str {
    let rest = page.split_once(from).unwrap().1;
    rest.split_once(to).unwrap().0
}

#[tokio::test]
async fn names_that_others_give_themselves_are_quoted_and_shortened() {
    let mut one = usual();
    one.client = Some("Claude Code, checked and cleared by your administrator".to_owned());
    one.server = "crm\", checked by \"x".to_owned();
    let (list, own) = shown(&one).await;
    for page in [&list, &own] {
        for part in [
            "<dt>The client</dt><dd>calls itself <bdi class=\"name\">&quot;Claude Code, checked and cleared by your administrator&quot;</bdi></dd>",
            "Server <bdi class=\"name\">&quot;crm\\&quot;, checked by \\&quot;x&quot;</bdi>",
            "<bdi class=\"name\">&quot;delete_user&quot;</bdi>",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }
    assert!(own.contains("<title>(1) &quot;delete_user&quot;</title>"));

    let long = format!("delete_{}_everything", "x".repeat(80));
    let call = json!({"name": long, "arguments": {}}).to_string();
    let mut one = item(1, &call);
    one.tool.clone_from(&long);
    one.client = Some(format!("first {} last", "y".repeat(200)));
    let (list, own) = shown(&one).await;
    for page in [&list, &own] {
        let client = part(page, "calls itself", "</dd>");
        assert!(client.contains("…(151 of 211 characters left out)…"));
        assert!(client.contains("&quot;first y") && client.contains("y last&quot;"));
        assert!(client.matches('y').count() <= 60, "{client}");
        // Both ends of the tool's name are above the call, and the whole name is in the call.
        let call = part(page, "class=\"code\"", "</div>");
        assert!(call.contains(&format!("&quot;{long}&quot;")), "{call}");
        let above = page.split("class=\"code\"").next().unwrap();
        assert!(!above.contains(&long));
        assert!(above.contains("&quot;delete_xxx") && above.contains("x_everything&quot;"));
    }
}

#[tokio::test]
async fn a_title_has_no_markup_and_no_invisible_characters() {
    let mut one = usual();
    one.tool = "</title><b>\u{202e}".to_owned();
    let (_, own) = shown(&one).await;
    let title = part(&own, "<title>", "</title>");
    assert_eq!(title, "(1) &quot;&lt;/title&gt;&lt;b&gt;\\u{202e}&quot;");
}

// "Arguments come before the description": the person sees the call first, however long the description is.
#[tokio::test]
async fn the_call_is_above_the_servers_description_of_the_tool() {
    let mut one = usual();
    one.description = Some("It does no harm.\n\n\n\n".repeat(100));
    let (list, own) = shown(&one).await;
    for page in [list, own] {
        let call = page.find("90071992547409931").unwrap();
        let says = page.find("It does no harm").unwrap();
        assert!(call < says && says < page.find("value=\"approve\"").unwrap());
        let both_ends = part(&page, "class=\"preview\"", "</summary>");
        assert!(both_ends.contains("characters folded") && both_ends.contains("harm."));
    }
    one.description = None;
    let (list, _) = shown(&one).await;
    assert!(list.contains("nothing about this tool"));
}

#[tokio::test]
async fn what_draws_nothing_or_piles_up_is_written_out_in_the_call() {
    let text = format!("rm -rf /{}tmp", " ".repeat(90));
    let call = json!({"name": "delete_user", "arguments": {
        "path": text, "blank": "a\u{a0}b\u{2003}c\u{3000}", "marks": "e\u{301}\u{302}\u{303}\u{304}",
        "quoted": "a\\u{202e}\"",
    }})
    .to_string();
    let (list, _) = shown(&item(1, &call)).await;
    let call = part(&list, "class=\"code\"", "</div>").replace("<span class=\"unseen\">", "");
    let call = call.replace("</span>", "");
    for part in [
        r"rm -rf /\s{90}tmp",
        r"a\u{a0}b\u{2003}c\u{3000}",
        "e\u{301}\u{302}\\u{303}\\u{304}",
        r"a\\u{202e}\&quot;",
    ] {
        assert!(call.contains(part), "{part} in {call}");
    }
}

#[tokio::test]
async fn a_long_text_is_folded_with_its_size_and_both_ends_and_open_without_the_script() {
    let text = format!("begin {} end", "line\n".repeat(400));
    let call =
        json!({"name": "delete_user", "arguments": {"text": text, "short": "a\nb"}}).to_string();
    let (list, _) = shown(&item(1, &call)).await;
    assert!(list.contains("text, 2.0 kB, 401 lines"), "{list}");
    let summary = part(
        &list,
        "<details class=\"long\" data-fold open>",
        "</summary>",
    );
    assert!(summary.contains("&quot;begin line"), "{summary}");
    assert!(
        summary.contains("…(1890 of 2010 characters folded)…"),
        "{summary}"
    );
    assert!(summary.ends_with(" end&quot;</span>"), "{summary}");
    assert_eq!(
        list.matches("<span class=\"line\" data-n=").count(),
        401 + 2
    );
    assert!(list.contains("data-n=\"400\">line</span>"));
    assert!(
        list.contains("data-n=\"1\">begin line") && list.contains(" end</span></div></details>")
    );
    assert!(
        list.contains("<details class=\"long\" open>"),
        "a short one is open"
    );
    // A line of a text cannot look like the next parameter, because it is in a box.
    let box_of_two = "<span class=\"line\" data-n=\"1\">a</span><span class=\"line\" data-n=\"2\">b</span></div>";
    assert!(list.contains(box_of_two), "{list}");
}

#[tokio::test]
async fn a_very_large_call_is_decided_on_its_own_page_where_it_is_shown_in_full() {
    let call = json!({"name": "delete_user", "arguments": {"text": "\u{202e}x".repeat(1 << 18)}})
        .to_string();
    let (list, own) = shown(&item(1, &call)).await;
    assert!(list.len() < 16 * 1024 && list.contains("Open it to read and decide"));
    assert!(!list.contains("button primary"));
    assert_eq!(
        own.matches("\\u{202e}").count(),
        (1 << 18) + 60,
        "all of it, and its two ends"
    );
    assert!(!own.contains('\u{202e}') && own.contains("value=\"approve\""));
}

#[tokio::test]
async fn a_very_long_list_shows_the_oldest_items_and_the_count_of_all() {
    let visitor = Visitor::logged_in(false).await;
    for number in 0..1_000 {
        visitor.ask(&item(number, "{}"));
    }
    let page = visitor.get("/").await.text;
    assert_eq!(page.matches("<article").count(), 100);
    assert!(
        page.contains("<title>(1000) Approvals</title>") && page.contains("Showing 100 of 1000")
    );
    assert!(page.contains(&item(0, "").id) && !page.contains(&item(100, "").id));
    assert_eq!(
        visitor
            .get("/?show=200")
            .await
            .text
            .matches("<article")
            .count(),
        200
    );
    assert_eq!(
        visitor
            .get("/?show=18446744073709551615")
            .await
            .text
            .matches("<article")
            .count(),
        500
    );
}

#[tokio::test]
async fn the_history_is_filtered_and_paged_without_losing_items() {
    let visitor = Visitor::logged_in(false).await;
    for number in 0..120 {
        let mut one = item(number, "{}");
        one.tool = if number % 2 == 0 { "Delete_A" } else { "add" }.to_owned();
        // Some have the same time, across the end of a page.
        one.asked_ms = NOW_MS + i64::from(number / 7);
        visitor.ask(&one);
        let how = crate::engines::inbox::store::Closed::Withdrawn;
        visitor
            .store
            .with(|memory| memory.close(&one.id, how, NOW_MS))
            .unwrap();
    }
    let mut seen = Vec::new();
    let mut path = "/history?state=withdrawn&server=crm".to_owned();
    loop {
        let page = visitor.get(&path).await.text;
        let links = page
            .split("href=\"/item/")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().to_owned());
        seen.extend(links);
        let Some(next) = page.split("href=\"/history?before_ms=").nth(1) else {
            break;
        };
        let query = next.split('"').next().unwrap().replace("&amp;", "&");
        path = format!("/history?before_ms={query}");
    }
    seen.sort();
    let expected: Vec<String> = (0..120).map(|number| item(number, "").id).collect();
    assert_eq!(seen, expected);
    for (query, count) in [
        ("tool=delete", 50),
        ("server=other", 0),
        ("state=approved", 0),
        ("tool=nothing", 0),
    ] {
        let page = visitor.get(&format!("/history?{query}")).await.text;
        let rows = page.matches("<article").count();
        assert!(rows.abs_diff(count) < 7, "{query}: {rows}");
    }
}

#[tokio::test]
async fn an_empty_inbox_is_a_friendly_page() {
    let visitor = Visitor::logged_in(false).await;
    let page = visitor.get("/").await.text;
    assert!(
        page.contains("Nothing is waiting for you.") && page.contains("<title>Approvals</title>")
    );
}

#[tokio::test]
async fn pages_load_only_our_own_assets_and_have_nothing_inline() {
    let visitor = Visitor::logged_in(true).await;
    visitor.ask(&usual());
    let item = format!("/item/{}", usual().id);
    for path in ["/", &item, "/history", "/login", "/nothing"] {
        let page = visitor.get(path).await.text;
        for part in [
            " style=", "<style", " onclick", "http://", "https://", "//cdn",
        ] {
            assert!(!page.contains(part), "{part} in {path}");
        }
        let links = page.split("=\"/assets/").skip(1);
        let linked = links.map(|link| link.split('"').next().unwrap());
        // The script also imports guard.js.
        for name in linked.chain(["guard.js"]) {
            let request = visitor.request("GET", &format!("/assets/{name}"), "");
            let answer = visitor.raw(request).await;
            assert_eq!(answer.status(), StatusCode::OK, "{name}");
            let sent = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(sent, asset(name), "{name}");
        }
    }
}

// W3C, Web Application Manifest: what browsers need to offer an installation.
#[tokio::test]
async fn the_page_can_be_installed_with_nothing_from_elsewhere() {
    let visitor = Visitor::stranger(false);
    let page = visitor.get("/login").await.text;
    assert!(page.contains("<link rel=\"manifest\" href=\"/manifest.webmanifest\">"));
    let manifest = visitor.get("/manifest.webmanifest").await;
    assert_eq!(manifest.header("content-type"), "application/manifest+json");
    let manifest: Value = serde_json::from_str(&manifest.text).unwrap();
    assert_eq!(manifest["display"], "standalone");
    for path in [&manifest["start_url"], &manifest["scope"], &manifest["id"]] {
        assert_eq!(path, "/");
    }
    let icons = manifest["icons"].as_array().unwrap();
    for icon in icons {
        let path = icon["src"].as_str().unwrap();
        assert!(path.starts_with("/assets/"), "{path}");
        let answer = visitor.raw(visitor.request("GET", path, "")).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(
            answer.headers()["content-type"],
            icon["type"].as_str().unwrap()
        );
    }
    assert!(icons.iter().any(|icon| icon["sizes"] == "512x512"));
}

#[tokio::test]
async fn every_field_has_a_label() {
    let visitor = Visitor::logged_in(true).await;
    visitor.ask(&usual());
    for path in ["/", "/history"] {
        let page = visitor.get(path).await.text;
        for (before, field) in page
            .match_indices("<input")
            .map(|(at, _)| page.split_at(at))
        {
            let tag = field.split('>').next().unwrap();
            let is_hidden = tag.contains("type=\"hidden\"") || tag.ends_with(" hidden");
            let opened = before.matches("<label").count() > before.matches("</label").count();
            assert!(
                is_hidden || opened,
                "{path}: {}",
                field.split('>').next().unwrap()
            );
        }
    }
}

#[tokio::test]
async fn a_closed_item_says_that_its_secrets_were_replaced() {
    let note = "Secrets in the call were replaced";
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    let path = format!("/item/{}", usual().id);
    assert!(!visitor.get(&path).await.text.contains(note));
    let mut store = visitor.store.clone();
    store.close(&usual().id, Closed::Withdrawn, NOW_MS).unwrap();
    assert!(visitor.get(&path).await.text.contains(note));
}

#[tokio::test]
async fn the_arguments_are_directly_below_the_name_and_the_usual_question_is_shown_once() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    let mut special = item(2, "{}");
    special.question = "Second confirmation: allow this high-risk tool call?".to_owned();
    visitor.ask(&special);
    visitor.ask(&item(3, "{}"));
    let list = visitor.get("/").await.text;
    assert_eq!(list.matches("Allow this tool call?").count(), 1);
    assert_eq!(list.matches("Second confirmation: allow").count(), 1);
    let own = visitor.get(&format!("/item/{}", usual().id)).await.text;
    assert_eq!(own.matches("Allow this tool call?").count(), 1);
    let between = part(&list, "</a></h2>", "<div class=\"code\"");
    assert_eq!(between, "<h3 class=\"part unread\">Arguments</h3>");
    let between = part(&own, "</h1>", "<div class=\"code\"");
    assert_eq!(between, "<h2 class=\"part unread\">Arguments</h2>");
}

#[tokio::test]
async fn hints_and_titles_are_shown_as_claims_of_others() {
    let mut one = usual();
    one.hints = "readOnlyHint true, destructiveHint false, <b>odd</b>".to_owned();
    one.title = Some(format!("Approved by <b>your</b> admin {}", "x".repeat(100)));
    one.client_title = Some("The \"Editor\"".to_owned());
    let (list, own) = shown(&one).await;
    for page in [list, own] {
        for part in [
            "<li>says it only reads</li><li>says it destroys nothing</li><li>&lt;b&gt;odd&lt;/b&gt;</li>",
            "Unverified hints",
            "calls this tool <bdi class=\"name\">&quot;Approved by &lt;b&gt;your&lt;/b&gt; admin xxx",
            "characters left out",
            "calls itself <bdi class=\"name\">&quot;agent&quot;</bdi> and <bdi class=\"name\">&quot;The \\&quot;Editor\\&quot;&quot;</bdi>",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }
}

#[tokio::test]
async fn with_more_than_twenty_items_each_is_a_row_with_the_whole_card() {
    let visitor = Visitor::logged_in(false).await;
    for number in 1..=20 {
        visitor.ask(&item(
            number,
            r#"{"name":"delete_user","arguments":{"id":7}}"#,
        ));
    }
    assert!(!visitor.get("/").await.text.contains("class=\"whole\""));
    visitor.ask(&item(21, r#"{"name":"delete_user","arguments":{"id":7}}"#));
    let page = visitor.get("/").await.text;
    assert_eq!(page.matches("<details class=\"whole\">").count(), 21);
    assert_eq!(page.matches("aria-describedby=\"hint-").count(), 21);
    let row = part(&page, "<span class=\"line-of\">", "</summary>");
    for part in [
        "High risk",
        "delete_user",
        "&quot;id&quot;</span>: 7",
        "crm",
        "left",
    ] {
        assert!(row.contains(part), "{part} in {row}");
    }
    let first = page.find(&item(1, "").id).unwrap();
    assert!(first < page.find(&item(21, "").id).unwrap(), "oldest first");
}

#[tokio::test]
async fn lines_of_a_text_stand_below_each_other_and_none_can_be_forged() {
    let text = "--- a\n+++ b\n@@ -1 +1 @@\n-    old\n+\t\t\tnew\u{202e}\n\n\n\n\nend of      it";
    let call = json!({"name": "delete_user", "arguments": {"patch": text, "more": "2</span>\n3"}});
    let (list, _) = shown(&item(1, &call.to_string())).await;
    for part in [
        "<span class=\"line hunk\" data-n=\"3\">@@ -1 +1 @@</span>",
        // Indentation is kept, and tabs are marked.
        "<span class=\"line removed\" data-n=\"4\">-    old</span>",
        "<span class=\"line added\" data-n=\"5\">+<span class=\"nl\">\\t{3}</span>\t\t\tnew<span class=\"unseen\">\\u{202e}</span>",
        // Several empty lines are shown as a count, and the line numbers continue after them.
        "<span class=\"unseen\">\\n{5}</span></span><span class=\"line\" data-n=\"10\">end of<span class=\"unseen\">\\s{6}</span>it</span>",
        "<span class=\"line\" data-n=\"1\">2&lt;/span&gt;</span><span class=\"line\" data-n=\"2\">3</span>",
    ] {
        assert!(list.contains(part), "{part} in {list}");
    }
    // Wide indentation would push text out of sight.
    let call =
        json!({"name": "delete_user", "arguments": {"t": format!("a\n{}b", " ".repeat(60))}});
    let (list, _) = shown(&item(1, &call.to_string())).await;
    assert!(list.contains("\\s{60}</span>b"), "{list}");
}

#[tokio::test]
async fn a_history_row_shows_the_call_the_approver_the_engine_and_the_reason() {
    let visitor = Visitor::logged_in(false).await;
    let call = json!({"name": "delete_user", "arguments": {"text": "<b>".repeat(200)}});
    let verdict = |assurance| Verdict {
        fields: None,
        choice: Choice::Deny,
        reason: Some("no <i>".to_owned()),
        cover: std::time::Duration::ZERO,
        assurance,
        approver: None,
        decided_ms: NOW_MS,
    };
    let elsewhere = crate::engines::inbox::store::Elsewhere {
        item: item(1, &call.to_string()),
        verdict: verdict(Assurance::CallerRelayed),
        engine: "elicitation".to_owned(),
    };
    let mut store = visitor.store.clone();
    store.record(&[elsewhere]).unwrap();
    visitor.ask(&item(2, "{}"));
    let signed = SignedVerdict {
        verdict: verdict(Assurance::InboxPassphrase),
        signature: None,
        engine: None,
    };
    store.decide(&item(2, "").id, &signed).unwrap();
    visitor.ask(&item(3, "{}"));
    store
        .close(&item(3, "").id, Closed::Expired, NOW_MS)
        .unwrap();
    let page = visitor.get("/history").await.text;
    let rows: Vec<&str> = page.split("<article").skip(1).collect();
    for (row, parts) in rows.iter().zip([
        ["Expired", "nobody decided", "no arguments"],
        ["Denied", "you, with the passphrase", "inbox"],
        ["Denied", "somebody at the client", "client’s prompt"],
    ]) {
        for part in parts {
            assert!(row.contains(part), "{part} in {row}");
        }
    }
    assert!(rows[2].contains("&quot;text&quot;</span>: &quot;&lt;b&gt;&lt;b&gt;"));
    assert!(
        rows[2].contains("&quot;…") && !rows[2].contains("<b>"),
        "{}",
        rows[2]
    );
    assert!(rows[2].contains("no &lt;i&gt;"));
}
