//! Stateless calls whose questions are in the inbox: clients that open URLs are sent there, and
//! forms that nobody answers move there.

use std::time::Duration;

use serde_json::{Value, json};

use super::{MINUTE, chain};
use crate::approval::item::{Choice, Closed, Item};
use crate::gate::tests::scene::{Scene, secs};
use crate::gate::tests::stateless::{
    expect_question, expect_spent, expect_unknown, no, retry, says, stateless, stateless_with, yes,
};
use crate::gate::{
    Channel, Engine, FromEngine, OnFailure, Patience, Settings, TimeoutAction, ToEngine,
};

const QUESTION: &str = "approval-proxy";

/// The usual engines; the client's capabilities decide how it is asked.
fn scene(change: impl FnOnce(&mut Settings)) -> Scene {
    Scene::set(|settings| {
        chain(settings);
        settings.timeout = Some(MINUTE);
        change(settings);
    })
}

/// A call of a client that opens URLs and shows no forms.
fn call(id: i64, argument: u64) -> Value {
    let urls = json!({"elicitation": {"url": {}}});
    stateless_with(id, "delete_user", json!({"id": argument}), urls)
}

fn consent(action: &str) -> Value {
    // Extra members in an answer to a URL approve nothing.
    json!({QUESTION: {"action": action, "content": {"approved": true}}})
}

fn url_of(item: &Item) -> String {
    format!("http://127.0.0.1:8766/item/{}", item.id)
}

fn has_page(scene: &mut Scene, item: &Item) {
    let (item, url) = (item.id.clone(), url_of(item));
    scene.inbox_sends(FromEngine::Listed { item, url });
}

/// The client was sent to the item's page by the result of this request. Returns the state.
fn expect_invitation(scene: &mut Scene, id: i64, item: &Item) -> Value {
    let answer = scene.take_client();
    assert_eq!(answer["id"], id, "{answer}");
    let result = &answer["result"];
    assert_eq!(result["resultType"], "input_required", "{answer}");
    let requests = result["inputRequests"].as_object().unwrap();
    assert_eq!(requests.keys().collect::<Vec<_>>(), [QUESTION]);
    let params = &requests[QUESTION]["params"];
    assert_eq!(
        (&params["mode"], &params["url"]),
        (&json!("url"), &json!(url_of(item))),
        "{answer}"
    );
    let message = params["message"].as_str().unwrap();
    assert!(message.contains("`delete_user`"), "{message}");
    result["requestState"].clone()
}

/// The client calls, and is sent to the resulting item.
fn invited(scene: &mut Scene) -> (Item, Value) {
    says(scene, &call(1, 7));
    scene.expect_nothing();
    let item = scene.expect_item();
    has_page(scene, &item);
    let state = expect_invitation(scene, 1, &item);
    scene.expect_nothing();
    (item, state)
}

#[track_caller]
fn expect_closed(scene: &mut Scene, item: &Item, how: Closed) {
    let item = item.id.clone();
    assert_eq!(scene.inbox.pop_front(), Some(ToEngine::Close { item, how }));
}

#[test]
fn a_client_that_opens_urls_is_sent_to_the_page_and_its_retry_waits() {
    let mut scene = scene(|_| {});
    let (item, state) = invited(&mut scene);
    scene.advance(secs(10));
    says(
        &mut scene,
        &retry(&call(1, 7), 2, consent("accept"), &state),
    );
    scene.expect_nothing();
    scene.advance(secs(5));
    scene.decide(&item, Choice::Approve, |_| {});
    scene.answer_lists();
    let forwarded = scene.expect_forwarded(2);
    assert_eq!(forwarded, call(2, 7));
    let line = scene.expect_logged("approved", true);
    assert_eq!(
        (&line["engine"], &line["assurance"], &line["request_id"]),
        (&json!("inbox"), &json!("inbox-session"), &json!(2))
    );
    assert_eq!(line["duration_ms"], 15_000.0);
    assert_eq!(scene.decisions().len(), 1);
    // Once.
    scene.decide(&item, Choice::Approve, |_| {});
    says(
        &mut scene,
        &retry(&call(1, 7), 3, consent("accept"), &state),
    );
    expect_spent(&mut scene, 3);
}

#[test]
fn a_verdict_that_arrives_before_the_retry_is_kept_for_it() {
    let mut scene = scene(|_| {});
    let (item, state) = invited(&mut scene);
    scene.decide(&item, Choice::Approve, |verdict| verdict.cover = MINUTE);
    scene.expect_nothing();
    let line = scene.log.last().unwrap();
    assert_eq!(
        (&line["event"], &line["choice"], &line["item"]),
        (&json!("parked_verdict"), &json!("approve"), &json!(item.id))
    );
    // The first verdict counts.
    scene.decide(&item, Choice::Deny, |_| {});
    scene.advance(secs(20));
    says(
        &mut scene,
        &retry(&call(1, 7), 2, consent("accept"), &state),
    );
    scene.expect_forwarded(2);
    // What else it covers counts from when it was given.
    says(&mut scene, &call(3, 7));
    scene.expect_forwarded(3);
    scene.advance(secs(40));
    says(&mut scene, &call(4, 7));
    scene.expect_nothing();
    scene.expect_item();

    let mut scene = self::scene(|_| {});
    let (item, state) = invited(&mut scene);
    scene.decide(&item, Choice::Deny, |verdict| {
        verdict.reason = Some("not on a Friday".into());
    });
    scene.decide(&item, Choice::Approve, |_| {});
    says(
        &mut scene,
        &retry(&call(1, 7), 2, consent("accept"), &state),
    );
    scene.expect_refused(2, "not on a Friday");
    let line = scene.expect_logged("denied", false);
    assert_eq!(line["engine"], "inbox");
    scene.expect_nothing();
}

#[test]
fn declining_to_open_the_page_is_a_no_and_dismissing_is_not() {
    let mut scene = scene(|_| {});
    let (item, state) = invited(&mut scene);
    scene.person_reads();
    says(
        &mut scene,
        &retry(&call(1, 7), 2, consent("decline"), &state),
    );
    scene.expect_refused(2, "denied by a person");
    expect_closed(&mut scene, &item, Closed::Withdrawn);
    let line = scene.expect_logged("denied", false);
    assert_eq!(line["engine"], "elicitation");
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_nothing();

    for dismissed in [
        consent("cancel"),
        json!({QUESTION: 7}),
        json!({QUESTION: {}}),
    ] {
        let mut scene = self::scene(|_| {});
        let (item, state) = invited(&mut scene);
        says(&mut scene, &retry(&call(1, 7), 2, dismissed, &state));
        scene.expect_nothing();
        scene.decide(&item, Choice::Approve, |_| {});
        scene.expect_forwarded(2);
    }
}

#[test]
fn a_retry_without_an_answer_is_sent_to_the_page_again() {
    let mut scene = scene(|_| {});
    let (item, state) = invited(&mut scene);
    says(
        &mut scene,
        &retry(&call(1, 7), 2, json!({"other": 1}), &state),
    );
    let again = expect_invitation(&mut scene, 2, &item);
    assert_ne!(again, state);
    says(
        &mut scene,
        &retry(&call(1, 7), 3, consent("accept"), &state),
    );
    expect_spent(&mut scene, 3);
    says(
        &mut scene,
        &retry(&call(1, 7), 4, consent("accept"), &again),
    );
    scene.expect_nothing();
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(4);
}

#[test]
fn the_state_of_an_invitation_is_accepted_only_for_its_call() {
    let mut scene = scene(|_| {});
    let (item, state) = invited(&mut scene);
    scene.decide(&item, Choice::Approve, |_| {});
    says(
        &mut scene,
        &retry(&call(1, 8), 2, consent("accept"), &state),
    );
    expect_unknown(&mut scene, 2);
    // Without the state, the same call does not get the yes either.
    says(&mut scene, &call(3, 7));
    scene.expect_nothing();
    assert_ne!(scene.expect_item().id, item.id);
    says(
        &mut scene,
        &retry(&call(1, 7), 4, consent("accept"), &state),
    );
    scene.expect_forwarded(4);
}

#[test]
fn a_call_with_a_foreign_state_is_shown_with_it_and_not_sent_to_a_page() {
    let mut scene = scene(|_| {});
    let odd = retry(&call(1, 7), 1, json!({}), &json!("theirs"));
    says(&mut scene, &odd);
    let item = scene.expect_item();
    assert!(item.call.contains("theirs"), "{}", item.call);
    has_page(&mut scene, &item);
    scene.expect_nothing();
    scene.decide(&item, Choice::Approve, |_| {});
    assert_eq!(scene.expect_forwarded(1), odd);
}

#[test]
fn if_the_client_does_not_come_back_that_is_recorded_and_nothing_runs() {
    let mut scene = scene(|_| {});
    let (item, state) = invited(&mut scene);
    scene.advance(MINUTE + Duration::from_millis(500));
    scene.expect_logged("timeout", false);
    expect_closed(&mut scene, &item, Closed::Expired);
    scene.decide(&item, Choice::Approve, |_| {});
    says(
        &mut scene,
        &retry(&call(1, 7), 2, consent("accept"), &state),
    );
    expect_spent(&mut scene, 2);

    for (choice, decision, reason) in [
        (Choice::Approve, "timeout", "did not make the call again"),
        (Choice::Deny, "denied", "no, thanks"),
    ] {
        let mut scene = self::scene(|_| {});
        let (item, state) = invited(&mut scene);
        scene.decide(&item, choice, |verdict| {
            verdict.reason = Some("no, thanks".into());
        });
        scene.advance(2 * MINUTE);
        let line = scene.expect_logged(decision, false);
        let received = line["reason"].as_str().unwrap();
        assert!(received.contains(reason), "{line}");
        assert_eq!(line["assurance"], "inbox-session");
        assert!(scene.inbox.is_empty());
        says(
            &mut scene,
            &retry(&call(1, 7), 2, consent("accept"), &state),
        );
        expect_spent(&mut scene, 2);
    }
}

#[test]
fn an_invitation_without_a_time_limit_stays_open_for_an_hour() {
    let mut scene = scene(|settings| settings.timeout = None);
    let (item, _) = invited(&mut scene);
    scene.advance(60 * MINUTE);
    scene.expect_logged("timeout", false);
    expect_closed(&mut scene, &item, Closed::Expired);
}

#[test]
fn a_waiting_retry_gets_progress_and_no_additional_time() {
    let mut scene = scene(|_| {});
    let (item, state) = invited(&mut scene);
    scene.advance(secs(30));
    let mut second = retry(&call(1, 7), 2, consent("accept"), &state);
    second["params"]["_meta"]["progressToken"] = json!("t");
    says(&mut scene, &second);
    scene.advance(secs(10));
    let progress = scene.take_client();
    assert_eq!(progress["method"], "notifications/progress");
    assert_eq!(progress["params"]["progressToken"], "t");
    scene.advance(secs(20) + Duration::from_millis(500));
    scene
        .client
        .retain(|line| !line.contains("notifications/progress"));
    scene.expect_refused(2, "nobody answered in time");
    expect_closed(&mut scene, &item, Closed::Expired);
}

#[test]
fn a_cancelled_retry_withdraws_its_item() {
    let mut scene = scene(|_| {});
    let (item, state) = invited(&mut scene);
    says(
        &mut scene,
        &retry(&call(1, 7), 2, consent("accept"), &state),
    );
    scene.client_cancels(2);
    expect_closed(&mut scene, &item, Closed::Withdrawn);
    scene.expect_logged("cancelled", false);
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_nothing();
}

#[test]
fn a_question_that_waits_for_a_retry_ends_with_either_side() {
    for end in [
        |scene: &mut Scene| scene.client_closes(),
        |scene: &mut Scene| scene.upstream_closes(),
    ] {
        let mut scene = scene(|_| {});
        let (item, _) = invited(&mut scene);
        end(&mut scene);
        expect_closed(&mut scene, &item, Closed::Withdrawn);
        assert_eq!(scene.decisions().len(), 1);
        scene.decide(&item, Choice::Approve, |_| {});
        assert!(scene.upstream.is_empty());
    }
}

#[test]
fn a_tool_that_changes_while_the_page_is_open_is_asked_about_again() {
    let mut scene = scene(|_| {});
    let (item, state) = invited(&mut scene);
    scene.tools_change(json!([{"name": "delete_user", "description": "Deletes everything."}]));
    scene.decide(&item, Choice::Approve, |_| {});
    says(
        &mut scene,
        &retry(&call(1, 7), 2, consent("accept"), &state),
    );
    scene.expect_nothing();
    let again = scene.expect_item();
    assert_eq!(again.description.as_deref(), Some("Deletes everything."));
    assert!(again.question.starts_with("The server changed this tool"));
    has_page(&mut scene, &again);
    let state = expect_invitation(&mut scene, 2, &again);
    says(
        &mut scene,
        &retry(&call(1, 7), 3, consent("accept"), &state),
    );
    scene.decide(&again, Choice::Approve, |_| {});
    scene.expect_forwarded(3);
}

/// A retry without an answer, of a client that shows nothing any more.
fn bare_retry(id: i64, state: &Value) -> Value {
    let call = stateless_with(id, "delete_user", json!({"id": 7}), json!({}));
    let mut bare = retry(&call, id, Value::Null, state);
    let params = bare["params"].as_object_mut().unwrap();
    params.remove("inputResponses");
    bare
}

#[test]
fn a_retry_of_a_client_that_shows_no_forms_any_more_is_put_to_the_next_engine() {
    let mut scene = scene(|_| {});
    says(&mut scene, &stateless(1, "delete_user", json!({"id": 7})));
    let (state, _) = expect_question(&mut scene, 1);
    says(&mut scene, &bare_retry(2, &state));
    let item = scene.expect_item();
    assert!(scene.client.is_empty() && scene.decisions().is_empty());
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(2);
}

#[test]
fn a_retry_without_an_answer_waits_where_the_question_is_still_open() {
    let mut scene = scene(|settings| settings.also_inbox_after = secs(5));
    says(&mut scene, &stateless(1, "delete_user", json!({"id": 7})));
    let (state, _) = expect_question(&mut scene, 1);
    // The silent client's question is listed in the inbox as well.
    scene.advance(secs(6));
    let item = scene.expect_item();
    says(&mut scene, &bare_retry(2, &state));
    scene.expect_nothing();
    // The person's time does not start again.
    scene.advance(MINUTE - secs(7));
    assert!(scene.decisions().is_empty());
    scene.decide(&item, Choice::Approve, |_| {});
    scene.answer_lists();
    scene.expect_forwarded(2);

    // Nobody else: the call is refused.
    let mut alone = Scene::set(|settings| {
        settings.channels = vec![Channel::new(Engine::Elicitation)];
    });
    says(&mut alone, &stateless(1, "delete_user", json!({"id": 7})));
    let (state, _) = expect_question(&mut alone, 1);
    says(&mut alone, &bare_retry(2, &state));
    alone.expect_logged("denied", false);
}

#[test]
fn two_yeses_are_two_pages() {
    // The first yes arrives before its retry, or while the retry waits.
    for is_early in [true, false] {
        let mut scene = scene(|settings| settings.double_confirm = true);
        let (first, state) = invited(&mut scene);
        if is_early {
            scene.decide(&first, Choice::Approve, |_| {});
        }
        says(
            &mut scene,
            &retry(&call(1, 7), 2, consent("accept"), &state),
        );
        if !is_early {
            scene.expect_nothing();
            scene.decide(&first, Choice::Approve, |_| {});
        }
        let second = scene.expect_item();
        assert!(second.question.starts_with("Second confirmation"));
        has_page(&mut scene, &second);
        let state = expect_invitation(&mut scene, 2, &second);
        // The first item's verdict does not count for the second.
        scene.decide(&first, Choice::Approve, |_| {});
        says(
            &mut scene,
            &retry(&call(1, 7), 3, consent("accept"), &state),
        );
        scene.expect_nothing();
        scene.decide(&second, Choice::Approve, |_| {});
        scene.expect_forwarded(3);
    }
}

#[test]
fn a_second_yes_does_not_count_if_the_tool_changed_after_the_first() {
    let mut scene = scene(|settings| settings.double_confirm = true);
    let (first, state) = invited(&mut scene);
    scene.decide(&first, Choice::Approve, |_| {});
    scene.tools_change(json!([{"name": "delete_user", "description": "Deletes everything."}]));
    // The list is known again before the retry arrives.
    says(&mut scene, &call(2, 8));
    scene.expect_item();
    says(
        &mut scene,
        &retry(&call(1, 7), 3, consent("accept"), &state),
    );
    let again = scene.expect_item();
    assert!(again.question.starts_with("The server changed this tool"));
    scene.decide(&again, Choice::Approve, |_| {});
    let second = scene.expect_item();
    assert!(second.question.starts_with("Second confirmation"));
    scene.decide(&second, Choice::Approve, |_| {});
    scene.expect_forwarded(3);
}

#[test]
fn if_the_inbox_fails_the_retry_is_refused_or_the_next_engine_asked() {
    let mut scene = scene(|_| {});
    let (item, state) = invited(&mut scene);
    let (lost, why) = (item.id.clone(), "the disk is full".to_owned());
    scene.inbox_sends(FromEngine::Failed {
        engine: None,
        item: lost,
        failure: crate::gate::Failure::unreachable(why),
    });
    scene.expect_nothing();
    scene.decide(&item, Choice::Approve, |_| {});
    says(
        &mut scene,
        &retry(&call(1, 7), 2, consent("accept"), &state),
    );
    scene.expect_refused(2, "the approval inbox cannot be used");
    scene.expect_logged("error", false);
    assert!(scene.inbox.is_empty());

    let mut scene = self::scene(|settings| settings.channels.reverse());
    let both = json!({"elicitation": {"url": {}, "form": {}}});
    let call = stateless_with(1, "delete_user", json!({"id": 7}), both);
    says(&mut scene, &call);
    let item = scene.expect_item();
    has_page(&mut scene, &item);
    let state = expect_invitation(&mut scene, 1, &item);
    let (lost, why) = (item.id, "the disk is full".to_owned());
    scene.inbox_sends(FromEngine::Failed {
        engine: None,
        item: lost,
        failure: crate::gate::Failure::unreachable(why),
    });
    says(&mut scene, &retry(&call, 2, consent("accept"), &state));
    let (state, _) = expect_question(&mut scene, 2);
    says(&mut scene, &retry(&call, 3, yes(), &state));
    scene.expect_forwarded(3);
}

#[test]
fn an_invitation_that_nobody_follows_is_parked() {
    let mut scene = scene(|settings| settings.timeout_action = TimeoutAction::Park);
    let (item, state) = invited(&mut scene);
    scene.advance(MINUTE + Duration::from_millis(500));
    let line = scene.expect_logged("timeout", false);
    assert!(
        line["reason"].as_str().unwrap().contains(&item.id),
        "{line}"
    );
    let parked = scene.inbox.pop_front();
    assert!(
        matches!(&parked, Some(ToEngine::Park { item: parked, .. }) if *parked == item.id),
        "{parked:?}"
    );
    scene.advance(30 * MINUTE);
    scene.decide(&item, Choice::Approve, |_| {});
    says(
        &mut scene,
        &retry(&call(1, 7), 2, consent("accept"), &state),
    );
    expect_spent(&mut scene, 2);
    says(&mut scene, &call(3, 7));
    scene.expect_forwarded(3);
    says(&mut scene, &call(4, 7));
    scene.expect_nothing();
    assert_ne!(scene.expect_item().id, item.id);

    // So is one that the person followed and the client did not.
    let mut scene = self::scene(|it| it.timeout_action = TimeoutAction::Park);
    let (item, _) = invited(&mut scene);
    scene.decide(&item, Choice::Approve, |_| {});
    scene.advance(2 * MINUTE);
    scene.expect_logged("timeout", false);
    says(&mut scene, &call(2, 7));
    scene.expect_forwarded(2);
    says(&mut scene, &call(3, 7));
    scene.expect_nothing();
}

/// First a form, for half a minute, and then the inbox.
fn form_then_inbox(settings: &mut Settings) {
    settings.channels[0].patience = Patience::Own(Some(secs(30)));
    settings.channels[0].on_timeout = OnFailure::Fallback;
}

fn form_call(id: i64) -> Value {
    stateless(id, "delete_user", json!({"id": 7}))
}

#[test]
fn an_unanswered_form_moves_to_the_inbox_and_the_retry_gets_the_verdict() {
    // Before the retry, and after it.
    for is_early in [true, false] {
        let mut scene = scene(form_then_inbox);
        says(&mut scene, &form_call(1));
        let (state, _) = expect_question(&mut scene, 1);
        assert!(scene.inbox.is_empty());
        scene.advance(secs(30));
        let item = scene.expect_item();
        assert_eq!(item.question, "Allow this tool call?");
        has_page(&mut scene, &item);
        scene.expect_nothing();
        if is_early {
            scene.decide(&item, Choice::Approve, |_| {});
        }
        // The form has expired: a yes to it no longer counts.
        says(&mut scene, &retry(&form_call(1), 2, yes(), &state));
        if !is_early {
            scene.expect_nothing();
            scene.decide(&item, Choice::Approve, |_| {});
            scene.answer_lists();
        }
        scene.expect_forwarded(2);
        let line = scene.expect_logged("approved", true);
        assert_eq!(line["engine"], "inbox");
        assert_eq!(scene.decisions().len(), 1);
    }
}

#[test]
fn a_no_to_a_form_counts_even_after_the_question_moved_to_the_inbox() {
    let mut scene = scene(form_then_inbox);
    says(&mut scene, &form_call(1));
    let (state, _) = expect_question(&mut scene, 1);
    scene.advance(secs(30));
    let item = scene.expect_item();
    says(&mut scene, &retry(&form_call(1), 2, no(), &state));
    scene.expect_refused(2, "denied by a person");
    expect_closed(&mut scene, &item, Closed::Withdrawn);
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_nothing();
}

#[test]
fn a_question_that_nobody_answers_in_client_or_inbox_is_a_timeout() {
    let mut scene = scene(form_then_inbox);
    says(&mut scene, &form_call(1));
    let (state, _) = expect_question(&mut scene, 1);
    scene.advance(secs(30));
    let item = scene.expect_item();
    assert_eq!(item.expires_ms, Some(item.asked_ms + 60_000));
    scene.advance(MINUTE + Duration::from_millis(500));
    let line = scene.expect_logged("timeout", false);
    assert_eq!(line["engine"], "inbox");
    expect_closed(&mut scene, &item, Closed::Expired);
    says(&mut scene, &retry(&form_call(1), 2, yes(), &state));
    expect_spent(&mut scene, 2);
}

#[test]
fn an_unanswered_form_is_parked_in_the_inbox() {
    let mut scene = scene(|settings| settings.timeout_action = TimeoutAction::Park);
    says(&mut scene, &form_call(1));
    let (state, _) = expect_question(&mut scene, 1);
    scene.advance(MINUTE);
    let item = scene.expect_item();
    let line = scene.expect_logged("timeout", false);
    assert!(
        line["reason"].as_str().unwrap().contains(&item.id),
        "{line}"
    );
    assert!(matches!(
        scene.inbox.pop_front(),
        Some(ToEngine::Park { .. })
    ));
    scene.decide(&item, Choice::Approve, |_| {});
    says(&mut scene, &retry(&form_call(1), 2, yes(), &state));
    expect_spent(&mut scene, 2);
    says(&mut scene, &form_call(3));
    scene.expect_forwarded(3);
    says(&mut scene, &form_call(4));
    expect_question(&mut scene, 4);
}

#[test]
fn an_unanswered_item_moves_to_the_client() {
    let mut scene = scene(|settings| {
        settings.channels = vec![
            Channel::new(Engine::INBOX),
            Channel::new(Engine::Elicitation),
        ];
        settings.channels[0].on_timeout = OnFailure::Fallback;
    });
    says(&mut scene, &form_call(1));
    let item = scene.expect_item();
    scene.expect_nothing();
    scene.advance(MINUTE + Duration::from_millis(500));
    // It stays open beside the client's form.
    let (state, _) = expect_question(&mut scene, 1);
    says(&mut scene, &retry(&form_call(1), 2, yes(), &state));
    expect_closed(&mut scene, &item, Closed::Withdrawn);
    scene.expect_forwarded(2);
}
