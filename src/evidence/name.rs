//! File names for the logs in the state folder, one per server.

/// The folder of the logs in the state folder.
pub const LOGS: &str = "audit";
/// How many bytes of a server's name are kept.
const LONGEST: usize = 64;
/// How many hexadecimal digits of the name's digest distinguish similar file names.
const DIGITS: usize = 16;

/// Returns the file name of the log of `server`: always the same for one server, and different for
/// each server.
///
/// A plain name gives `NAME.jsonl`. In any other name, special characters become `_`, and a digest
/// of the whole name is added.
#[must_use]
pub fn log_name(server: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let plain: String = server
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .take(LONGEST)
        .collect();
    let plain = match plain.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => plain,
    };
    if plain == server && !plain.is_empty() && !ends_like_a_digest(server) && !may_collide(server) {
        return format!("{plain}.jsonl");
    }
    let digest = blake3::hash(server.as_bytes()).to_hex();
    format!("{plain}-{}.jsonl", digest.get(..DIGITS).unwrap_or_default())
}

/// Returns true for a plain name that looks as if a digest had been added.
fn ends_like_a_digest(name: &str) -> bool {
    let Some((_, end)) = name.rsplit_once('-') else {
        return false;
    };
    end.len() == DIGITS && end.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns true if the file system may treat `Box` and `box` as the same file.
fn may_collide(name: &str) -> bool {
    cfg!(target_os = "macos") && name.bytes().any(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_plain_name_is_kept() {
        for name in ["box", "my-server_2.0", "a", "x.jsonl"] {
            assert_eq!(log_name(name), format!("{name}.jsonl"));
        }
    }

    #[test]
    fn no_name_leaves_the_folder_hides_its_file_or_is_too_long() {
        let names = [
            "",
            ".",
            "..",
            "../../etc/passwd",
            "/",
            ".hidden",
            "a\0b",
            "a\nb",
            "\u{e9}",
        ];
        let long = ["n".repeat(5000), "\u{fc}".repeat(300), "n".repeat(65)];
        for name in names.into_iter().chain(long.iter().map(String::as_str)) {
            let file = log_name(name);
            assert!(
                file.len() <= LONGEST + 1 + DIGITS + ".jsonl".len(),
                "{file}"
            );
            assert!(
                !file.starts_with('.') && !file.contains(['/', '\0', '\n']),
                "{file}"
            );
            assert!(file.is_ascii() && file.ends_with(".jsonl"), "{file}");
        }
    }

    #[test]
    fn no_two_names_share_a_file() {
        let mut names = vec![
            "a b", "a_b", "a/b", "a.b", "", "_", "-", ".a", "_a", "\u{e9}", "\u{e8}",
        ]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
        names.extend([64, 65, 66].map(|length| "n".repeat(length)));
        // The names that an operator would need to choose to reach another server's file.
        let forged: Vec<String> = names
            .iter()
            .map(|name| log_name(name).trim_end_matches(".jsonl").to_owned())
            .filter(|forged| !names.contains(forged))
            .collect();
        names.extend(forged);
        let files: BTreeSet<String> = names.iter().map(|name| log_name(name)).collect();
        assert_eq!(files.len(), names.len(), "{names:?}");
    }
}
