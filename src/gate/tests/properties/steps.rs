//! What client, upstream, clock and log may do, legacy and stateless, and how likely each step is.
//!
//! Steps hold small numbers that `world` takes modulo what exists, so they shrink well.

use proptest::prelude::*;

/// The gate's configuration, and what the peers are like.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    /// 0 destructive, 1 all, 2 annotated, 3 none.
    pub(super) mode: u8,
    pub(super) allow: u8,
    pub(super) deny: u8,
    pub(super) timeout_secs: Option<u64>,
    pub(super) approve_on_timeout: bool,
    pub(super) ttl_secs: u64,
    pub(super) double_confirm: bool,
    pub(super) dry_run: bool,
    pub(super) best_effort: bool,
    pub(super) retries: u32,
    pub(super) explain: bool,
    pub(super) max_pending: usize,
    /// Whether a legacy handshake is done before the first step.
    pub(super) shaken: bool,
    /// Whether the upstream answers the gate's own `tools/list` and `initialize` at once.
    pub(super) eager: bool,
    /// The lifetime that the upstream gives its list.
    pub(super) list_ttl_ms: Option<u64>,
    pub(super) ending: Ending,
}

impl Setup {
    /// The gate's usual settings, and peers that behave as expected.
    pub(super) fn usual() -> Setup {
        Setup {
            mode: 0,
            allow: 0,
            deny: 0,
            timeout_secs: Some(20),
            approve_on_timeout: false,
            ttl_secs: 0,
            double_confirm: false,
            dry_run: false,
            best_effort: false,
            retries: 0,
            explain: false,
            max_pending: 4096,
            shaken: false,
            eager: true,
            list_ttl_ms: Some(3_600_000),
            ending: Ending::Client,
        }
    }
}

/// Which side leaves first when the steps are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Client,
    Upstream,
    /// The upstream accepts nothing more, and leaves later.
    Closing,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// One entry is a line, several are a batch.
    Client(Vec<FromClient>),
    Upstream(Vec<FromUpstream>),
    /// The upstream asks about the newest call, and the client answers; this many times.
    Rounds(u8),
    WaitMillis(u64),
    /// Time passes, and no timer fires.
    LateMillis(u64),
    Drained,
    /// Whether the client's input is being read.
    Heard(bool),
    BreakLog,
    MendLog,
    CloseClient,
    CloseUpstream,
}

/// Which id a request gets.
#[derive(Debug, Clone, Copy)]
pub(super) enum IdPick {
    Fresh,
    FreshText,
    /// One of a few that are used again and again, in different spellings.
    Pool(u8),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Args {
    /// Different from those of any other call; the number chooses the shape.
    Own(u8),
    /// One of a few.
    Few(u8),
    /// Exactly those of an earlier call.
    Same(u8),
    /// Those of an earlier call, with one number written differently.
    Twin(u8),
}

/// The protocol of a call, and what it says there about its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// Those of the handshake.
    Legacy,
    /// Those of 2026-07-28, from one of two clients.
    Stateless { client: u8, meta: Meta },
}

/// What a request says about its revision and its client's capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meta {
    Usual,
    /// Elicitation by URL only.
    NoForms,
    /// No capabilities at all, which is malformed.
    Bare,
    /// An unknown revision.
    Unknown,
}

#[derive(Debug, Clone)]
pub(super) enum FromClient {
    Call {
        id: IdPick,
        words: Words,
        tool: u8,
        args: Args,
        token: bool,
        task: bool,
        /// Answers that belong to no question.
        bare_answers: bool,
        spelling: u8,
    },
    /// A call again, with a state that the client was given for it.
    Retry {
        id: IdPick,
        state: Which,
        answer: u8,
        change: Change,
    },
    /// A retry with a yes, with a state that the client was never given.
    Forged {
        id: IdPick,
        state: Which,
        how: u8,
    },
    /// A call, or something like one, that must be refused.
    Hostile {
        id: IdPick,
        tool: u8,
        kind: u8,
    },
    /// Of an earlier request, or of none.
    Cancel(u8),
    /// To a prompt, counted from the newest.
    Answer {
        prompt: u8,
        how: u8,
    },
    Request {
        id: IdPick,
        method: u8,
        spelling: u8,
    },
    Initialize {
        id: IdPick,
        forms: bool,
    },
    Initialized,
    Notification(u8),
    /// A request with the id of an open request of the gate's own.
    UnderOurId(u8),
    /// A response to something that the gate never asked.
    Response(u8),
}

/// A state that the client was given, counted from the newest.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    /// Among those that were not used.
    Unused(u8),
    Any(u8),
}

/// How a retry differs from the call that the state was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Another client sends it: still the same call.
    Client,
    /// The request has other metadata: still the same call.
    Meta(Meta),
    /// Members in another order, escapes in keys: still the same call.
    Spelling,
    Arguments,
    /// `1` is written `1.0`.
    Number,
    Tool(u8),
    Task,
    /// The other protocol.
    Legacy,
    /// The state is there twice.
    Twice,
    /// Its key is written in another case.
    Folded,
}

#[derive(Debug, Clone)]
pub(super) enum FromUpstream {
    /// To a client request.
    Answer {
        which: u8,
        how: u8,
    },
    /// To a client's call, counted from the newest; maybe a question.
    Round {
        which: u8,
        how: u8,
    },
    /// To a request that was answered, or never made.
    Again {
        which: u8,
        how: u8,
    },
    /// To a `tools/list` of the gate's own, counted from the newest. If there is none, the upstream
    /// has these tools from now on.
    OwnList {
        which: u8,
        answer: ListAnswer,
    },
    ListChanged,
    /// Some tools are different now.
    Tools(Vec<(u8, u8, u8)>),
    /// The gated tools have other hints or descriptions now.
    Redefined,
    Request(u8),
    Notification,
    UnderOurId(u8),
    /// A yes with the id of a prompt, counted from the newest.
    Spoof(u8),
    /// A response with an id that nobody used.
    Unasked(u8),
    Garbage(u8),
}

#[derive(Debug, Clone)]
pub(super) enum ListAnswer {
    /// The tools that the upstream has.
    True,
    /// Name, hints and description of each; the last says that more pages follow.
    Tools(Vec<(u8, u8, u8)>, bool),
    Error,
    Nonsense(u8),
}

/// What a property is mostly about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    /// Calls, answers to their questions, and all kinds of wrong states.
    Asking,
    /// Questions from the upstream.
    Rounds,
    /// The same calls again, in this session and the next.
    Repeats,
    /// Lists that change all the time.
    Lists,
    /// Everything that is not gated, in all spellings, and hostile lines.
    Traffic,
    /// Logs that fail, sides that close, time that passes.
    Ends,
}

/// The protocol of most calls. Some use the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    Legacy,
    Stateless,
}

/// For sessions that mostly use one protocol.
pub(super) fn setup(era: Era) -> impl Strategy<Value = Setup> {
    let is_legacy = era == Era::Legacy;
    let of = |legacy: u32, stateless: u32| if is_legacy { legacy } else { stateless };
    let rules = (
        prop_oneof![of(6, 9) => Just(0u8), of(2, 1) => Just(1), of(1, 0) => Just(2), of(1, 0) => Just(3)],
        prop_oneof![4 => Just(0u8), of(1, 0) => 1u8..3],
        prop_oneof![4 => Just(0u8), of(1, 0) => 1u8..3],
    );
    let long = if is_legacy { 3u64 } else { 120 };
    let asking = (
        prop_oneof![Just(Some(20u64)), Just(Some(long)), Just(None)],
        prop::bool::weighted(0.27),
        prop_oneof![of(1, 1) => Just(0u32), of(2, 0) => 1u32..3],
        prop::bool::weighted(if is_legacy { 0.5 } else { 0.0 }),
        prop::bool::weighted(if is_legacy { 0.0 } else { 0.1 }),
    );
    let ttl = prop_oneof![
        of(8, 1) => Just(None),
        1 => Just(Some(20_000u64)),
        of(1, 4) => Just(Some(3_600_000)),
    ];
    let life = (
        prop::bool::weighted(if is_legacy { 0.9 } else { 0.2 }),
        prop::bool::weighted(if is_legacy { 0.67 } else { 0.85 }),
        ttl,
        prop::sample::select(vec![Ending::Client, Ending::Upstream, Ending::Closing]),
    );
    (rules, asking, life).prop_map(
        |(
            (mode, allow, deny),
            (timeout_secs, double_confirm, retries, explain, best_effort),
            (shaken, eager, list_ttl_ms, ending),
        )| Setup {
            mode,
            allow,
            deny,
            timeout_secs,
            double_confirm,
            best_effort,
            retries,
            explain,
            shaken,
            eager,
            list_ttl_ms,
            ending,
            ..Setup::usual()
        },
    )
}

pub(super) fn steps(era: Era, theme: Theme) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(era, theme), 1..60)
}

fn step(era: Era, theme: Theme) -> impl Strategy<Value = Step> {
    let is_legacy = era == Era::Legacy;
    let (upstream, rounds, wait, log, close) = match theme {
        Theme::Asking | Theme::Repeats if is_legacy => (20, 0, 4, 0, 0),
        Theme::Asking | Theme::Repeats => (6, 0, 3, 0, 0),
        Theme::Rounds => (30, 6, 2, 0, 0),
        Theme::Lists => (18, 0, 2, 0, 0),
        Theme::Traffic => (15, 0, 2, 0, 0),
        Theme::Ends => (15, if is_legacy { 0 } else { 1 }, 5, 3, 1),
    };
    let time = prop_oneof![
        2 => 1u64..20,
        1 => 245u64..256,
        3 => 1_000u64..6_000,
        2 => 10_000u64..90_000,
        u32::from(!is_legacy) => Just(3_600_000),
    ];
    let drains = if is_legacy { wait.max(3) } else { 1 };
    prop_oneof![
        40 => from_client(era, theme).prop_map(|one| Step::Client(vec![one])),
        3 => prop::collection::vec(from_client(era, theme), 2..5).prop_map(Step::Client),
        upstream => from_upstream(era, theme).prop_map(|one| Step::Upstream(vec![one])),
        2 => prop::collection::vec(from_upstream(era, theme), 2..5).prop_map(Step::Upstream),
        rounds => (1u8..13).prop_map(Step::Rounds),
        wait => time.clone().prop_map(Step::WaitMillis),
        1 => time.prop_map(Step::LateMillis),
        drains => Just(Step::Drained),
        2 * log => prop_oneof![
            4 => Just(Step::BreakLog),
            8 => Just(Step::MendLog),
            3 => Just(Step::Heard(false)),
            9 => Just(Step::Heard(true)),
        ],
        close => prop_oneof![Just(Step::CloseClient), Just(Step::CloseUpstream)],
    ]
}

fn id() -> impl Strategy<Value = IdPick> {
    prop_oneof![
        6 => Just(IdPick::Fresh),
        1 => Just(IdPick::FreshText),
        2 => (0u8..12).prop_map(IdPick::Pool),
    ]
}

fn words(era: Era) -> impl Strategy<Value = Words> {
    let meta = prop_oneof![
        20 => Just(Meta::Usual),
        1 => Just(Meta::NoForms),
        1 => Just(Meta::Bare),
        1 => Just(Meta::Unknown),
    ];
    let client = prop_oneof![4 => Just(0u8), 1 => Just(1)];
    let (legacy, stateless) = match era {
        Era::Legacy => (9, 1),
        Era::Stateless => (1, 7),
    };
    prop_oneof![
        legacy => Just(Words::Legacy),
        stateless => (client, meta).prop_map(|(client, meta)| Words::Stateless { client, meta }),
    ]
}

fn call(era: Era, theme: Theme) -> impl Strategy<Value = FromClient> {
    let is_legacy = era == Era::Legacy;
    let (own, few) = match (era, theme) {
        (Era::Legacy, Theme::Repeats) => (2, 0),
        (Era::Legacy, _) => (6, 0),
        (Era::Stateless, _) => (1, 8),
    };
    let args = prop_oneof![
        own => (0u8..6).prop_map(Args::Own),
        few => (0u8..5).prop_map(Args::Few),
        2 => any::<u8>().prop_map(Args::Same),
        1 => any::<u8>().prop_map(Args::Twin),
    ];
    // Stateless calls are mostly gated.
    let gated = if is_legacy { 0 } else { 5 };
    let tool = prop_oneof![gated => 1u8..3, 4 => 0u8..8];
    let odd = (
        any::<bool>(),
        prop::bool::weighted(if is_legacy { 0.16 } else { 0.02 }),
        prop::bool::weighted(0.04),
        0u8..6,
    );
    (id(), words(era), tool, args, odd).prop_map(
        |(id, words, tool, args, (token, task, bare_answers, spelling))| FromClient::Call {
            id,
            words,
            tool,
            args,
            token,
            task,
            bare_answers: bare_answers && words != Words::Legacy,
            spelling,
        },
    )
}

fn from_client(era: Era, theme: Theme) -> impl Strategy<Value = FromClient> {
    let is_legacy = era == Era::Legacy;
    let (calls, answers, others) = match theme {
        Theme::Asking | Theme::Repeats | Theme::Rounds => (24, 28, 1),
        Theme::Lists => (24, 24, 1),
        Theme::Traffic => (20, 8, 10),
        Theme::Ends => (24, 14, 2),
    };
    let (answers, retries) = match era {
        Era::Legacy => (answers, 3),
        Era::Stateless => (4, 2 * answers),
    };
    let forged = if !is_legacy && theme == Theme::Asking {
        10
    } else {
        2
    };
    let (sessions, cancels) = match theme {
        Theme::Repeats => (if is_legacy { 3 } else { 1 }, 2),
        Theme::Ends => (1, 3),
        _ => (u32::from(is_legacy), 2),
    };
    // Mostly the newest prompt, mostly a plain yes.
    let prompt = prop_oneof![5 => Just(0u8), 3 => 1u8..4, 1 => any::<u8>()];
    let how = prop_oneof![5 => 0u8..2, 3 => 2u8..20, 1 => Just(10u8)];
    let answer = prop_oneof![5 => Just(0u8), 4 => 1u8..20];
    let change = prop_oneof![24 => Just(Change::None), 7 => change()];
    prop_oneof![
        calls => call(era, theme),
        answers => (prompt, how).prop_map(|(prompt, how)| FromClient::Answer { prompt, how }),
        retries => (id(), which(), answer, change).prop_map(|(id, state, answer, change)| {
            FromClient::Retry { id, state, answer, change }
        }),
        forged => (id(), which(), 0u8..10)
            .prop_map(|(id, state, how)| FromClient::Forged { id, state, how }),
        cancels => any::<u8>().prop_map(FromClient::Cancel),
        4 * others => prop_oneof![
            (id(), 0u8..8, 0u8..HOSTILE_KINDS)
                .prop_map(|(id, tool, kind)| FromClient::Hostile { id, tool, kind }),
            (id(), 0u8..6, 0u8..6).prop_map(|(id, method, spelling)| FromClient::Request {
                id,
                method,
                spelling
            }),
            any::<u8>().prop_map(FromClient::Notification),
            any::<u8>().prop_map(FromClient::Response),
        ],
        1 => any::<u8>().prop_map(FromClient::UnderOurId),
        sessions => prop_oneof![
            (id(), prop::bool::weighted(if is_legacy { 0.5 } else { 1.0 }))
                .prop_map(|(id, forms)| FromClient::Initialize { id, forms }),
            Just(FromClient::Initialized),
        ],
    ]
}

/// How many kinds of hostile lines `lines` knows.
pub(super) const HOSTILE_KINDS: u8 = 33;

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

fn from_upstream(era: Era, theme: Theme) -> impl Strategy<Value = FromUpstream> {
    let (lists, others) = match theme {
        Theme::Lists => (12, 1),
        Theme::Traffic => (3, 6),
        _ => (4, 1),
    };
    let (answers, rounds, lies) = match era {
        Era::Legacy => (8, 1, 8),
        Era::Stateless if theme == Theme::Rounds => (1, 24, 0),
        Era::Stateless => (1, 9, 0),
    };
    let redefined = if era == Era::Stateless { lists } else { 1 };
    let tools = || prop::collection::vec((0u8..8, 0u8..8, 0u8..2), 0..8);
    let answer = prop_oneof![
        4 => Just(ListAnswer::True),
        lies => (tools(), prop::bool::weighted(0.2))
            .prop_map(|(tools, more)| ListAnswer::Tools(tools, more)),
        1 => Just(ListAnswer::Error),
        u32::from(lies > 0) => (0u8..4).prop_map(ListAnswer::Nonsense),
    ];
    let which = || prop_oneof![6 => Just(0u8), 1 => any::<u8>()];
    let how = prop_oneof![2 => 0u8..10, 1 => 1u8..3];
    prop_oneof![
        answers => (any::<u8>(), 0u8..8).prop_map(|(which, how)| FromUpstream::Answer { which, how }),
        rounds => (which(), how).prop_map(|(which, how)| FromUpstream::Round { which, how }),
        1 => (which(), 0u8..10).prop_map(|(which, how)| FromUpstream::Again { which, how }),
        lists => (which(), answer).prop_map(|(which, answer)| FromUpstream::OwnList { which, answer }),
        lists / 3 => Just(FromUpstream::ListChanged),
        redefined => prop_oneof![
            1 => Just(FromUpstream::Redefined),
            2 => tools().prop_map(FromUpstream::Tools),
        ],
        3 * others => prop_oneof![
            any::<u8>().prop_map(FromUpstream::Request),
            Just(FromUpstream::Notification),
            (0u8..7).prop_map(FromUpstream::Garbage),
        ],
        4 => prop_oneof![
            1 => any::<u8>().prop_map(FromUpstream::UnderOurId),
            2 => (0u8..4).prop_map(FromUpstream::Spoof),
            1 => any::<u8>().prop_map(FromUpstream::Unasked),
        ],
    ]
}
