//! What client, upstream, clock and log may do, and how likely each is.
//!
//! Steps hold small numbers that `world` reads modulo what exists, so that they shrink well.

use proptest::prelude::*;

/// How the operator set the gate up.
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
    /// Whether the handshake is done before the first step.
    pub(super) shaken: bool,
    /// Whether the upstream answers the gate's own `tools/list` and `initialize` at once.
    pub(super) eager: bool,
    pub(super) ending: Ending,
}

/// Who goes first when the steps are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Client,
    Upstream,
    /// The upstream says that it takes no more, and goes later.
    Closing,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// One entry is a line of its own, several are a batch.
    Client(Vec<FromClient>),
    Upstream(Vec<FromUpstream>),
    WaitMillis(u64),
    Drained,
    /// Whether what the client sends is being read.
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
    /// Exactly those of an earlier call.
    Same(u8),
    /// Those of an earlier call, with one number written differently.
    Twin(u8),
}

#[derive(Debug, Clone)]
pub(super) enum FromClient {
    Call {
        id: IdPick,
        tool: u8,
        args: Args,
        token: bool,
        task: bool,
        spelling: u8,
    },
    /// A call or something like one that must be refused.
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
    /// A request under an id of a live request of the gate's own.
    UnderOurId(u8),
    /// A response to something that the gate never asked.
    Response(u8),
}

#[derive(Debug, Clone)]
pub(super) enum FromUpstream {
    /// To a request of the client's, counted from the newest.
    Answer {
        which: u8,
        how: u8,
    },
    /// To a `tools/list` of the gate's own, counted from the newest.
    OwnList {
        which: u8,
        answer: ListAnswer,
    },
    ListChanged,
    Request(u8),
    Notification,
    UnderOurId(u8),
    /// A yes under the id of a prompt, counted from the newest.
    Spoof(u8),
    /// A response under an id that nobody used.
    Unasked(u8),
    Garbage(u8),
}

#[derive(Debug, Clone)]
pub(super) enum ListAnswer {
    /// Name, hints and description of each; the last says that more pages follow.
    Tools(Vec<(u8, u8, u8)>, bool),
    Error,
    Nonsense(u8),
}

/// What a property is mostly about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    /// Calls and answers to their prompts.
    Asking,
    /// The same calls again, in this session and the next.
    Repeats,
    /// Lists that change all the time.
    Lists,
    /// Everything that is not gated, in all spellings, and hostile lines.
    Traffic,
    /// Logs that break, sides that close, time that passes.
    Ends,
}

pub(super) fn setup() -> impl Strategy<Value = Setup> {
    let rules = (
        prop_oneof![6 => Just(0u8), 2 => Just(1), 1 => Just(2), 1 => Just(3)],
        prop_oneof![4 => Just(0u8), 1 => 1u8..3],
        prop_oneof![4 => Just(0u8), 1 => 1u8..3],
    );
    let asking = (
        prop_oneof![Just(Some(20u64)), Just(Some(3)), Just(None)],
        prop_oneof![3 => Just(false), 1 => Just(true)],
        0u32..3,
        any::<bool>(),
    );
    let life = (
        prop_oneof![9 => Just(true), 1 => Just(false)],
        prop_oneof![2 => Just(true), 1 => Just(false)],
        prop::sample::select(vec![Ending::Client, Ending::Upstream, Ending::Closing]),
    );
    (rules, asking, life).prop_map(
        |((mode, allow, deny), (timeout_secs, double_confirm, retries, explain), life)| Setup {
            mode,
            allow,
            deny,
            timeout_secs,
            approve_on_timeout: false,
            ttl_secs: 0,
            double_confirm,
            dry_run: false,
            best_effort: false,
            retries,
            explain,
            shaken: life.0,
            eager: life.1,
            ending: life.2,
        },
    )
}

pub(super) fn steps(theme: Theme) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(theme), 1..60)
}

fn step(theme: Theme) -> impl Strategy<Value = Step> {
    let (calls, wait, log, close) = match theme {
        Theme::Asking | Theme::Repeats => (40, 4, 0, 0),
        Theme::Lists => (30, 3, 0, 0),
        Theme::Traffic => (30, 2, 0, 0),
        Theme::Ends => (30, 6, 3, 1),
    };
    prop_oneof![
        calls => from_client(theme).prop_map(|one| Step::Client(vec![one])),
        calls / 10 => prop::collection::vec(from_client(theme), 2..5).prop_map(Step::Client),
        calls / 2 => from_upstream(theme).prop_map(|one| Step::Upstream(vec![one])),
        calls / 20 => prop::collection::vec(from_upstream(theme), 2..5).prop_map(Step::Upstream),
        wait => prop_oneof![1u64..20, 245u64..256, 1_000u64..6_000, 10_000u64..90_000]
            .prop_map(Step::WaitMillis),
        wait.max(3) => Just(Step::Drained),
        log => prop_oneof![Just(Step::BreakLog), Just(Step::MendLog)],
        log => prop_oneof![
            1 => Just(Step::Heard(false)),
            3 => Just(Step::Heard(true)),
        ],
        close => prop_oneof![Just(Step::CloseClient), Just(Step::CloseUpstream)],
    ]
}

fn id() -> impl Strategy<Value = IdPick> {
    prop_oneof![
        5 => Just(IdPick::Fresh),
        1 => Just(IdPick::FreshText),
        3 => (0u8..12).prop_map(IdPick::Pool),
    ]
}

fn from_client(theme: Theme) -> impl Strategy<Value = FromClient> {
    let (calls, answers, others) = match theme {
        Theme::Asking | Theme::Repeats => (24, 28, 1),
        Theme::Lists => (24, 24, 1),
        Theme::Traffic => (20, 8, 10),
        Theme::Ends => (24, 14, 2),
    };
    let (own, sessions) = match theme {
        Theme::Repeats => (2, 3),
        Theme::Asking | Theme::Lists | Theme::Traffic | Theme::Ends => (6, 1),
    };
    let args = prop_oneof![
        own => (0u8..6).prop_map(Args::Own),
        2 => any::<u8>().prop_map(Args::Same),
        1 => any::<u8>().prop_map(Args::Twin),
    ];
    // Mostly the newest prompt, mostly a plain yes.
    let prompt = prop_oneof![5 => Just(0u8), 3 => 1u8..4, 1 => any::<u8>()];
    let how = prop_oneof![5 => 0u8..2, 3 => 2u8..20, 1 => Just(10u8)];
    let call = (id(), 0u8..8, args, any::<bool>(), any::<u8>(), 0u8..6).prop_map(
        |(id, tool, args, token, task, spelling)| FromClient::Call {
            id,
            tool,
            args,
            token,
            task: task < 40,
            spelling,
        },
    );
    prop_oneof![
        calls => call,
        answers => (prompt, how).prop_map(|(prompt, how)| FromClient::Answer { prompt, how }),
        others => (id(), 0u8..8, 0u8..HOSTILE_KINDS)
            .prop_map(|(id, tool, kind)| FromClient::Hostile { id, tool, kind }),
        2 => any::<u8>().prop_map(FromClient::Cancel),
        others => (id(), 0u8..5, 0u8..6).prop_map(|(id, method, spelling)| FromClient::Request {
            id,
            method,
            spelling
        }),
        others => any::<u8>().prop_map(FromClient::Notification),
        others => any::<u8>().prop_map(FromClient::Response),
        1 => any::<u8>().prop_map(FromClient::UnderOurId),
        sessions => prop_oneof![
            (id(), any::<bool>()).prop_map(|(id, forms)| FromClient::Initialize { id, forms }),
            Just(FromClient::Initialized),
        ],
    ]
}

/// How many kinds of hostile lines `world` knows.
pub(super) const HOSTILE_KINDS: u8 = 33;

fn from_upstream(theme: Theme) -> impl Strategy<Value = FromUpstream> {
    let (lists, others) = match theme {
        Theme::Lists => (12, 1),
        Theme::Traffic => (3, 6),
        Theme::Asking | Theme::Repeats | Theme::Ends => (4, 1),
    };
    let tools = prop::collection::vec((0u8..8, 0u8..8, 0u8..2), 0..8);
    let answer = prop_oneof![
        8 => (tools, prop::bool::weighted(0.2))
            .prop_map(|(tools, more)| ListAnswer::Tools(tools, more)),
        1 => Just(ListAnswer::Error),
        1 => (0u8..4).prop_map(ListAnswer::Nonsense),
    ];
    let which = prop_oneof![6 => Just(0u8), 1 => any::<u8>()];
    prop_oneof![
        8 => (any::<u8>(), 0u8..8).prop_map(|(which, how)| FromUpstream::Answer { which, how }),
        lists => (which, answer)
            .prop_map(|(which, answer)| FromUpstream::OwnList { which, answer }),
        lists / 3 => Just(FromUpstream::ListChanged),
        others => any::<u8>().prop_map(FromUpstream::Request),
        others => Just(FromUpstream::Notification),
        1 => any::<u8>().prop_map(FromUpstream::UnderOurId),
        2 => (0u8..4).prop_map(FromUpstream::Spoof),
        1 => any::<u8>().prop_map(FromUpstream::Unasked),
        others => (0u8..7).prop_map(FromUpstream::Garbage),
    ]
}
