//! Random sessions with the inbox: whatever happens in whatever order, a call runs only for as many
//! yeses as were given about that call, and every call has one record.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::chain;
use crate::approval::item::{Choice, Item};
use crate::gate::tests::scene::{Scene, call};
use crate::gate::tests::stateless::{retry, stateless_with};
use crate::gate::{FromEngine, OnFailure, Patience, TimeoutAction, ToEngine};
use crate::mcp::message::RequestId;

/// How the client is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    /// Not at all, in a session.
    Mute,
    /// By prompts, in a session, which fall back to the inbox.
    Prompts,
    /// Not at all, in 2026-07-28.
    Stateless,
    /// By URLs, in 2026-07-28.
    Urls,
    /// By forms, in 2026-07-28, which fall back to the inbox.
    Forms,
}

#[derive(Debug, Clone)]
enum Step {
    /// The client makes one of a few calls.
    Call(u8),
    /// An item has a page.
    Page(usize),
    /// The client answers some prompt, open or not.
    Answer {
        prompt: usize,
        answer: Answer,
    },
    /// The client comes back with some state, for its call or for another one.
    Retry {
        state: usize,
        answer: Answer,
        is_same: bool,
    },
    /// A verdict about some item, open or not, possibly a second or a late one.
    Decide {
        item: usize,
        choice: Choice,
    },
    /// The inbox fails to accept some item.
    Fail(usize),
    Cancel(usize),
    Wait(u16),
    /// As long as it takes to read, or slightly less.
    Pause(u64),
    /// The server changes the tool, or changes it back.
    Change(u32),
    /// The client begins another session.
    Begin,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    /// A yes to a form; consent to a URL.
    Yes,
    No,
    Dismissed,
    Missing,
    /// A form that is filled in with something else.
    Invalid,
}

impl Answer {
    fn result(self) -> Value {
        match self {
            Answer::Yes => json!({"action": "accept", "content": {"approved": true}}),
            Answer::No => json!({"action": "decline"}),
            Answer::Dismissed => json!({"action": "cancel"}),
            Answer::Missing => json!({"action": "accept"}),
            Answer::Invalid => json!({"action": "accept", "content": {"approved": "true"}}),
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let answer = prop_oneof![
        5 => Just(Answer::Yes),
        2 => Just(Answer::No),
        2 => Just(Answer::Dismissed),
        1 => Just(Answer::Missing),
        1 => Just(Answer::Invalid),
    ];
    let step = prop_oneof![
        6 => (0u8..3).prop_map(Step::Call),
        4 => (0usize..12).prop_map(Step::Page),
        6 => (0usize..12, answer.clone()).prop_map(|(prompt, answer)| Step::Answer { prompt, answer }),
        6 => (0usize..12, answer, prop::bool::weighted(0.9)).prop_map(
            |(state, answer, is_same)| Step::Retry { state, answer, is_same }
        ),
        6 => (0usize..12, any::<bool>()).prop_map(|(item, is_yes)| Step::Decide {
            item,
            choice: if is_yes { Choice::Approve } else { Choice::Deny },
        }),
        1 => (0usize..12).prop_map(Step::Fail),
        2 => (0usize..12).prop_map(Step::Cancel),
        3 => (1u16..90).prop_map(Step::Wait),
        3 => (200u64..300).prop_map(Step::Pause),
        2 => (0u32..3).prop_map(Step::Change),
        1 => Just(Step::Begin),
    ];
    prop::collection::vec(step, 1..60)
}

/// What distinguishes a call for a person: its argument, and the tool's version.
type Seen = (u64, u32);

/// How long a form or a prompt is open.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nobody can have read it faster than this.
const INSTANT: Duration = Duration::from_millis(250);

/// A prompt that the client received.
struct Prompt {
    id: Value,
    /// The call that it is about.
    call: Value,
    seen: Seen,
    sent: Duration,
    is_open: bool,
}

impl Client {
    /// What it declares at the start of a session.
    fn capabilities(self) -> Value {
        match self {
            Client::Prompts => json!({"elicitation": {}}),
            Client::Mute | Client::Stateless | Client::Urls | Client::Forms => json!({}),
        }
    }
}

/// A question that the client received as a result.
struct Asked {
    call: Value,
    state: Value,
    /// The first of the requests about this call.
    chain: u32,
    seen: Seen,
    is_form: bool,
    sent: Duration,
    until: Duration,
    is_used: bool,
}

struct World {
    client: Client,
    scene: Scene,
    version: u32,
    needed: u32,
    /// The calls by their ids, and for each repeated call its first request.
    calls: Vec<(Value, u32)>,
    asked: Vec<Asked>,
    prompts: Vec<Prompt>,
    items: Vec<(Item, Seen)>,
    decided: HashSet<String>,
    yeses: HashMap<Seen, u32>,
    runs: HashMap<Seen, u32>,
}

impl World {
    fn new(client: Client, parks: bool, twice: bool) -> World {
        let scene = Scene::set(|settings| {
            chain(settings);
            settings.channels[0].patience = Patience::Own(Some(PATIENCE));
            settings.channels[0].on_timeout = OnFailure::Fallback;
            settings.timeout = Some(Duration::from_secs(60));
            settings.double_confirm = twice;
            settings.park_for = Duration::from_secs(300);
            if parks {
                settings.timeout_action = TimeoutAction::Park;
            }
        });
        World {
            client,
            scene: scene
                .with_tools(versioned(0))
                .handshake("2025-11-25", client.capabilities()),
            version: 0,
            needed: if twice { 2 } else { 1 },
            calls: Vec::new(),
            asked: Vec::new(),
            prompts: Vec::new(),
            items: Vec::new(),
            decided: HashSet::new(),
            yeses: HashMap::new(),
            runs: HashMap::new(),
        }
    }

    fn fresh_id(&self) -> u32 {
        u32::try_from(self.calls.len()).unwrap() + 1
    }

    fn new_call(&self, argument: u8) -> Value {
        let id = self.fresh_id();
        let arguments = json!({"id": argument});
        let capabilities = match self.client {
            Client::Mute | Client::Prompts => return call(id, "delete_user", arguments),
            Client::Stateless => json!({}),
            Client::Urls => json!({"elicitation": {"url": {}}}),
            Client::Forms => json!({"elicitation": {"form": {}}}),
        };
        stateless_with(id.into(), "delete_user", arguments, capabilities)
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Call(argument) => {
                let call = self.new_call(*argument);
                self.calls.push((call.clone(), self.fresh_id()));
                self.scene.client_says(&call);
            }
            Step::Page(item) => {
                if let Some((item, _)) = self.items.get(*item) {
                    let url = format!("http://127.0.0.1:8766/item/{}", item.id);
                    let item = item.id.clone();
                    self.scene.inbox_sends(FromEngine::Listed { item, url });
                }
            }
            Step::Retry {
                state,
                answer,
                is_same,
            } => self.retry(*state, *answer, *is_same),
            Step::Answer { prompt, answer } => self.answer(*prompt, *answer),
            Step::Decide { item, choice } => {
                let Some((item, seen)) = self.items.get(*item).cloned() else {
                    return;
                };
                // The store delivers one verdict about an item; a duplicate is a fault that must do
                // no harm.
                if self.decided.insert(item.id.clone()) && *choice == Choice::Approve {
                    *self.yeses.entry(seen).or_default() += 1;
                }
                self.scene.decide(&item, *choice, |_| {});
            }
            Step::Fail(item) => {
                if let Some((item, _)) = self.items.get(*item) {
                    let item = item.id.clone();
                    let why = "full".to_owned();
                    self.scene.inbox_sends(FromEngine::Failed {
                        engine: None,
                        item,
                        failure: crate::gate::Failure::unreachable(why),
                    });
                }
            }
            Step::Cancel(at) => {
                if let Some((call, _)) = self.calls.get(*at) {
                    self.scene.client_cancels(call["id"].clone());
                }
            }
            Step::Wait(seconds) => self.scene.advance(Duration::from_secs((*seconds).into())),
            Step::Pause(millis) => self.scene.advance(Duration::from_millis(*millis)),
            Step::Change(version) => {
                self.version = *version;
                self.look();
                self.scene.tools_change(versioned(*version));
            }
            Step::Begin => {
                self.look();
                let scene = std::mem::replace(&mut self.scene, Scene::new());
                self.scene = scene.handshake("2025-11-25", self.client.capabilities());
                // Earlier questions are withdrawn; the handshake has discarded the messages.
                let is_over = |prompt: &mut Prompt| prompt.is_open = false;
                self.prompts.iter_mut().for_each(is_over);
            }
        }
        self.scene.answer_lists();
        self.look();
    }

    fn retry(&mut self, at: usize, answer: Answer, is_same: bool) {
        let (id, now) = (self.fresh_id(), self.scene.now.elapsed);
        let Some(asked) = self.asked.get_mut(at) else {
            return;
        };
        // One answer per form, for the call that it shows, before its deadline.
        let counts = asked.is_form && is_same && now < asked.until && !asked.is_used;
        if counts && matches!(answer, Answer::Yes) {
            *self.yeses.entry(asked.seen).or_default() += 1;
        }
        let took = now - asked.sent;
        let answers = if matches!(answer, Answer::Missing) {
            json!({})
        } else {
            json!({"approval-proxy": answer.result()})
        };
        let mut again = retry(&asked.call, id.into(), answers, &asked.state);
        let chain = if is_same { asked.chain } else { id };
        if is_same {
            asked.is_used = true;
        } else {
            again["params"]["arguments"]["id"] = json!(99);
        }
        self.calls.push((again.clone(), chain));
        self.scene.client_says(&again);
        if counts {
            self.expect_right_end(&json!(id), answer, took);
        }
    }

    fn answer(&mut self, at: usize, answer: Answer) {
        let Some(prompt) = self.prompts.get_mut(at) else {
            return;
        };
        let counts = std::mem::replace(&mut prompt.is_open, false);
        let took = self.scene.now.elapsed - prompt.sent;
        if counts && matches!(answer, Answer::Yes) {
            *self.yeses.entry(prompt.seen).or_default() += 1;
        }
        let id = prompt.call["id"].clone();
        let message = json!({"jsonrpc": "2.0", "id": prompt.id, "result": answer.result()});
        self.scene.client_says(&message);
        if counts {
            self.expect_right_end(&id, answer, took);
        }
    }

    /// contract.md, "Clients that answer for themselves": how a call ends if the client's answer
    /// counts and is no yes.
    fn expect_right_end(&mut self, id: &Value, answer: Answer, took: Duration) {
        let received = self.scene.client.back();
        let received: Value =
            received.map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        let received = received["result"]["content"][0]["text"].as_str();
        let received = received.unwrap_or_default().to_owned();
        let line = self.scene.decisions().into_iter().last().cloned();
        let line = line.filter(|line| line["request_id"] == *id);
        let decision = line.as_ref().map(|line| line["decision"].as_str().unwrap());
        let is_instant = took < INSTANT;
        match answer {
            Answer::No | Answer::Dismissed if is_instant => {
                let is_no = matches!(answer, Answer::No);
                let decided = if is_no { "denied" } else { "cancelled" };
                assert_eq!(decision, Some(decided), "{received}");
                assert!(
                    received.contains("faster than a person can read"),
                    "{received}"
                );
                let left: Vec<&ToEngine> = self.scene.inbox.iter().rev().take(2).collect();
                let [
                    ToEngine::Park { item, .. },
                    ToEngine::Ask { item: asked, .. },
                ] = left[..]
                else {
                    panic!("{received} leaves {left:?}");
                };
                assert!(*item == asked.id && received.contains(item), "{received}");
            }
            Answer::No | Answer::Dismissed => {
                assert_eq!(decision, Some("denied"), "{received}");
                let is_no = matches!(answer, Answer::No);
                assert_eq!(received.contains("denied by a person"), is_no, "{received}");
                assert_eq!(received.contains("dismissed"), !is_no, "{received}");
            }
            Answer::Invalid => {
                // It still waits in the inbox.
                assert_eq!(decision, None, "{received}");
                let asked = self.scene.inbox.back();
                assert!(matches!(asked, Some(ToEngine::Ask { .. })), "{asked:?}");
            }
            Answer::Yes | Answer::Missing => {}
        }
    }

    /// Checks the results of the step.
    fn look(&mut self) {
        while let Some(received) = self.scene.inbox.pop_front() {
            if let ToEngine::Ask { item, .. } = received {
                let call: Value = serde_json::from_str(&item.call).unwrap();
                let argument = call["arguments"]["id"].as_u64().unwrap();
                let version = shown_version(item.description.as_deref().unwrap());
                self.items.push((*item, (argument, version)));
            }
        }
        for line in std::mem::take(&mut self.scene.client) {
            let message: Value = serde_json::from_str(&line).unwrap();
            match message["method"].as_str() {
                Some("elicitation/create") => self.prompted(&message),
                Some("notifications/cancelled") => {
                    let id = &message["params"]["requestId"];
                    let withdrawn = self.prompts.iter_mut().find(|prompt| prompt.id == *id);
                    withdrawn.expect("a prompt is withdrawn").is_open = false;
                }
                Some(_) | None => {}
            }
            let result = &message["result"];
            if result["resultType"] != "input_required" {
                continue;
            }
            let id = usize::try_from(message["id"].as_u64().unwrap()).unwrap();
            let (call, chain) = self.calls[id - 1].clone();
            let argument = call["params"]["arguments"]["id"].as_u64().unwrap();
            let params = &result["inputRequests"]["approval-proxy"]["params"];
            let is_form = params["mode"] == "form";
            let version = match is_form {
                true => shown_version(params["message"].as_str().unwrap()),
                false => self.version,
            };
            let seen = (argument, version);
            let before = self.asked.iter().rfind(|asked| asked.chain == chain);
            // The same question was repeated because it was not answered; the person's time does
            // not start again.
            let is_missing = call["params"]["inputResponses"] == json!({});
            let until = match before {
                Some(before) if is_missing && before.is_form && before.seen == seen => before.until,
                Some(_) | None => self.scene.now.elapsed + PATIENCE,
            };
            self.asked.push(Asked {
                call,
                state: result["requestState"].clone(),
                chain,
                seen,
                is_form,
                sent: self.scene.now.elapsed,
                until,
                is_used: false,
            });
        }
        for line in std::mem::take(&mut self.scene.upstream) {
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["method"] != "tools/call" {
                continue;
            }
            for ours in ["requestState", "inputResponses"] {
                assert!(message["params"].get(ours).is_none(), "{message}");
            }
            let argument = message["params"]["arguments"]["id"].as_u64().unwrap();
            let seen = (argument, self.version);
            let runs = self.runs.entry(seen).or_default();
            *runs += 1;
            let yeses = self.yeses.get(&seen).copied().unwrap_or_default();
            assert!(
                *runs * self.needed <= yeses,
                "{seen:?} ran {runs} times after {yeses} yeses"
            );
        }
    }

    /// The client received a prompt.
    fn prompted(&mut self, request: &Value) {
        let id = request["id"].clone();
        let name = RequestId::Text(id.as_str().unwrap().into());
        let Some(RequestId::Integer(call)) = self.scene.gate.asked_about(&name) else {
            panic!("about no call: {request}");
        };
        let (call, _) = self.calls[usize::try_from(*call).unwrap() - 1].clone();
        let argument = call["params"]["arguments"]["id"].as_u64().unwrap();
        let message = request["params"]["message"].as_str().unwrap();
        self.prompts.push(Prompt {
            id,
            seen: (argument, shown_version(message)),
            call,
            sent: self.scene.now.elapsed,
            is_open: true,
        });
    }

    fn end(mut self) {
        self.scene.client_closes();
        self.scene.advance(Duration::from_secs(1000));
        self.look();
        assert_eq!(self.scene.gate.poll_timeout(), None);
        let chains: HashSet<u32> = self.calls.iter().map(|(_, chain)| *chain).collect();
        let mut lines: HashMap<u32, u32> = HashMap::new();
        for line in self.scene.decisions() {
            let id = line["request_id"].as_u64().unwrap();
            let (_, chain) = &self.calls[usize::try_from(id).unwrap() - 1];
            // A retry that is refused for its state says nothing about the call.
            let is_about_state = line["reason"].as_str().unwrap().contains("`requestState`");
            if !is_about_state || u64::from(*chain) == id {
                *lines.entry(*chain).or_default() += 1;
            }
        }
        for chain in chains {
            assert_eq!(lines.get(&chain), Some(&1), "call {chain}");
        }
    }
}

/// The tool as the server lists it.
fn versioned(version: u32) -> Value {
    json!([{"name": "delete_user", "description": format!("version {version}"),
        "annotations": {"destructiveHint": true}}])
}

/// Which of them a person was shown.
fn shown_version(text: &str) -> u32 {
    let (_, rest) = text.split_once("version ").unwrap();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn a_call_runs_at_most_once_per_yes_given_about_it(
        client in prop::sample::select(
            &[
                Client::Mute,
                Client::Prompts,
                Client::Stateless,
                Client::Urls,
                Client::Urls,
                Client::Forms,
                Client::Forms,
            ][..]
        ),
        steps in steps(),
        parks in any::<bool>(),
        twice in any::<bool>(),
    ) {
        let mut world = World::new(client, parks, twice);
        for step in &steps {
            world.take(step);
        }
        world.end();
    }
}
