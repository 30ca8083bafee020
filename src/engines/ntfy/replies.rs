//! Reads the topic for replies while a question with buttons is open, and connects again when the subscription ends.
//!
//! Written from <https://docs.ntfy.sh/subscribe/api/> ("Subscribe as JSON stream", "Fetch cached messages").
//!
//! Everyone may write to that topic, so every line is an attacker's until its code is known. `carried` knows the codes.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Shared;
use super::carried::Reading;
use crate::gate::{Failure, FailureKind};

/// How long the server may take to begin its answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How long the server may be silent. It sends a sign of life every 45 seconds, unless configured otherwise.
const SILENCE: Duration = Duration::from_secs(150);
/// The longest line that is read, in bytes. A message has up to 4,096, and its title and other members add some.
const MAX_LINE: usize = 64 * 1024;
/// The pauses before connecting again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a subscription must have lasted for the pauses to begin anew.
const LASTED: Duration = Duration::from_secs(30);

/// What a line says.
#[derive(Deserialize)]
struct Event {
    event: String,
    #[serde(default)]
    topic: String,
    /// In seconds since 1970, by the server's clock.
    #[serde(default)]
    time: i64,
    #[serde(default)]
    message: String,
}

/// Reads until it is cancelled.
pub(super) async fn read(shared: Arc<Shared>, reading: watch::Sender<Reading>) {
    let mut reader = Reader {
        shared,
        reading,
        since: None,
    };
    let mut pause = FIRST_PAUSE;
    let mut has_warned = false;
    loop {
        let began = Instant::now();
        let Err(failure) = reader.subscription().await;
        let reading = match failure.kind {
            FailureKind::Misconfigured => Reading::Refused,
            FailureKind::Unreachable | FailureKind::Rejected | FailureKind::RateLimited => {
                Reading::Connecting
            }
        };
        reader.reading.send_replace(reading);
        if began.elapsed() >= LASTED {
            (pause, has_warned) = (FIRST_PAUSE, false);
        }
        // Once is enough.
        if !std::mem::replace(&mut has_warned, true) {
            let engine = reader.shared.context.name.name();
            let why = failure.why;
            tracing::warn!("the engine `{engine}` cannot read replies at the moment: {why}");
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

struct Reader {
    shared: Arc<Shared>,
    reading: watch::Sender<Reading>,
    /// The time of the newest line, by the server's clock. The next subscription also gets what came since then.
    since: Option<i64>,
}

impl Reader {
    /// Reads until the subscription ends.
    async fn subscription(&mut self) -> Result<std::convert::Infallible, Failure> {
        let shared = Arc::clone(&self.shared);
        let Some(reply) = &shared.settings.reply else {
            return Err(Failure::unreachable("there is no topic for replies"));
        };
        let mut url = shared.settings.address(&format!("{reply}/json"));
        if let Some(since) = self.since {
            url.query_pairs_mut()
                .append_pair("since", &since.to_string());
        }
        let request = shared.settings.request(Method::GET, url);
        let mut lines = shared
            .exchange(None)
            .subscribe(request, ANSWER_TIME, MAX_LINE)
            .await?;
        loop {
            let line = lines.next(SILENCE).await?;
            // Anybody may publish anything here, so we skip what is no message.
            let Ok(event) = serde_json::from_slice::<Event>(&line) else {
                continue;
            };
            self.since = self.since.max((event.time > 0).then_some(event.time));
            match &*event.event {
                "open" => {
                    self.reading.send_replace(Reading::Ready);
                }
                "message" if event.topic == *reply => {
                    let code = event.message.trim();
                    shared.carried.decide(code, &shared.settings.approver);
                }
                _ => {}
            }
        }
    }
}
