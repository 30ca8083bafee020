//! `approval-proxy inbox --pair` and `--devices`: pairs phones with the inbox's page, lists them and revokes them.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use tokio::time::interval;

use super::{InboxError, Signals};
use crate::approval::display::quoted_text;
use crate::cli::exit_code;
use crate::engines::inbox::log::{DeviceEvent, InboxLog};
use crate::engines::inbox::page::{CODE_LIFE, PairingCode};
use crate::engines::inbox::page_server::PageServer;
use crate::engines::inbox::remote::PageUrl;
use crate::engines::inbox::store::{Device, Devices, MAX_WRONG_CODES, Offer, StoreError};
use crate::sys::clock::Clock;
use crate::sys::state_dir::StateDir;
use crate::sys::time::short_span;
use crate::sys::with_causes;

/// How often to look whether a device has used the code.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many characters of a device's name are shown.
const NAME_LIMIT: usize = 64;
/// How many characters of an id are enough, if only one device's id begins with them.
const SHORTEST_ID: usize = 4;

/// How pairing ended.
pub(super) enum Pairing {
    /// A device is paired.
    Done,
    /// The command ends with this code.
    Ended(u8),
}

/// Shows a code and waits until a device has used it, or until it is no longer valid.
pub(super) async fn pair(
    dir: &StateDir,
    page: &PageUrl,
    page_server: &mut PageServer,
    devices: &mut dyn Devices,
    signals: &mut Signals,
) -> Result<Pairing, InboxError> {
    let clock = Clock::start();
    let code =
        PairingCode::random().map_err(|error| InboxError::System(io::Error::other(error)))?;
    let hash = code.hash(&dir.secret()?);
    devices.offer(&hash, clock.now().unix_ms.saturating_add(CODE_LIFE))?;
    show(&code, page, &mut io::stdout()).map_err(InboxError::Terminal)?;
    let mut ticks = interval(LOOK_EVERY);
    let mut is_reported = false;
    loop {
        tokio::select! {
            number = signals.next() => {
                withdraw(&hash, devices, clock.now().unix_ms)?;
                return Ok(Pairing::Ended(exit_code::for_signal(number)));
            }
            _ = ticks.tick() => {}
        }
        if let Err(error) = page_server.find_or_serve_remote()
            && !std::mem::replace(&mut is_reported, true)
        {
            tracing::error!("{}", with_causes(&error));
        }
        let now_ms = clock.now().unix_ms;
        let offer = devices.offered(&hash, now_ms)?;
        let why = match offer {
            Offer::Open => continue,
            Offer::Used(id) => {
                let paired = devices.devices(now_ms)?;
                if let Some(device) = paired.iter().find(|device| device.id == id) {
                    let name = quoted_text(&device.name, NAME_LIMIT);
                    say(&format!("Paired: device {id}, {name}\n"))?;
                    return Ok(Pairing::Done);
                }
                "it cannot be recorded; `approval-proxy doctor` says whether the audit log can be written"
                    .to_owned()
            }
            Offer::Void => format!(
                "{MAX_WRONG_CODES} wrong codes were entered, so this one is no longer valid; run `approval-proxy inbox --pair` again"
            ),
            Offer::Gone => {
                "the code is no longer valid: its five minutes are over, or another one replaced it"
                    .to_owned()
            }
        };
        tracing::error!("no device was paired: {why}");
        return Ok(Pairing::Ended(exit_code::NOBODY_DECIDED));
    }
}

/// Makes a code invalid. Attack: somebody has read it, and its owner, who noticed, has pressed Ctrl-C.
fn withdraw(code: &[u8; 32], devices: &mut dyn Devices, now_ms: i64) -> Result<(), StoreError> {
    match devices.offered(code, now_ms)? {
        Offer::Open => devices.offer(code, now_ms),
        // Another code may have replaced it.
        Offer::Used(_) | Offer::Void | Offer::Gone => Ok(()),
    }
}

/// Shows the code, also as a picture that a phone scans.
fn show(code: &PairingCode, page: &PageUrl, out: &mut (impl Write + IsTerminal)) -> io::Result<()> {
    let picture = QrCode::with_error_correction_level(code.link(page), EcLevel::L);
    let picture = picture
        .map_err(io::Error::other)?
        .render::<Dense1x2>()
        .build();
    writeln!(
        out,
        "Scan this with your phone, or open {}pair there and enter the code:\n",
        page.address()
    )?;
    let is_terminal = out.is_terminal();
    for line in picture.lines() {
        match is_terminal {
            // Dark on light, whatever the terminal's colours: not every camera reads the reverse.
            true => writeln!(out, "  \u{1b}[30;107m{line}\u{1b}[0m")?,
            false => writeln!(out, "  {line}")?,
        }
    }
    writeln!(
        out,
        "\n  {}\n\nIt works once, for five minutes.",
        code.shown()
    )?;
    out.flush()
}

/// Lists the paired devices.
pub(super) fn list(devices: &mut dyn Devices) -> Result<u8, InboxError> {
    let now_ms = Clock::start().now().unix_ms;
    let devices = devices.devices(now_ms)?;
    say(&table(&devices, now_ms))?;
    Ok(exit_code::OK)
}

fn table(devices: &[Device], now_ms: i64) -> String {
    if devices.is_empty() {
        return "No device is paired.\n".to_owned();
    }
    let mut text = String::from("ID        PAIRED    LAST USED  ENDS IN  NAME\n");
    for device in devices {
        let since = |moment: i64| short_span(now_ms.saturating_sub(moment));
        text.push_str(&format!(
            "{}  {:<8}  {:<9}  {:<7}  {}\n",
            device.id,
            since(device.paired_ms),
            since(device.used_ms),
            short_span(device.until_ms.saturating_sub(now_ms)),
            quoted_text(&device.name, NAME_LIMIT),
        ));
    }
    text
}

/// Ends the pairing with the device whose id is `id`, or begins with it.
pub(super) fn revoke(
    dir: &StateDir,
    devices: &mut dyn Devices,
    id: &str,
) -> Result<u8, InboxError> {
    let known = devices.devices(Clock::start().now().unix_ms)?;
    let id = id.to_ascii_lowercase();
    let is_meant = |device: &&Device| {
        device.id == id || (id.len() >= SHORTEST_ID && device.id.starts_with(&id))
    };
    let mut meant = known.iter().filter(is_meant);
    let (Some(device), None) = (meant.next(), meant.next()) else {
        return Err(InboxError::NoDevice(id));
    };
    if !devices.revoke(&device.id)? {
        return Err(InboxError::NoDevice(id));
    }
    let name = quoted_text(&device.name, NAME_LIMIT);
    say(&format!("Revoked: device {}, {name}\n", device.id))?;
    let recorded =
        InboxLog::new(dir).record(DeviceEvent::Revoked, &device.id, &device.name, "terminal");
    recorded.map_err(InboxError::Unrecorded)?;
    Ok(exit_code::OK)
}

fn say(text: &str) -> Result<(), InboxError> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(InboxError::Terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_is_a_line_whatever_it_is_called() {
        let device = |id: &str, name: &str| Device {
            id: id.to_owned(),
            name: name.to_owned(),
            paired_ms: 0,
            used_ms: 90_000,
            until_ms: 2_592_000_000,
        };
        let devices = [
            device("3f2a91c0", "Ann’s phone"),
            device("c04d5e17", "a\u{1b}[2J\nb"),
        ];
        let text = table(&devices, 100_000);
        assert_eq!(text.lines().count(), 3);
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.contains("3f2a91c0  100 s     10 s"), "{text}");
        assert_eq!(table(&[], 0), "No device is paired.\n");
    }
}
