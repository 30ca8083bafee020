//! The client that waits for a tool call: hears that the call goes on, and may cancel it.

use std::pin::pin;
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::ProgressNotificationParam;
use rmcp::service::RequestContext;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How often a client hears that the call goes on. Clients give up after 30 s or more without a word.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// The client behind one call.
#[derive(Debug)]
pub(super) struct Caller(RequestContext<RoleServer>);

impl Caller {
    pub(super) fn of(context: RequestContext<RoleServer>) -> Caller {
        Caller(context)
    }

    /// Does `work`, and meanwhile tells the client that a person is being asked. Returns `None` if the client cancels the
    /// call.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let began = Instant::now();
        let mut ticks = interval_at(began + PROGRESS_EVERY, PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut telling = pin!(async {
            loop {
                ticks.tick().await;
                self.tell(began.elapsed()).await;
            }
        });
        tokio::select! {
            biased;
            done = &mut work => Some(done),
            () = self.0.ct.cancelled() => None,
            // Never ends. Beside the work, so that a client that does not read holds nothing up.
            () = &mut telling => None,
        }
    }

    async fn tell(&self, elapsed: Duration) {
        let context = &self.0;
        // Without a token, the client does not want to hear of it.
        let Some(token) = context.meta.get_progress_token() else {
            return;
        };
        let progress = ProgressNotificationParam::new(token, elapsed.as_secs_f64())
            .with_message("a person is being asked");
        // If it does not arrive, the client may only give up earlier.
        let _ = context.peer.notify_progress(progress).await;
    }
}
