//! Checks that the oracle can fail: it sees sessions in which the gate did what it must never do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde_json::{Value, json};

use crate::gate::tests::properties::steps::{
    Args, Change, FromClient, FromUpstream, IdPick, Meta, Setup, Step, Which, Words,
};
use crate::gate::tests::properties::world::{Forge, play_forged};
use crate::gate::tests::scene::Event;

type Events = Vec<(Duration, Event)>;

fn call(tool: u8) -> Step {
    Step::Client(vec![FromClient::Call {
        id: IdPick::Fresh,
        words: Words::Stateless {
            client: 0,
            meta: Meta::Usual,
        },
        tool,
        args: Args::Few(4),
        token: false,
        task: false,
        bare_answers: false,
        spelling: 0,
    }])
}

fn retry(state: Which, answer: u8) -> Step {
    Step::Client(vec![FromClient::Retry {
        id: IdPick::Fresh,
        state,
        answer,
        change: Change::None,
    }])
}

fn upstream(how: u8) -> Step {
    Step::Upstream(vec![FromUpstream::Round { which: 0, how }])
}

/// A yes and an upstream round; a no; a repeated yes; silence; a call that needs no approval.
fn script() -> Vec<Step> {
    let unused = Which::Unused(0);
    vec![
        call(1),
        retry(unused, 0),
        upstream(1),
        retry(unused, 0),
        upstream(0),
        retry(Which::Any(0), 0),
        call(1),
        Step::WaitMillis(1_000),
        retry(unused, 2),
        call(1),
        retry(unused, 2),
        call(2),
        Step::WaitMillis(30_000),
        call(0),
        Step::Client(vec![FromClient::Request {
            id: IdPick::Fresh,
            method: 5,
            spelling: 5,
        }]),
        upstream(0),
    ]
}

/// What the oracle reports about the script if something in it is forged.
fn complaint(forge: Forge) -> Option<String> {
    let played = catch_unwind(AssertUnwindSafe(|| {
        play_forged(&Setup::usual(), &script(), forge);
    }));
    let panic = played.err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned()))
}

/// Changes the upstream's lines that contain this.
fn for_upstream(events: &mut Events, holds: &str, change: impl Fn(&str) -> String) {
    for (_, event) in events {
        if let Event::Upstream(text) = event
            && text.contains(holds)
        {
            *text = change(text);
        }
    }
}

/// Changes the client's messages that contain this.
fn for_client(events: &mut Events, holds: &str, change: impl Fn(&mut Value)) {
    for (_, event) in events {
        if let Event::Client(text) = event
            && text.contains(holds)
        {
            let mut message = serde_json::from_str(text).unwrap();
            change(&mut message);
            *text = message.to_string();
        }
    }
}

fn is_decision(event: &Event, decision: &str) -> bool {
    matches!(event, Event::Line { line, .. } if line["decision"] == decision)
}

fn is_call(event: &Event) -> bool {
    matches!(event, Event::Upstream(text) if text.contains("delete_user"))
}

/// The events of a forwarded call.
fn forward(id: &Value, tool: &str) -> [Event; 2] {
    let line = json!({"tool": tool, "request_id": id, "decision": "approved",
        "engine": "elicitation", "reason": "approved", "forwarded": true});
    let text = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": tool, "arguments": {"n": 4}}});
    let line = Event::Line {
        line,
        written: true,
    };
    [line, Event::Upstream(text.to_string())]
}

/// Lets every call run that was refused with this text.
fn run_instead(events: &mut Events, words: &str) {
    for at in 1..events.len() {
        let refused = matches!(&events[at].1, Event::Client(text) if text.contains(words));
        if let (true, Event::Line { line, .. }) = (refused, &events[at - 1].1) {
            let [line, call] = forward(&line["request_id"].clone(), "delete_user");
            (events[at - 1].1, events[at].1) = (line, call);
        }
    }
}

#[test]
fn the_oracle_accepts_what_the_gate_did() {
    assert_eq!(complaint(|_| ()), None);
}

#[test]
fn the_oracle_notices_what_a_gate_must_never_do() {
    let forgeries: [(&str, Forge); 21] = [
        ("a line for no call that waits", |events| {
            // The same call runs twice.
            let at = events.iter().position(|(_, event)| is_call(event));
            let pair = at.map(|at| events[at - 1..=at].to_vec());
            events.extend(pair.into_iter().flatten());
        }),
        ("without a line", |events| {
            events.retain(|(_, event)| !is_decision(event, "approved"));
        }),
        ("without a line", |events| {
            // Its record comes after it.
            if let Some(at) = events.iter().position(|(_, event)| is_call(event)) {
                events.swap(at - 1, at);
            }
        }),
        ("without a line", |events| {
            // Its record was not written.
            for (_, event) in events {
                if let Event::Line { written, .. } = event {
                    *written = false;
                }
            }
        }),
        ("only what is ours is left out", |events| {
            for_upstream(events, "delete_user", |text| text.replace(":4", ":5"));
        }),
        ("only what is ours is left out", |events| {
            for_upstream(events, "delete_user", |text| text.replace("2026", "2027"));
        }),
        ("only what is ours is left out", |events| {
            // The upstream's state does not come back.
            for_upstream(events, "theirs-", |text| text.replace("theirs-", "ours-"));
        }),
        ("too few yeses", |events| {
            // A question counts as a yes.
            if let Some((_, Event::Client(text))) = events.last()
                && text.contains("elicitation/create")
            {
                let answer: Value = serde_json::from_str(text).unwrap();
                events.pop();
                let now = Duration::from_secs(1000);
                events.extend(forward(&answer["id"], "delete_user").map(|event| (now, event)));
            }
        }),
        ("a no, or a state of nothing", |events| {
            run_instead(events, "denied by a person");
        }),
        ("a no, or a state of nothing", |events| {
            run_instead(events, "was already answered or has expired");
        }),
        ("should be Refused", |events| {
            // Refusals are dropped.
            let is_refusal =
                |event: &Event| matches!(event, Event::Client(text) if text.contains("isError"));
            events.retain(|(_, event)| !is_refusal(event) && !is_decision(event, "denied"));
        }),
        ("was denied by a person", |events| {
            // A no that no person can have given is reported as a person's.
            for_client(events, "faster than a person", |answer| {
                answer["result"]["content"][0]["text"] = json!("it was denied by a person");
            });
        }),
        ("nobody said so", |events| {
            // And recorded as one.
            for (_, event) in events {
                if let Event::Line { line, .. } = event
                    && line["answered_ms"] == 0.0
                    && line["decision"] == "denied"
                {
                    line["assurance"] = json!("caller-relayed");
                }
            }
        }),
        ("no line for", |events| {
            events.retain(|(_, event)| !is_decision(event, "timeout"));
        }),
        ("a line for nothing that ends", |events| {
            let line = events
                .iter()
                .find(|(_, event)| is_decision(event, "timeout"));
            let line = line.cloned();
            events.extend(line);
        }),
        ("question about no call that waits", |events| {
            // Two questions, and so two states, for one call.
            let is_question = |event: &Event| matches!(event, Event::Client(text) if text.contains("approval-proxy\":"));
            let question = events.iter().find(|(_, event)| is_question(event));
            let question = question.cloned();
            events.extend(question);
        }),
        ("only the state is another", |events| {
            for_client(events, "roots/list", |answer| {
                answer["result"]["inputRequests"] = json!({});
            });
        }),
        ("a state is a text", |events| {
            for_client(events, "roots/list", |answer| {
                answer["result"]
                    .as_object_mut()
                    .unwrap()
                    .remove("requestState");
            });
        }),
        ("what was shown is what runs", |events| {
            for_client(events, "approval-proxy", |answer| {
                let question = &mut answer["result"]["inputRequests"]["approval-proxy"];
                let message = question["params"]["message"].as_str().unwrap();
                question["params"]["message"] = json!(message.replace(": 4", ": 5"));
            });
        }),
        (r#"description: Some("d1-3")"#, |events| {
            for_client(events, "approval-proxy", |answer| {
                let question = &mut answer["result"]["inputRequests"]["approval-proxy"];
                let message = question["params"]["message"].as_str().unwrap();
                question["params"]["message"] = json!(message.replace("d0-3", "d1-3"));
            });
        }),
        ("relayed as it is", |events| {
            for_upstream(events, "server/discover", |text| text.replace("1.0", "1"));
        }),
    ];
    for (words, forge) in forgeries {
        let said = complaint(forge).unwrap_or_else(|| panic!("nothing said of {words}"));
        assert!(said.contains(words), "`{said}` does not contain `{words}`");
    }
}
