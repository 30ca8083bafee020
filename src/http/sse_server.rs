//! A server that speaks HTTP+SSE of 2024-11-05: one stream for all that it says, one URL for all
//! that it is told.
//!
//! SPEC 2024-11-05, "HTTP with SSE".

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::task::JoinSet;

use super::body::one_line;
use super::lines::Lines;
use super::remote::{Peer, Unsent};
use super::sse::{Decoder, Event};
use crate::mcp::frame::Frame;

/// How long the server has to name its other URL, and to take a message.
const TIME: Duration = Duration::from_secs(30);

/// Relays until either side closes.
pub(super) async fn run(peer: Arc<Peer>, mut lines: Lines) -> &'static str {
    let request = peer.get(peer.url());
    let mut response = match peer.send(request, Some(TIME)).await {
        Ok(response) if response.status().is_success() => response,
        Ok(response) => {
            tracing::error!("the server answered {}", response.status());
            return "did not open its stream";
        }
        Err(error) => {
            tracing::error!("{}", error.why());
            return match error {
                Unsent::Unreachable(_) => "cannot be reached",
                Unsent::Late => "did not open its stream in time",
                Unsent::NoToken(_) => "wants a login",
            };
        }
    };
    let mut decoder = Decoder::new(peer.max_message());
    let mut events = Vec::new();
    let mut endpoint = None;
    let mut waiting: Option<String> = None;
    let mut posts = JoinSet::new();
    loop {
        let has_room = waiting.is_none();
        tokio::select! {
            chunk = response.chunk() => {
                let Ok(Some(chunk)) = chunk else {
                    return "has closed its stream";
                };
                if decoder.push(&chunk, &mut events).is_err() {
                    return "sent a message larger than --max-message-size";
                }
                for event in events.drain(..) {
                    match &*event.name {
                        "endpoint" if endpoint.is_none() => {
                            endpoint = resolve(&peer.url(), &event);
                            if endpoint.is_none() {
                                return "names a URL of another origin for its messages";
                            }
                        }
                        "message" => match one_line(&event.data) {
                            Ok(line) if !line.is_empty() => peer.tell(&line).await,
                            Ok(_) => {}
                            Err(why) => tracing::warn!("the server sent an event that is no message: {why}"),
                        },
                        _ => {}
                    }
                }
            }
            frame = lines.next(), if has_room => {
                let Some(frame) = frame else {
                    return "closed";
                };
                if let Frame::Line(range) = frame
                    && let Ok(line) = std::str::from_utf8(lines.line(&range))
                {
                    waiting = Some(line.to_owned());
                }
            }
            // While a message is on its way the stream is read on: the server may want an answer
            // before it takes the next one.
            Some(sent) = posts.join_next(), if !posts.is_empty() => {
                if let Ok(Err(why)) = sent {
                    return why;
                }
            }
        }
        // One after the other: the server may rely on their order.
        if posts.is_empty()
            && let Some(url) = &endpoint
            && let Some(line) = waiting.take()
        {
            posts.spawn(post(Arc::clone(&peer), url.clone(), line));
        }
    }
}

/// Sends a message; an error is why the session ends.
async fn post(peer: Arc<Peer>, url: Url, line: String) -> Result<(), &'static str> {
    let request = peer.post(url, line);
    match peer.send(request, Some(TIME)).await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => {
            tracing::error!("the server answered {} to a message", response.status());
            Err("did not take a message")
        }
        Err(error) => {
            tracing::error!("{}", error.why());
            Err(match error {
                Unsent::Unreachable(_) => "cannot be reached",
                Unsent::Late => "did not take a message in time",
                Unsent::NoToken(_) => "wants a login",
            })
        }
    }
}

/// The URL for messages: on the server itself, nowhere else.
fn resolve(base: &Url, event: &Event) -> Option<Url> {
    let text = std::str::from_utf8(&event.data).ok()?;
    let mut url = base.join(text.trim()).ok()?;
    if url.origin() != base.origin() {
        return None;
    }
    // The credentials are the operator's, and go as a header.
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_to_the_server_itself_and_nowhere_else() {
        let base = Url::parse("https://a.example/x/sse").unwrap();
        let resolved = |text: &str| {
            let event = Event {
                data: text.into(),
                ..Event::default()
            };
            resolve(&base, &event).map(|url| url.to_string())
        };
        assert_eq!(resolved("/m?s=1").unwrap(), "https://a.example/m?s=1");
        assert_eq!(resolved("m").unwrap(), "https://a.example/x/m");
        assert_eq!(
            resolved("https://mallory:x@a.example/m").unwrap(),
            "https://a.example/m"
        );
        for text in [
            "https://b.example/m",
            "//b.example/m",
            "http://a.example/m",
            "file:///m",
        ] {
            assert_eq!(resolved(text), None, "{text}");
        }
    }
}
