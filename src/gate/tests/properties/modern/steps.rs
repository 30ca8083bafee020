//! What client, upstream, clock and log may do in the words of 2026-07-28, and how likely.
//!
//! Steps hold small numbers that `world` reads modulo what exists, so that they shrink well.

use proptest::prelude::*;

use crate::gate::tests::properties::steps::Ending;

/// How the operator set the gate up, and who the peers are.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    /// Mode `all` instead of `destructive`.
    pub(super) all: bool,
    pub(super) timeout_secs: Option<u64>,
    pub(super) ttl_secs: u64,
    pub(super) double_confirm: bool,
    pub(super) max_pending: usize,
    pub(super) best_effort: bool,
    /// Whether the client speaks a legacy revision too, after a handshake.
    pub(super) legacy: bool,
    /// Whether the upstream answers the gate's own `tools/list` at once.
    pub(super) eager: bool,
    /// How long the upstream's list is good.
    pub(super) list_ttl_ms: Option<u64>,
    pub(super) ending: Ending,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// One entry is a line of its own, several are a batch.
    Client(Vec<FromClient>),
    Upstream(FromUpstream),
    /// The upstream asks about the newest call, and the client answers; so many times.
    Rounds(u8),
    WaitMillis(u64),
    /// Time passes, and no timer fires.
    LateMillis(u64),
    BreakLog,
    MendLog,
    CloseClient,
}

#[derive(Debug, Clone)]
pub(super) enum FromClient {
    Call {
        /// One of a few that are used again and again; else a fresh one.
        id: Option<u8>,
        tool: u8,
        args: u8,
        client: u8,
        meta: Meta,
        /// Answers that belong to no question.
        bare_answers: bool,
    },
    /// A call again, with a state that the client was given for it.
    Retry {
        id: Option<u8>,
        state: Which,
        answer: u8,
        change: Change,
    },
    /// A retry with a yes, whose state is none that the client was given.
    Forged {
        id: Option<u8>,
        state: Which,
        how: u8,
    },
    /// Of an id that was used, or of none.
    Cancel(u8),
    /// A call in the words of the handshake.
    Legacy(u8),
    /// To the prompt about such a call, counted from the newest; whether it is a yes.
    Answer(u8, bool),
    /// Anything that is no call.
    Request,
    /// The client introduces itself anew.
    Initialize,
}

/// A state that the client was given, counted from the newest.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    /// Among those that were not used.
    Unused(u8),
    Any(u8),
}

/// What a request says of its revision and its client's capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meta {
    Usual,
    /// Elicitation by URL only.
    NoForms,
    /// No capabilities at all, which is malformed.
    Bare,
    /// A revision that nobody knows.
    Unknown,
}

/// How a retry differs from the call that the state was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Another client hands it in: the same call all the same.
    Client,
    /// The request says other things of itself: the same call all the same.
    Meta(Meta),
    /// Members in another order, escapes in keys: the same call all the same.
    Spelling,
    Arguments,
    /// `1` is written `1.0`.
    Number,
    Tool(u8),
    Task,
    /// The other era.
    Legacy,
    /// The state stands there twice.
    Twice,
    /// Its key is written in another case.
    Folded,
}

#[derive(Debug, Clone)]
pub(super) enum FromUpstream {
    /// To a request of the client's, counted from the newest.
    Answer {
        which: u8,
        how: u8,
    },
    /// To a request that has been answered, or that was never made.
    Again {
        which: u8,
        how: u8,
    },
    /// The list is another one now; tool, hints and description of each.
    ListChanged(Vec<(u8, u8, u8)>),
    /// The tools that are gated say something else of themselves than they did.
    Redefined,
    /// To the gate's own `tools/list`; whether it fails.
    OwnList(bool),
    Notification,
}

/// What a property is mostly about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    /// Calls, yeses and noes, and all sorts of wrong states.
    Asking,
    /// Questions of the upstream's.
    Rounds,
    /// Lists that change.
    Lists,
    /// The same calls again.
    Repeats,
    /// Both eras, broken logs, little room, cancellations, ends.
    Ends,
}

pub(super) fn setup() -> impl Strategy<Value = Setup> {
    let asking = (
        prop::bool::weighted(0.1),
        prop_oneof![Just(Some(20u64)), Just(Some(120)), Just(None)],
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.1),
    );
    let life = (
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.85),
        prop_oneof![1 => Just(None), 1 => Just(Some(20_000u64)), 4 => Just(Some(3_600_000))],
        prop_oneof![
            Just(Ending::Client),
            Just(Ending::Upstream),
            Just(Ending::Closing)
        ],
    );
    (asking, life).prop_map(
        |(
            (all, timeout_secs, double_confirm, best_effort),
            (legacy, eager, list_ttl_ms, ending),
        )| {
            Setup {
                all,
                timeout_secs,
                ttl_secs: 0,
                double_confirm,
                max_pending: 4096,
                best_effort,
                legacy,
                eager,
                list_ttl_ms,
                ending,
            }
        },
    )
}

pub(super) fn steps(theme: Theme) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(theme), 1..60)
}

fn step(theme: Theme) -> impl Strategy<Value = Step> {
    let (upstream, rounds, waits, breaks, ends) = match theme {
        Theme::Asking | Theme::Repeats => (6, 0, 3, 0, 0),
        Theme::Rounds => (30, 6, 2, 0, 0),
        Theme::Lists => (20, 0, 1, 0, 0),
        Theme::Ends => (14, 1, 4, 3, 1),
    };
    let time = prop_oneof![
        2 => 1u64..20,
        1 => 245u64..256,
        3 => 1_000u64..6_000,
        2 => 10_000u64..90_000,
        1 => Just(3_600_000),
    ];
    let batch = prop::collection::vec(call_or_retry(theme), 2..4);
    prop_oneof![
        40 => from_client(theme).prop_map(|one| Step::Client(vec![one])),
        2 => batch.prop_map(Step::Client),
        upstream => from_upstream(theme).prop_map(Step::Upstream),
        rounds => (1u8..13).prop_map(Step::Rounds),
        waits => time.clone().prop_map(Step::WaitMillis),
        1 => time.prop_map(Step::LateMillis),
        breaks => prop_oneof![1 => Just(Step::BreakLog), 2 => Just(Step::MendLog)],
        ends => Just(Step::CloseClient),
    ]
}

fn id() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![4 => Just(None), 1 => (0u8..12).prop_map(Some)]
}

fn call_or_retry(theme: Theme) -> impl Strategy<Value = FromClient> {
    let (calls, retries, forged) = match theme {
        Theme::Asking => (10, 20, 4),
        Theme::Rounds | Theme::Lists | Theme::Ends => (10, 22, 1),
        Theme::Repeats => (20, 16, 1),
    };
    // Mostly what is gated, with the same arguments now and then.
    let tool = prop_oneof![5 => 1u8..3, 4 => 0u8..8];
    let meta = prop_oneof![
        20 => Just(Meta::Usual),
        1 => Just(Meta::NoForms),
        1 => Just(Meta::Bare),
        1 => Just(Meta::Unknown),
    ];
    let client = prop_oneof![4 => Just(0u8), 1 => Just(1)];
    let call = (id(), tool, 0u8..5, client, meta, prop::bool::weighted(0.04)).prop_map(
        |(id, tool, args, client, meta, bare_answers)| FromClient::Call {
            id,
            tool,
            args,
            client,
            meta,
            bare_answers,
        },
    );
    // Mostly a plain yes.
    let answer = prop_oneof![5 => Just(0u8), 4 => 1u8..20];
    let change = prop_oneof![24 => Just(Change::None), 7 => change()];
    prop_oneof![
        calls => call,
        retries => (id(), which(), answer, change).prop_map(|(id, state, answer, change)| {
            FromClient::Retry { id, state, answer, change }
        }),
        forged => (id(), which(), 0u8..10).prop_map(|(id, state, how)| FromClient::Forged { id, state, how }),
    ]
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        6 => Just(Which::Unused(0)),
        3 => (0u8..4).prop_map(Which::Unused),
        2 => (0u8..6).prop_map(Which::Any),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let meta = prop_oneof![Just(Meta::NoForms), Just(Meta::Bare), Just(Meta::Unknown)];
    prop_oneof![
        Just(Change::Client),
        meta.prop_map(Change::Meta),
        Just(Change::Spelling),
        Just(Change::Arguments),
        Just(Change::Number),
        (0u8..8).prop_map(Change::Tool),
        Just(Change::Task),
        Just(Change::Legacy),
        Just(Change::Twice),
        Just(Change::Folded),
    ]
}

fn from_client(theme: Theme) -> impl Strategy<Value = FromClient> {
    let (cancels, legacy, sessions) = match theme {
        Theme::Asking | Theme::Rounds | Theme::Lists => (2, 4, 0),
        Theme::Repeats => (1, 4, 1),
        Theme::Ends => (6, 20, 1),
    };
    let prompt = prop_oneof![4 => Just(0u8), 1 => 0u8..4];
    prop_oneof![
        60 => call_or_retry(theme),
        cancels => any::<u8>().prop_map(FromClient::Cancel),
        legacy => prop_oneof![
            (1u8..5).prop_map(FromClient::Legacy),
            (prompt, prop::bool::weighted(0.8)).prop_map(|(prompt, yes)| FromClient::Answer(prompt, yes)),
        ],
        1 => Just(FromClient::Request),
        sessions => Just(FromClient::Initialize),
    ]
}

fn from_upstream(theme: Theme) -> impl Strategy<Value = FromUpstream> {
    let (asks, lists) = match theme {
        Theme::Rounds => (20, 1),
        Theme::Lists => (4, 16),
        Theme::Asking | Theme::Repeats | Theme::Ends => (5, 2),
    };
    let which = prop_oneof![5 => Just(0u8), 2 => any::<u8>()];
    let tools = prop::collection::vec(
        (0u8..8, prop_oneof![3 => Just(3u8), 2 => 0u8..8], 0u8..2),
        0..6,
    );
    prop_oneof![
        asks => (which.clone(), 1u8..3).prop_map(|(which, how)| FromUpstream::Answer { which, how }),
        5 => (which.clone(), 0u8..10).prop_map(|(which, how)| FromUpstream::Answer { which, how }),
        2 => (which, 0u8..10).prop_map(|(which, how)| FromUpstream::Again { which, how }),
        lists / 2 => Just(FromUpstream::Redefined),
        lists => tools.prop_map(FromUpstream::ListChanged),
        lists + 4 => prop::bool::weighted(0.1).prop_map(FromUpstream::OwnList),
        1 => Just(FromUpstream::Notification),
    ]
}
