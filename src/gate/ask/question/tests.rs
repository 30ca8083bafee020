//! Tests questions that agents ask: the same verdicts count as for calls, and a question always ends.

use proptest::prelude::*;

use super::*;
use crate::approval::assurance::RequiredAssurance;
use crate::approval::digest::CallDigest;
use crate::approval::item::Closed;
use crate::approval::request::QuestionKind;
use crate::gate::output::{Failure, ParkedItem};
use crate::gate::settings::{Channel, EngineId};
use crate::mcp::tool::KeptCall;
use crate::policy::Risk;

const SLACK: EngineId = EngineId::new("slack");
const NTFY: EngineId = EngineId::new("ntfy");
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const KEY: ResumeKey = ResumeKey([7; 32]);

fn request() -> Arc<ApprovalRequest> {
    let call =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"request_approval"}}"#;
    let call = KeptCall::read(call).unwrap();
    Arc::new(ApprovalRequest {
        form: None,
        server: "books".into(),
        tool: "request_approval".into(),
        is_listed: true,
        risk: Risk::High,
        why: "the agent says so".into(),
        round: QuestionKind::Advisory,
        title: None,
        description: None,
        hints: String::new(),
        digest: CallDigest::of("books", &call.params(), None),
        call,
        client: None,
        client_title: None,
        covers: Duration::ZERO,
    })
}

fn channel(engine: EngineId) -> Channel {
    Channel {
        reach: Assurance::ChannelAuthenticated,
        ..Channel::new(Engine::OutOfBand(engine))
    }
}

/// A question, and what it has put out.
struct Scene {
    question: Question,
    now: Now,
    asked: Vec<(EngineId, String)>,
    closed: Vec<Closed>,
    disregarded: usize,
    end: Option<QuestionEnd>,
}

impl Scene {
    fn new(channels: Vec<Channel>, key: Option<ResumeKey>) -> Scene {
        Scene::with(
            Settings {
                channels,
                timeout: Some(HOUR),
                // Nothing of this may matter to an agent's question.
                double_confirm: true,
                ..Settings::default()
            },
            key,
        )
    }

    fn with(settings: Settings, key: Option<ResumeKey>) -> Scene {
        let now = Now {
            elapsed: Duration::from_secs(100),
            unix_ms: 1_000_000,
        };
        Scene {
            question: Question::new(request(), settings, key, [3; 32], now),
            now,
            asked: Vec::new(),
            closed: Vec::new(),
            disregarded: 0,
            end: None,
        }
    }

    fn with_form(form: &str) -> Scene {
        let mut scene = Scene::new(vec![channel(SLACK)], None);
        let request = ApprovalRequest {
            form: Some(form.into()),
            ..(*request()).clone()
        };
        let settings = scene.question.settings.clone();
        scene.question = Question::new(Arc::new(request), settings, None, [3; 32], scene.now);
        let outputs = scene.question.begin(scene.now);
        scene.take(outputs);
        scene
    }

    fn begun(channels: Vec<Channel>) -> Scene {
        let mut scene = Scene::new(channels, None);
        let outputs = scene.question.begin(scene.now);
        scene.take(outputs);
        scene
    }

    fn take(&mut self, outputs: Vec<QuestionOutput>) {
        for output in outputs {
            assert!(self.end.is_none(), "{output:?} after the end");
            match output {
                QuestionOutput::ToEngine(ToEngine::Ask { engine, item, .. }) => {
                    let ends = 1_000_000 + 3_600_000;
                    assert!(
                        item.expires_ms.unwrap() <= ends,
                        "people have more time than there is"
                    );
                    self.asked.push((engine, item.id.clone()));
                }
                QuestionOutput::ToEngine(ToEngine::Join { engine, item }) => {
                    self.asked.push((engine, item));
                }
                QuestionOutput::ToEngine(ToEngine::Close { how, .. }) => self.closed.push(how),
                QuestionOutput::ToEngine(_) => {}
                QuestionOutput::Disregarded(_) => self.disregarded += 1,
                QuestionOutput::Ended(end) => self.end = Some(end),
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.elapsed += time;
        self.now.unix_ms += i64::try_from(time.as_millis()).unwrap();
        let outputs = self.question.tick(self.now);
        self.take(outputs);
    }

    fn gets(&mut self, message: FromEngine) {
        let outputs = self.question.from_engine(message, self.now);
        self.take(outputs);
    }

    fn decides(&mut self, choice: Choice, assurance: Assurance) {
        let (engine, item) = self.asked.last().unwrap().clone();
        self.gets(verdict(engine, item, choice, assurance));
    }

    fn fails(&mut self, engine: Option<EngineId>) {
        let item = self.asked.last().unwrap().1.clone();
        let failure = Failure::unreachable("no network");
        self.gets(FromEngine::Failed {
            engine,
            item,
            failure,
        });
    }

    fn engines(&self) -> Vec<&'static str> {
        self.asked.iter().map(|(engine, _)| engine.name()).collect()
    }
}

fn verdict(engine: EngineId, item: String, choice: Choice, assurance: Assurance) -> FromEngine {
    FromEngine::Verdict {
        engine,
        item,
        verdict: Verdict {
            fields: None,
            choice,
            reason: Some("see OPS-12".to_owned()),
            cover: HOUR,
            assurance,
            approver: None,
            decided_ms: 1_234,
        },
    }
}

fn level(word: &str) -> RequiredAssurance {
    let mut words = RequiredAssurance::WORDS.iter();
    words.find(|(known, _)| *known == word).unwrap().1
}

const LEVELS: [Assurance; 5] = [
    Assurance::CallerRelayed,
    Assurance::SharedSecret,
    Assurance::InboxSession,
    Assurance::ChannelAuthenticated,
    Assurance::InboxPassphrase,
];

#[test]
fn exactly_the_verdicts_that_count_for_calls_count_and_one_yes_is_enough() {
    for required in ["shared-secret", "channel-authenticated", "inbox-passphrase"] {
        let required = level(required);
        for assurance in LEVELS {
            for choice in [Choice::Approve, Choice::Deny] {
                let best = Channel {
                    reach: Assurance::InboxPassphrase,
                    ..Channel::new(Engine::INBOX)
                };
                let settings = Settings {
                    channels: vec![best],
                    timeout: Some(HOUR),
                    require_assurance: Some(required),
                    double_confirm: true,
                    ..Settings::default()
                };
                let counts = settings.counts(assurance);
                let mut scene = Scene::with(settings, None);
                let outputs = scene.question.begin(scene.now);
                scene.take(outputs);
                scene.decides(choice, assurance);
                assert_eq!(scene.disregarded, usize::from(!counts));
                let decided = matches!(
                    &scene.end,
                    Some(QuestionEnd::Decided { choice: it, assurance: level, decided_ms: 1_234, reason: Some(_), .. })
                        if *it == choice && *level == assurance
                );
                assert_eq!(
                    decided, counts,
                    "{required:?} {assurance:?} {:?}",
                    scene.end
                );
                // A better one still counts.
                if !counts {
                    scene.decides(choice, Assurance::InboxPassphrase);
                    assert!(matches!(scene.end, Some(QuestionEnd::Decided { .. })));
                }
            }
        }
    }
}

#[test]
fn a_verdict_about_another_item_is_none() {
    let mut scene = Scene::begun(vec![channel(SLACK)]);
    for item in ["", "0", &"0".repeat(32)] {
        let yes = verdict(
            SLACK,
            item.to_owned(),
            Choice::Approve,
            Assurance::ChannelAuthenticated,
        );
        scene.gets(yes);
    }
    assert_eq!(scene.end, None);
    scene.decides(Choice::Deny, Assurance::ChannelAuthenticated);
    assert!(matches!(
        scene.end,
        Some(QuestionEnd::Decided {
            choice: Choice::Deny,
            ..
        })
    ));
}

#[test]
fn nobody_in_time_is_expired_and_never_approved() {
    let mut scene = Scene::begun(vec![channel(SLACK)]);
    scene.pass(HOUR - Duration::from_millis(1));
    assert_eq!(scene.end, None);
    // A verdict that was given in the last moment needs time to arrive.
    scene.pass(Duration::from_millis(2));
    assert_eq!(scene.end, None);
    scene.pass(super::super::GRACE);
    assert_eq!(scene.end, Some(QuestionEnd::Expired));
    assert_eq!(scene.closed.len(), 1);
}

#[test]
fn in_a_chain_the_next_engine_is_asked_when_one_fails_or_is_late_and_all_share_the_time() {
    let first = Channel {
        patience: Patience::Own(Some(MINUTE)),
        on_timeout: OnFailure::Fallback,
        ..channel(SLACK)
    };
    let endless = Channel {
        patience: Patience::Own(None),
        on_timeout: OnFailure::Fallback,
        ..channel(NTFY)
    };
    let mut scene = Scene::begun(vec![first, endless, channel(EngineId::INBOX)]);
    assert_eq!(scene.engines(), ["slack"]);
    scene.pass(MINUTE);
    assert_eq!(scene.engines(), ["slack", "ntfy"]);
    scene.pass(HOUR - MINUTE);
    // At the end, nobody new is asked.
    assert_eq!(scene.engines(), ["slack", "ntfy"]);
    scene.pass(MINUTE);
    assert_eq!(scene.end, Some(QuestionEnd::Expired));

    let mut scene = Scene::begun(vec![first, channel(EngineId::INBOX)]);
    scene.fails(Some(SLACK));
    assert_eq!(scene.engines(), ["slack", "inbox"]);
    scene.decides(Choice::Approve, Assurance::InboxSession);
    assert!(matches!(
        scene.end,
        Some(QuestionEnd::Decided {
            engine: "inbox",
            ..
        })
    ));
}

#[test]
fn in_a_race_the_first_verdict_ends_it_everywhere() {
    let second = Channel {
        after: Some(Duration::ZERO),
        ..channel(NTFY)
    };
    let mut scene = Scene::begun(vec![channel(SLACK), second]);
    scene.pass(Duration::from_millis(1));
    assert_eq!(scene.engines(), ["slack", "ntfy"]);
    assert_eq!(scene.asked[0].1, scene.asked[1].1, "one item");
    scene.fails(Some(SLACK));
    assert_eq!(scene.end, None, "the other one is still open");
    scene.decides(Choice::Deny, Assurance::ChannelAuthenticated);
    assert!(matches!(
        scene.end,
        Some(QuestionEnd::Decided {
            choice: Choice::Deny,
            ..
        })
    ));
    // What comes later changes nothing.
    scene.end = None;
    scene.decides(Choice::Approve, Assurance::ChannelAuthenticated);
    scene.pass(HOUR * 2);
    assert_eq!(scene.end, None);
}

#[test]
fn if_no_engine_is_left_it_fails_and_says_why() {
    let mut scene = Scene::begun(vec![channel(SLACK)]);
    scene.fails(Some(SLACK));
    let Some(QuestionEnd::Failed(why)) = &scene.end else {
        panic!("{:?}", scene.end);
    };
    assert!(why.contains("slack") || why.contains("no network"), "{why}");
    // A lost item is lost for all engines.
    let mut scene = Scene::begun(vec![channel(SLACK)]);
    scene.fails(None);
    assert!(matches!(scene.end, Some(QuestionEnd::Failed(_))));
    // The client's own prompt is no engine here.
    let mut scene = Scene::new(vec![Channel::new(Engine::Elicitation)], None);
    let outputs = scene.question.begin(scene.now);
    scene.take(outputs);
    assert!(matches!(scene.end, Some(QuestionEnd::Failed(_))));
    assert!(scene.asked.is_empty());
}

#[test]
fn a_withdrawn_question_closes_its_item_and_takes_no_verdict() {
    let mut scene = Scene::begun(vec![channel(SLACK)]);
    let outputs = scene.question.cancel(scene.now);
    scene.take(outputs);
    assert_eq!(scene.closed, [Closed::Withdrawn]);
    scene.decides(Choice::Approve, Assurance::InboxPassphrase);
    assert_eq!(scene.end, None);
}

fn found(until_ms: Option<i64>) -> FromEngine {
    found_decided(until_ms, false)
}

fn found_decided(until_ms: Option<i64>, is_decided: bool) -> FromEngine {
    let parked = until_ms.map(|until_ms| ParkedItem {
        id: "f".repeat(32),
        until_ms,
        is_decided,
    });
    FromEngine::Resume(Resumption::Found { lookup: 1, parked })
}

#[test]
fn a_resumed_question_waits_for_its_old_item_and_asks_nobody_again() {
    let mut scene = Scene::new(vec![channel(SLACK)], Some(KEY));
    let outputs = scene.question.find(scene.now);
    assert!(matches!(
        outputs[..],
        [QuestionOutput::ToEngine(ToEngine::Resume(Resume::Find {
            key: KEY,
            ..
        }))]
    ));
    scene.gets(found(Some(1_000_000 + 60_000)));
    assert!(scene.asked.is_empty());
    assert_eq!(scene.question.item(), Some(&*"f".repeat(32)));
    scene.pass(MINUTE);
    assert_eq!(scene.end, None, "a verdict in time needs time to arrive");
    let yes = verdict(
        SLACK,
        "f".repeat(32),
        Choice::Approve,
        Assurance::ChannelAuthenticated,
    );
    scene.gets(yes);
    assert!(matches!(scene.end, Some(QuestionEnd::Decided { .. })));
    let settled = scene.question.settle();
    assert!(matches!(
        settled,
        Some(QuestionOutput::ToEngine(ToEngine::Resume(
            Resume::TakeUp { .. }
        )))
    ));
}

#[test]
fn a_resumed_question_expires_with_its_item() {
    let mut scene = Scene::new(vec![channel(SLACK)], Some(KEY));
    scene.question.find(scene.now);
    scene.gets(found(Some(1_000_000 - 5)));
    assert_eq!(scene.end, None);
    scene.pass(super::super::GRACE);
    assert_eq!(scene.end, Some(QuestionEnd::Expired));
}

#[test]
fn a_yes_counts_only_with_answers_that_fit_the_form() {
    let form = r#"{"type":"object","properties":{"po":{"type":"string","minLength":3}},"required":["po"]}"#;
    let answered = |item: &str, choice, fields: Option<&str>| {
        let level = Assurance::ChannelAuthenticated;
        let FromEngine::Verdict {
            engine,
            item,
            verdict,
        } = verdict(SLACK, item.to_owned(), choice, level)
        else {
            unreachable!()
        };
        let fields = fields.map(str::to_owned);
        let verdict = Verdict { fields, ..verdict };
        FromEngine::Verdict {
            engine,
            item,
            verdict,
        }
    };
    let mut scene = Scene::with_form(form);
    let item = scene.asked[0].1.clone();
    for fields in [
        None,
        Some("{}"),
        Some(r#"{"po":"x"}"#),
        Some(r#"{"po":"PO-7","more":1}"#),
        Some("{"),
    ] {
        let before = scene.disregarded;
        scene.gets(answered(&item, Choice::Approve, fields));
        assert_eq!(
            (scene.disregarded, &scene.end),
            (before + 1, &None),
            "{fields:?}"
        );
    }
    let answers = r#"{"po":"PO-7"}"#;
    scene.gets(answered(&item, Choice::Approve, Some(answers)));
    let Some(QuestionEnd::Decided { choice, fields, .. }) = scene.end else {
        panic!("{:?}", scene.end);
    };
    assert_eq!(
        (choice, fields.as_deref()),
        (Choice::Approve, Some(answers))
    );

    let mut scene = Scene::with_form(form);
    let item = scene.asked[0].1.clone();
    scene.gets(answered(&item, Choice::Deny, None));
    let fields = match scene.end {
        Some(QuestionEnd::Decided {
            choice: Choice::Deny,
            fields,
            ..
        }) => fields,
        other => panic!("{other:?}"),
    };
    assert_eq!(fields, None);

    // Nobody was asked to fill anything in.
    let mut scene = Scene::begun(vec![channel(SLACK)]);
    let item = scene.asked[0].1.clone();
    scene.gets(answered(&item, Choice::Approve, Some(answers)));
    assert_eq!((scene.disregarded, &scene.end), (1, &None));
}

#[test]
fn a_verdict_that_was_given_in_time_counts_however_late_it_is_fetched() {
    for (arrives, is_found) in [(true, true), (false, false)] {
        let settings = Settings {
            channels: vec![channel(SLACK)],
            timeout: Some(Duration::ZERO),
            ..Settings::default()
        };
        let mut scene = Scene::with(settings, Some(KEY));
        scene.question.find(scene.now);
        scene.gets(found_decided(Some(1_000_000 - 86_400_000), true));
        scene.pass(MINUTE / 2);
        assert_eq!(scene.end, None, "a busy machine needs time to deliver it");
        if arrives {
            let id = "f".repeat(32);
            let level = Assurance::ChannelAuthenticated;
            scene.gets(verdict(SLACK, id, Choice::Approve, level));
        }
        scene.pass(MINUTE);
        let is_decided = matches!(scene.end, Some(QuestionEnd::Decided { .. }));
        assert_eq!(is_decided, is_found);
        assert!(scene.asked.is_empty());
    }
}

#[test]
fn a_question_whose_item_is_lost_is_asked_anew_but_not_after_its_time() {
    let mut scene = Scene::new(vec![channel(SLACK)], Some(KEY));
    scene.question.find(scene.now);
    scene.gets(found(None));
    assert_eq!(scene.engines(), ["slack"]);

    let settings = Settings {
        channels: vec![channel(SLACK)],
        timeout: Some(Duration::ZERO),
        ..Settings::default()
    };
    let mut scene = Scene::with(settings, Some(KEY));
    scene.question.find(scene.now);
    scene.gets(found(None));
    assert_eq!(scene.end, Some(QuestionEnd::Expired));
    assert!(scene.asked.is_empty());
}

proptest! {
    /// Whatever comes in whatever order: an approval needs a yes that counts about our item, nothing follows the end, and
    /// after its time a question is over.
    #[test]
    fn no_sequence_approves_without_a_yes_that_counts(
        steps in proptest::collection::vec((0_u8..8, 0_usize..LEVELS.len(), 0_u64..1_000), 0..40),
    ) {
        let chained = Channel { on_timeout: OnFailure::Fallback, patience: Patience::Own(Some(MINUTE)), ..channel(SLACK) };
        let raced = Channel { after: Some(MINUTE), ..channel(NTFY) };
        let settings = Settings {
            channels: vec![chained, raced, channel(EngineId::INBOX)],
            timeout: Some(HOUR),
            require_assurance: Some(level("channel-authenticated")),
            ..Settings::default()
        };
        let counts = |level: Assurance| settings.counts(level);
        let mut scene = Scene::with(settings.clone(), None);
        let outputs = scene.question.begin(scene.now);
        scene.take(outputs);
        let (mut may_approve, mut is_cancelled) = (false, false);
        for (kind, level, seconds) in steps {
            if scene.end.is_some() || is_cancelled {
                break;
            }
            let (Some((engine, item)), level) = (scene.asked.last().cloned(), LEVELS[level]) else {
                break;
            };
            match kind {
                0 => {
                    may_approve |= counts(level);
                    scene.gets(verdict(engine, item, Choice::Approve, level));
                }
                1 => scene.gets(verdict(engine, item, Choice::Deny, level)),
                2 => scene.gets(verdict(engine, "x".to_owned(), Choice::Approve, level)),
                3 => scene.fails(Some(engine)),
                4 => scene.fails(None),
                5 => {
                    is_cancelled = true;
                    let outputs = scene.question.cancel(scene.now);
                    scene.take(outputs);
                }
                6 => scene.gets(found(Some(i64::MAX))),
                _ => scene.pass(Duration::from_secs(seconds)),
            }
        }
        if let Some(QuestionEnd::Decided { choice: Choice::Approve, assurance, .. }) = &scene.end {
            prop_assert!(may_approve && counts(*assurance));
        }
        if scene.end.is_none() && !is_cancelled {
            scene.pass(HOUR);
            scene.pass(MINUTE);
            prop_assert!(scene.end.is_some());
        }
    }
}
