//! Every reason to refuse a call, even if no story leads to it.
//!
//! The scenes test when a call is refused for which reason.

use std::time::Duration;

use serde_json::Value;

use super::official::Revision::{V2024_11_05, V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28};
use super::official::{Official, To};
use super::{REFUSAL, kind};
use crate::gate::handshake::CannotAsk;
use crate::gate::held::Era;
use crate::gate::refusal::{Explanation, Refusal, refused_result};
use crate::gate::verdict::ClientNo;
use crate::gate::{EngineId, Failure};
use crate::mcp::elicit::{Fault, No};
use crate::mcp::message::RequestId;
use crate::mcp::revision;
use crate::policy::{Mode, Risk, RuleCode};

/// Characters that are difficult in JSON and for people.
const ODD: &str = "\"\\\u{0}\u{1f}\u{7f}\u{85}\u{2028}\u{202e}\u{feff}😀\r\n";

/// All reasons. The compiler demands that a new one is added here.
fn all() -> Vec<Refusal> {
    let first = Refusal::Denied { reason: None };
    std::iter::successors(Some(first), next).collect()
}

fn next(refusal: &Refusal) -> Option<Refusal> {
    Some(match refusal {
        Refusal::Denied { reason: None } => Refusal::Denied {
            reason: Some(ODD.repeat(200)),
        },
        Refusal::Denied { reason: Some(_) } => Refusal::Blocked,
        Refusal::Blocked => Refusal::TimedOut,
        Refusal::TimedOut => Refusal::CannotAsk(CannotAsk::NoCapability),
        Refusal::CannotAsk(CannotAsk::NoCapability) => Refusal::CannotAsk(CannotAsk::Unanswered),
        Refusal::CannotAsk(CannotAsk::Unanswered) => Refusal::CannotAsk(CannotAsk::NoHandshake),
        Refusal::CannotAsk(CannotAsk::NoHandshake) => {
            Refusal::CannotAsk(CannotAsk::Revision(revision::Revision::from_name(ODD)))
        }
        Refusal::CannotAsk(CannotAsk::Revision(_)) => Refusal::CannotAsk(CannotAsk::ClientGone),
        Refusal::CannotAsk(CannotAsk::ClientGone) => Refusal::Cancelled,
        Refusal::Cancelled => Refusal::NewSession,
        Refusal::NewSession => Refusal::BeforeHandshake,
        Refusal::BeforeHandshake => Refusal::ClientError(ODD.into()),
        Refusal::ClientError(_) => Refusal::KeepsChanging,
        Refusal::KeepsChanging => Refusal::ChangedBetweenRounds,
        Refusal::ChangedBetweenRounds => Refusal::UnknownState,
        Refusal::UnknownState => Refusal::SpentState,
        Refusal::SpentState => Refusal::NotRecorded,
        Refusal::NotRecorded => Refusal::EngineFailed {
            engine: EngineId::new("command"),
            failure: Failure::unreachable(ODD),
        },
        Refusal::EngineFailed { .. } => Refusal::TooLargeToShow,
        Refusal::TooLargeToShow => Refusal::Parked("0123456789abcdef".into()),
        Refusal::Parked(_) => Refusal::CannotAsk(CannotAsk::NoChannel),
        Refusal::CannotAsk(CannotAsk::NoChannel) => Refusal::CannotAsk(CannotAsk::Anonymous),
        Refusal::CannotAsk(CannotAsk::Anonymous) => Refusal::TooWeak,
        Refusal::TooWeak => Refusal::Dismissed,
        Refusal::Dismissed => Refusal::InvalidAnswer(Fault::Missing),
        Refusal::InvalidAnswer(_) => Refusal::TooFast {
            no: ClientNo {
                reason: Some(ODD.repeat(200)),
                how: No::Declined,
                took: Duration::MAX,
            },
            item: None,
        },
        Refusal::TooFast { no, item: None } => Refusal::TooFast {
            no: no.clone(),
            item: Some("0123456789abcdef".into()),
        },
        Refusal::TooFast { item: Some(_), .. } => Refusal::DeniedBefore {
            ago: u64::MAX,
            left: u64::MAX,
            item: None,
        },
        Refusal::DeniedBefore { item: None, .. } => Refusal::DeniedBefore {
            ago: 0,
            left: 0,
            item: Some("0123456789abcdef".into()),
        },
        Refusal::DeniedBefore { item: Some(_), .. } => return None,
    })
}

#[test]
fn every_refusal_is_a_result_of_its_revision() {
    let ids = [
        RequestId::Integer(0),
        RequestId::Integer(i64::MIN),
        RequestId::Number("12345678901234567890123".into()),
        RequestId::Text("".into()),
        RequestId::Text(ODD.into()),
    ];
    let explanation = Explanation {
        risk: Risk::High,
        mode: Mode::All,
        rule: RuleCode::ModeAll,
        why: ODD.into(),
    };
    for refusal in all() {
        for (id, explanation) in ids
            .iter()
            .zip([None, Some(&explanation)].into_iter().cycle())
        {
            for revision in [
                V2024_11_05,
                V2025_03_26,
                V2025_06_18,
                V2025_11_25,
                V2026_07_28,
            ] {
                let era = if revision < V2026_07_28 {
                    Era::Legacy
                } else {
                    Era::Stateless
                };
                let text = refused_result(id, ODD, era, &refusal, explanation);
                let result: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(kind(&result), REFUSAL);
                if let Some(official) = Official::of(revision) {
                    official
                        .check(To::Client, &result)
                        .unwrap_or_else(|fault| panic!("{refusal:?}: {fault}"));
                }
            }
        }
    }
}
