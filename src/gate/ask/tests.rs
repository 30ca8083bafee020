//! Tests the table of transitions: what each event does in each state of a question.
//!
//! A row reads: in this state, this event has these effects and leads to that state.

use std::fmt::Write as _;

use super::*;
use crate::approval::assurance::RequiredAssurance;
use crate::approval::digest::CallDigest;
use crate::approval::item::Assurance;
use crate::gate::held::WaitsFor;
use crate::mcp::elicit::{Fault, No};
use crate::mcp::tool::KeptCall;
use crate::policy::{Action, Decision, Reason};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A question, and the context of its steps.
struct Table {
    ask: Ask,
    settings: Settings,
    ids: RequestIds,
    now: Duration,
    has_client: bool,
    list_is_settled: bool,
    definition: Option<Arc<Definition>>,
    offers: Offers,
}

fn definition(text: &str) -> Arc<Definition> {
    let value = format!(r#"{{"name":"wipe","description":"{text}"}}"#);
    let value = crate::mcp::json::Value::parse(&value).unwrap();
    Arc::new(Definition {
        title: None,
        description: Some(text.to_owned()),
        annotations: None,
        digest: crate::approval::digest::DefinitionDigest::of(&value),
    })
}

fn held(era: Era) -> Held {
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"wipe"}}"#;
    Held {
        id: RequestId::Integer(7),
        tool: "wipe".into(),
        call: KeptCall::read(call).unwrap(),
        era,
        arrived: Duration::ZERO,
        waits_for: WaitsFor::ToolList,
        progress: None,
        subject: None,
        changes: 0,
        round: 0,
        has_looked_up: false,
    }
}

/// The engines: the client, then the inbox if the client does not decide.
fn both() -> Settings {
    let client = Channel {
        on_timeout: OnFailure::Fallback,
        ..Channel::new(Engine::Elicitation)
    };
    Settings {
        channels: vec![client, Channel::new(Engine::INBOX)],
        timeout: Some(MINUTE),
        instant_decline: Duration::ZERO,
        ..Settings::default()
    }
}

fn only(engine: Engine) -> Settings {
    Settings {
        channels: vec![Channel::new(engine)],
        ..both()
    }
}

impl Table {
    fn new(era: Era, settings: Settings) -> Table {
        let definition = definition("Wipes.");
        let held = held(era);
        let subject = Subject {
            tool: "wipe".into(),
            decision: Decision {
                action: Action::Ask,
                risk: Risk::High,
                reason: Reason::DestructiveHint,
            },
            definition: Some(Arc::clone(&definition)),
            is_list_known: true,
            digest: CallDigest::of("db", &held.call.params(), Some(&definition.digest)),
            dedupe: None,
        };
        let offers = Offers {
            forms: true,
            urls: true,
        };
        Table {
            ask: Ask::new(1, &held, Arc::new(subject), offers, &settings),
            settings,
            ids: RequestIds::new([7; 32]),
            now: Duration::from_secs(100),
            has_client: true,
            list_is_settled: true,
            definition: Some(definition),
            offers,
        }
    }

    /// The same, after events that need no check.
    fn after(mut self, events: impl IntoIterator<Item = Event>) -> Table {
        for event in events {
            self.does(event);
        }
        self
    }

    /// The same, after everything was written to the client.
    fn seen(mut self) -> Table {
        self.ask.delivered(self.now);
        self
    }

    fn does(&mut self, event: Event) -> String {
        let mut context = StepContext {
            settings: &self.settings,
            ids: &mut self.ids,
            now: self.now,
            can_prompt: Ok(()),
            is_anonymous: false,
            has_client: self.has_client,
            client_is_heard: true,
            list_is_settled: self.list_is_settled,
            definition: self.definition.as_ref(),
            out: Vec::new(),
        };
        let effects = self.ask.step(event, &mut context);
        assert!(effects.len() <= MOST_EFFECTS, "{effects:?}");
        let effects: Vec<String> = effects.iter().map(effect_text).collect();
        format!("{} | {}", effects.join(", "), self.state())
    }

    /// Describes where the question is open and for whom.
    fn state(&self) -> String {
        let ask = &self.ask;
        let mut text = match &ask.claim {
            Claim::Calls(calls) => format!("{} waits", calls.len()),
            Claim::State(_) => "answered".to_owned(),
            Claim::Parked { .. } => "parked".to_owned(),
            Claim::Nobody => return "over".to_owned(),
        };
        match &ask.prompt {
            PromptState::Open { .. } => text.push_str(" in client"),
            PromptState::Pause { .. } => text.push_str(" pausing"),
            PromptState::Closed => {}
        }
        if ask.open_item().is_some() {
            text.push_str(" in inbox");
        }
        match &ask.answer {
            None => {}
            Some(Resolution::Yes { .. }) => text.push_str(" with a yes"),
            Some(Resolution::No(_)) => text.push_str(" with a no"),
            Some(Resolution::EngineFailed(_)) => text.push_str(" with a failure"),
        }
        if ask.round == QuestionKind::Second {
            text.push_str(" (second)");
        }
        text
    }

    fn expect(&mut self, row: &str, event: Event, expected: &str) {
        let before = self.state();
        let name = format!("{event:?}");
        assert_eq!(self.does(event), expected, "{row}: {before}: {name}");
    }
}

fn effect_text(effect: &Effect) -> String {
    let failed = |failed: &Failed| format!("{:?}: {}", failed.outcome, failed.log_text());
    match effect {
        Effect::Prompt { id: Some(_) } => "prompt".to_owned(),
        Effect::Prompt { id: None } => "answer with question".to_owned(),
        Effect::SendToPage { .. } => "answer with page".to_owned(),
        Effect::Invite { .. } => "invite".to_owned(),
        Effect::AskEngine {
            replaces,
            until,
            opens_browser,
            ..
        } => {
            let until = until.map_or("forever".into(), |it| format!("until {}", it.as_secs()));
            let how = if *opens_browser { "" } else { " quietly" };
            let place = if replaces.is_some() {
                " in its place"
            } else {
                ""
            };
            format!("ask engine{place}{how} {until}")
        }
        Effect::JoinEngine { engine, .. } => format!("join {}", engine.name()),
        Effect::OpenBrowser { .. } => "open browser".to_owned(),
        Effect::Withdraw { .. } => "withdraw".to_owned(),
        Effect::Close { how, .. } => format!("close as {how:?}"),
        Effect::Park { until, .. } => format!("park until {}", until.as_secs()),
        Effect::LeaveForLater { .. } => "leave for later".to_owned(),
        Effect::Split { .. } => "split".to_owned(),
        Effect::FirstYes { .. } => "first yes".to_owned(),
        Effect::RecordVerdict { verdict, .. } => {
            format!("record verdict {}", verdict.choice.as_str())
        }
        Effect::Cover { cover, .. } => format!("cover {}", cover.as_secs()),
        Effect::WantList => "get list".to_owned(),
        Effect::Release { calls, approval } => {
            format!("release {} by {}", calls.len(), approval.via.engine)
        }
        Effect::Refuse { calls, failed: it } => format!("refuse {} ({})", calls.len(), failed(it)),
        Effect::RecordRefused { failed: it, .. } => format!("record ({})", failed(it)),
        Effect::Reask { calls } => format!("ask again about {}", calls.len()),
    }
}

fn yes() -> Event {
    Event::Answered(Answer::Approved { reason: None })
}

fn no() -> Event {
    Event::Answered(Answer::Refused {
        reason: None,
        how: No::Declined,
    })
}

fn fails() -> Event {
    Event::Answered(Answer::Failed {
        message: "boom".to_owned(),
    })
}

fn decided(choice: Choice) -> Event {
    let verdict = Verdict {
        fields: None,
        choice,
        reason: None,
        cover: Duration::from_secs(5),
        assurance: Assurance::InboxSession,
        approver: None,
        decided_ms: 0,
    };
    let engine = EngineId::INBOX;
    Event::Decided { engine, verdict }
}

fn sent(asked: AskedFor) -> Event {
    Event::Sent {
        nonce: "nonce".to_owned(),
        call: held(Era::Stateless),
        asked,
    }
}

fn page() -> AskedFor {
    AskedFor::Page("http://127.0.0.1/".to_owned())
}

fn arrival(table: &Table, answer: Option<&str>) -> Event {
    Event::CallArrived(Arrival {
        call: 9,
        answer: answer.map(str::to_owned),
        offers: table.offers,
        is_same_client: true,
    })
}

const ACCEPTED: &str = r#"{"action":"accept","content":{"approved":true}}"#;
const DECLINED: &str = r#"{"action":"decline"}"#;
const CONSENT: &str = r#"{"action":"accept"}"#;

/// Returns every event.
fn events(table: &Table) -> Vec<Event> {
    vec![
        Event::Begin,
        Event::Cut,
        yes(),
        no(),
        fails(),
        Event::Answered(Answer::Invalid(Fault::Missing)),
        Event::PageDeclined {
            took: Duration::from_secs(1),
        },
        decided(Choice::Approve),
        decided(Choice::Deny),
        Event::EngineFailed {
            engine: None,
            failure: Failure::unreachable("full"),
        },
        Event::HasPage("http://127.0.0.1/".to_owned()),
        arrival(table, None),
        arrival(table, Some(ACCEPTED)),
        arrival(table, Some(DECLINED)),
        Event::CallLeft {
            call: 1,
            may_park: true,
        },
        Event::CallLeft {
            call: 1,
            may_park: false,
        },
        Event::Tick,
        Event::Ended(Failed::new(Outcome::Cancelled, Refusal::Cancelled)),
    ]
}

/// Returns every state that a question can be in, by name.
fn states() -> Vec<(&'static str, Table)> {
    let legacy = |settings| Table::new(Era::Legacy, settings).after([Event::Begin]);
    let stateless = |settings| Table::new(Era::Stateless, settings).after([Event::Begin]);
    let parking = || Settings {
        timeout_action: TimeoutAction::Park,
        ..only(Engine::INBOX)
    };
    let mut parked = legacy(parking());
    parked.now += MINUTE + GRACE;
    let parked = parked.after([Event::Tick]);
    let mut for_later = legacy(parking());
    for_later.now += MINUTE + GRACE;
    let mut for_later = for_later.after([Event::Tick]);
    for_later.ask.set_resumable(true);
    let mut kept = stateless(only(Engine::INBOX)).after([sent(page())]);
    kept.does(decided(Choice::Approve));
    vec![
        ("new", Table::new(Era::Legacy, both())),
        ("in the client", legacy(both()).seen()),
        ("pausing", legacy(both()).after([fails()])),
        ("in both", legacy(both()).after([Event::Cut])),
        ("in the inbox", legacy(only(Engine::INBOX))),
        ("parked", parked),
        ("parked, also for later sessions", for_later),
        (
            "answered with a question",
            stateless(both()).after([sent(AskedFor::Answer)]),
        ),
        (
            "answered with a page",
            stateless(only(Engine::INBOX)).after([sent(page())]),
        ),
        ("answered and decided", kept),
        (
            "over",
            legacy(both()).after([Event::Ended(Failed::new(
                Outcome::Cancelled,
                Refusal::Cancelled,
            ))]),
        ),
    ]
}

// Compares the whole table, so that a change of any transition shows.
#[test]
fn every_state_accepts_every_event() {
    let mut table = String::new();
    let names: Vec<&str> = states().iter().map(|(name, _)| *name).collect();
    for name in names {
        let _ = writeln!(table, "{name}");
        let count = events(&Table::new(Era::Legacy, both())).len();
        for at in 0..count {
            let (_, mut state) = states()
                .into_iter()
                .find(|(other, _)| *other == name)
                .unwrap();
            let event = events(&state).swap_remove(at);
            let event_name = event_name(&event);
            let _ = writeln!(table, "  {event_name:<22} {}", state.does(event));
        }
    }
    let expected = include_str!("table.txt");
    if std::env::var_os("WRITE_TABLE").is_some() {
        std::fs::write("src/gate/ask/table.txt", &table).unwrap();
        return;
    }
    for (line, expected) in table.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(table.lines().count(), expected.lines().count());
}

fn event_name(event: &Event) -> String {
    match event {
        Event::Begin => "begin".into(),
        Event::Approved(_) => "approved".into(),
        Event::DeniedBefore { .. } => "denied before".into(),
        Event::Cut => "cut".into(),
        Event::Answered(Answer::Approved { .. }) => "client says yes".into(),
        Event::Answered(Answer::Refused { .. }) => "client says no".into(),
        Event::Answered(Answer::Invalid(_)) => "client answer invalid".into(),
        Event::Answered(Answer::Failed { .. }) => "client fails".into(),
        Event::PageDeclined { .. } => "page declined".into(),
        Event::Sent { .. } => "sent".into(),
        Event::Decided { verdict, .. } => format!("inbox: {}", verdict.choice.as_str()),
        Event::EngineFailed { .. } => "inbox fails".into(),
        Event::HasPage(_) => "has page".into(),
        Event::CallArrived(arrival) => match arrival.answer.as_deref() {
            None => "call arrives".into(),
            Some(ACCEPTED) => "call arrives, yes".into(),
            Some(_) => "call arrives, no".into(),
        },
        Event::CallLeft { may_park: true, .. } => "call cancelled".into(),
        Event::CallLeft { .. } => "call failed".into(),
        Event::Tick => "tick".into(),
        Event::Ended(_) => "ended".into(),
    }
}

const YES: [&str; 4] = [
    "client says yes",
    "inbox: approve",
    "call arrives",
    "call arrives, yes",
];

// INVARIANT 1, checked in the table: nothing but a yes lets a call run.
#[test]
fn only_a_yes_releases() {
    let table = include_str!("table.txt");
    let releases = table.lines().filter(|line| line.contains("release"));
    let events: Vec<&str> = releases
        .map(|line| line.get(2..24).unwrap().trim_end())
        .collect();
    assert!(!events.is_empty());
    assert!(events.iter().all(|event| YES.contains(event)), "{events:?}");
}

/// An event, and the expected outcome.
type Row = (fn() -> Event, &'static str);

fn expect_rows(name: &str, mut table: Table, rows: &[Row]) {
    for (event, expected) in rows {
        table.expect(name, event(), expected);
    }
}

fn begin() -> Event {
    Event::Begin
}

fn tick() -> Event {
    Event::Tick
}

#[test]
fn one_yes_of_two_releases_nothing() {
    let two = |engine| Settings {
        double_confirm: true,
        ..only(engine)
    };
    expect_rows(
        "two yeses in the client",
        Table::new(Era::Legacy, two(Engine::Elicitation)),
        &[
            (begin, "prompt | 1 waits in client"),
            (yes, "first yes, prompt | 1 waits in client (second)"),
            (yes, "cover 0, release 1 by elicitation | over"),
        ],
    );
    expect_rows(
        "two yeses in the inbox",
        Table::new(Era::Legacy, two(Engine::INBOX)),
        &[
            (begin, "ask engine until 160 | 1 waits in inbox"),
            (
                || decided(Choice::Approve),
                "first yes, ask engine until 160 | 1 waits in inbox (second)",
            ),
            (|| decided(Choice::Deny), "refuse 1 (Denied: denied) | over"),
        ],
    );
    // The first yes came while no call waited; the second is asked for when one does.
    let mut table = Table::new(Era::Stateless, two(Engine::INBOX)).after([Event::Begin]);
    table.does(sent(page()));
    table.expect(
        "two yeses, one without a call",
        decided(Choice::Approve),
        "record verdict approve | answered (second)",
    );
    let comes = arrival(&table, Some(CONSENT));
    table.expect(
        "two yeses, one without a call",
        comes,
        "ask engine until 160 | 1 waits in inbox (second)",
    );
    table.expect(
        "two yeses, one without a call",
        decided(Choice::Approve),
        "cover 5, release 1 by inbox | over",
    );
}

#[test]
fn a_yes_to_an_earlier_definition_releases_nothing() {
    let changed = |engine| {
        let mut table = Table::new(Era::Legacy, only(engine)).after([Event::Begin]);
        table.definition = Some(definition("Wipes everything."));
        table
    };
    expect_rows(
        "changed",
        changed(Engine::Elicitation),
        &[(yes, "cover 0, ask again about 1 | over")],
    );
    let mut gone = changed(Engine::INBOX);
    gone.definition = None;
    expect_rows(
        "unlisted",
        gone,
        &[(
            || decided(Choice::Approve),
            "cover 5, ask again about 1 | over",
        )],
    );
    let mut unsettled = Table::new(Era::Legacy, both()).after([Event::Begin]);
    unsettled.list_is_settled = false;
    unsettled.expect(
        "not settled",
        yes(),
        "cover 0, get list | 1 waits with a yes",
    );
    unsettled.expect("not settled", tick(), "get list | 1 waits with a yes");
    unsettled.list_is_settled = true;
    unsettled.expect("settled", tick(), "release 1 by elicitation | over");
}

#[test]
fn a_yes_with_too_little_assurance_or_without_a_client_releases_nothing() {
    let strict = Settings {
        require_assurance: Some(RequiredAssurance::WORDS[4].1),
        ..both()
    };
    expect_rows(
        "assurance",
        Table::new(Era::Legacy, strict).after([Event::Begin]),
        &[(
            yes,
            "refuse 1 (Denied: the verdict's assurance is below `requireAssurance`) | over",
        )],
    );
    let mut gone = Table::new(Era::Legacy, both()).after([Event::Begin]);
    gone.has_client = false;
    gone.expect(
        "no client",
        yes(),
        "cover 0, refuse 1 (Cancelled: the client has gone) | over",
    );
}

#[test]
fn silence_is_a_yes_only_if_the_operator_chose_that_and_the_prompt_was_delivered() {
    let approve = |settings: Settings| Settings {
        timeout_action: TimeoutAction::Approve,
        ..settings
    };
    let run_out = |settings, is_seen: bool| {
        let table = Table::new(Era::Legacy, settings).after([Event::Begin]);
        let mut table = if is_seen { table.seen() } else { table };
        table.now += MINUTE + GRACE;
        table.does(Event::Tick)
    };
    let client = || only(Engine::Elicitation);
    assert_eq!(
        run_out(approve(client()), true),
        "withdraw, release 1 by elicitation | over"
    );
    let refused = "withdraw, refuse 1 (Timeout: nobody answered in time) | over";
    assert_eq!(run_out(client(), true), refused);
    assert_eq!(run_out(approve(client()), false), refused);
    let two = Settings {
        double_confirm: true,
        ..approve(client())
    };
    assert_eq!(run_out(two, true), refused);
    assert_eq!(
        run_out(approve(only(Engine::INBOX)), true),
        "close as Expired, refuse 1 (Timeout: nobody answered in time) | over"
    );
}

mod at_random {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> impl Strategy<Value = Settings> {
        let channels = prop_oneof![
            Just(both().channels),
            Just(both().channels.into_iter().rev().collect()),
            Just(only(Engine::Elicitation).channels),
            Just(only(Engine::INBOX).channels),
            Just(Vec::new()),
        ];
        let action = prop_oneof![
            Just(TimeoutAction::Approve),
            Just(TimeoutAction::Deny),
            Just(TimeoutAction::Park)
        ];
        (channels, action, any::<bool>(), any::<bool>()).prop_map(
            |(channels, timeout_action, double_confirm, is_instant)| Settings {
                channels,
                timeout_action,
                double_confirm,
                instant_decline: if is_instant { MINUTE } else { Duration::ZERO },
                ..both()
            },
        )
    }

    proptest! {
        // INVARIANTS 1 and 2, whatever events come in whatever order: a question ends once, and lets its calls run only
        // with the required number of yeses, or by silence if the operator chose that.
        #[test]
        fn a_question_ends_once_and_needs_its_yeses(
            settings in settings(),
            is_stateless in any::<bool>(),
            steps in prop::collection::vec((0usize..20, 0u64..4_000, any::<bool>()), 0..40),
        ) {
            let era = if is_stateless { Era::Stateless } else { Era::Legacy };
            let needed = if settings.double_confirm { 2 } else { 1 };
            let may_be_silent = settings.timeout_action == TimeoutAction::Approve;
            let mut table = Table::new(era, settings);
            let mut yeses = 0;
            for (which, seconds, is_settled) in steps {
                table.now += Duration::from_secs(seconds);
                table.list_is_settled = is_settled;
                let was_over = table.ask.is_over();
                let mut all = events(&table);
                all.push(sent(AskedFor::Answer));
                all.push(sent(page()));
                // A call is answered with a question only if it is the only one and has no answer yet.
                let is_sending = which >= all.len() - 2;
                let may_send = table.ask.calls().len() == 1 && !table.ask.has_answer();
                if is_sending && (era == Era::Legacy || !may_send) {
                    continue;
                }
                let event = all.swap_remove(which.min(all.len() - 1));
                let is_later = matches!(event, Event::Tick);
                let is_yes = matches!(
                    &event,
                    Event::Answered(Answer::Approved { .. })
                ) || matches!(&event, Event::Decided { verdict, .. } if verdict.choice == Choice::Approve)
                    || matches!(&event, Event::CallArrived(it) if it.answer.as_deref() == Some(ACCEPTED));
                yeses += u32::from(is_yes);
                let did = table.does(event);
                prop_assert!(!was_over || did == " | over", "{did}");
                let releases = did.contains("release");
                prop_assert!(!releases || (yeses >= needed || may_be_silent), "{did}");
                prop_assert!(!releases || table.ask.is_over(), "{did}");
                let due = table.ask.next_time().filter(|_| !table.ask.is_over());
                prop_assert!(due.is_none_or(|due| due <= table.now + 3 * HOUR));
                // Otherwise the proxy would wake up again and again.
                prop_assert!(!is_later || due.is_none_or(|due| due > table.now), "{did}");
            }
        }
    }
}
