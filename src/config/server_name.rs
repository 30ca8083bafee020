//! The name of a server that no config file names: derived from the command that starts it, or from its URL.
//!
//! Rules of the user configuration and audit logs go by this name, so the same server gets the same name however it is
//! launched.

use std::ffi::OsString;

use reqwest::Url;

/// The name of the server that `program` with `args` starts: the package, script, module or image that a launcher such
/// as `npx` or `docker run` is given, else the program. Scope, version, extension and the words that only say "MCP
/// server" are left out.
pub(super) fn name_of_command(program: &OsString, args: &[OsString]) -> String {
    let words: Vec<String> = std::iter::once(program)
        .chain(args)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let subject = subject(&words)
        .unwrap_or_else(|| Subject::File(words.first().copied().unwrap_or_default()));
    let name = subject.name();
    match name.is_empty() {
        true => "upstream".to_owned(),
        false => name,
    }
}

/// The name of a server behind a URL: its host.
pub(super) fn name_of_url(url: &Url) -> String {
    let host = url.host_str().unwrap_or("upstream");
    // An IPv6 address stands in brackets in a URL.
    host.trim_matches(['[', ']']).to_owned()
}

/// What a command line runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject<'a> {
    /// A program or script.
    File(&'a str),
    /// A package of npm, PyPI and the like.
    Package(&'a str),
    /// A Python module, whose name has dots of its own.
    Module(&'a str),
    /// A container image.
    Image(&'a str),
}

/// What a launcher is asked to run; `None` if the first word is no launcher, or runs nothing that has a name.
fn subject<'a>(words: &[&'a str]) -> Option<Subject<'a>> {
    let (program, rest) = words.split_first()?;
    let program = without_extension(base(program));
    match program {
        "npx" | "bunx" | "pnpx" => package(rest, &NODE_PACKAGE),
        "npm" | "pnpm" | "yarn" | "bun" => {
            let (verb, rest) = rest.split_first()?;
            match *verb {
                "exec" | "x" | "dlx" => package(rest, &NODE_PACKAGE),
                "run" => Some(Subject::File(positional(rest, &NODE)?.0)),
                _ => None,
            }
        }
        "uvx" => package(rest, &UV),
        "uv" => match rest {
            ["tool", "run", rest @ ..] => package(rest, &UV),
            ["run", rest @ ..] => {
                let (found, rest) = positional(rest, &UV)?;
                // `uv run python -m x` and `uv run x` run the same.
                let mut words = vec![found];
                words.extend(rest);
                Some(subject(&words).unwrap_or(Subject::File(found)))
            }
            _ => None,
        },
        "pipx" => match rest {
            ["run", rest @ ..] => package(rest, &PIPX),
            _ => None,
        },
        "node" => Some(Subject::File(positional(rest, &NODE)?.0)),
        "deno" => match rest {
            ["run", rest @ ..] => {
                let found = positional(rest, &NODE)?.0;
                let package = ["npm:", "jsr:"]
                    .iter()
                    .find_map(|kind| found.strip_prefix(kind));
                Some(package.map_or(Subject::File(found), Subject::Package))
            }
            _ => None,
        },
        "docker" | "podman" | "nerdctl" => {
            let (mut verb, mut rest) = positional(rest, &DOCKER_GLOBAL)?;
            if verb == "container" {
                (verb, rest) = positional(rest, &DOCKER_GLOBAL)?;
            }
            (verb == "run").then_some(())?;
            Some(Subject::Image(positional(rest, &DOCKER_RUN)?.0))
        }
        "env" => {
            let (mut found, mut rest) = positional(rest, &ENV)?;
            while found.contains('=') {
                let (next, after) = rest.split_first()?;
                (found, rest) = (next, after);
            }
            let mut words = vec![found];
            words.extend(rest);
            inner(&words)
        }
        "cmd" => match rest {
            [flag, rest @ ..] if flag.eq_ignore_ascii_case("/c") => inner(rest),
            _ => None,
        },
        _ if is_python(program) => python(rest),
        _ => None,
    }
}

/// The command that another one, such as `env`, runs.
fn inner<'a>(words: &[&'a str]) -> Option<Subject<'a>> {
    let program = words.first()?;
    Some(subject(words).unwrap_or(Subject::File(program)))
}

fn package<'a>(words: &[&'a str], options: &Options) -> Option<Subject<'a>> {
    Some(Subject::Package(positional(words, options)?.0))
}

fn is_python(program: &str) -> bool {
    let version = program
        .strip_prefix("python")
        .or_else(|| program.strip_prefix("pypy"));
    version.is_some_and(|version| {
        version
            .chars()
            .all(|each| each.is_ascii_digit() || each == '.')
    })
}

fn python<'a>(words: &[&'a str]) -> Option<Subject<'a>> {
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match *word {
            "-m" => return rest.next().map(|module| Subject::Module(module)),
            "-c" => return None,
            "-W" | "-X" => drop(rest.next()),
            option if option.starts_with('-') && option.len() > 1 => {
                // `-um x`: several options in one word.
                if !option.starts_with("--") && option.ends_with('m') {
                    return rest.next().map(|module| Subject::Module(module));
                }
            }
            script => return Some(Subject::File(script)),
        }
    }
    None
}

/// Which options of a launcher stand alone, and which take the next word as their value.
struct Options {
    values: &'static [&'static str],
    /// Whether every option takes a value, except those in `flags`.
    is_inverted: bool,
    flags: &'static [&'static str],
}

const fn with_values(values: &'static [&'static str]) -> Options {
    Options {
        values,
        is_inverted: false,
        flags: &[],
    }
}

const ENV: Options = with_values(&["-u", "--unset", "-C", "--chdir"]);
const NODE_PACKAGE: Options = with_values(&[
    "-p",
    "--package",
    "-c",
    "--call",
    "-w",
    "--workspace",
    "--registry",
    "--cache",
    "--userconfig",
    "--prefix",
    "--node-options",
]);
const NODE: Options = with_values(&[
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--env-file",
    "--title",
    "--cwd",
    "--config",
    "-c",
    "--import-map",
    "--lock",
    "--cert",
]);
const UV: Options = with_values(&[
    "--from",
    "--with",
    "-w",
    "--with-editable",
    "--with-requirements",
    "-p",
    "--python",
    "--index",
    "--default-index",
    "-i",
    "--index-url",
    "--extra-index-url",
    "-f",
    "--find-links",
    "--directory",
    "--project",
    "--env-file",
    "-c",
    "--constraints",
    "--overrides",
    "--cache-dir",
    "--config-file",
    "--extra",
    "--group",
    "--package",
    "--index-strategy",
    "--keyring-provider",
    "--resolution",
    "--prerelease",
    "--link-mode",
    "--exclude-newer",
    "--refresh-package",
    "--upgrade-package",
    "-P",
    "--color",
]);
const PIPX: Options = with_values(&[
    "--spec",
    "--python",
    "--pip-args",
    "--index-url",
    "-i",
    "--with",
    "--fetch-python",
    "--backend",
]);
const DOCKER_GLOBAL: Options = with_values(&[
    "-c",
    "--context",
    "-H",
    "--host",
    "--config",
    "-l",
    "--log-level",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
    "--connection",
    "--url",
    "--namespace",
    "-n",
    "--address",
    "-a",
]);
const DOCKER_RUN: Options = Options {
    values: &[],
    is_inverted: true,
    flags: &[
        "-i",
        "-t",
        "-d",
        "-P",
        "-q",
        "--interactive",
        "--tty",
        "--detach",
        "--publish-all",
        "--quiet",
        "--rm",
        "--init",
        "--privileged",
        "--read-only",
        "--no-healthcheck",
        "--oom-kill-disable",
        "--disable-content-trust",
        "--sig-proxy",
        "--use-api-socket",
        "--replace",
        "--rmi",
        "--no-hosts",
        "--tls-verify",
        "--env-host",
        "--http-proxy",
        "--help",
    ],
};

impl Options {
    /// Whether the value of this option is the next word.
    fn takes_next(&self, option: &str) -> bool {
        if option.contains('=') {
            return false;
        }
        if !self.is_inverted {
            return self.values.contains(&option);
        }
        if option.starts_with("--") {
            return !self.flags.contains(&option);
        }
        // `-it` is two switches; in `-eNAME` the value is in the same word.
        let mut letters = option.chars().skip(1);
        let is_switch = |letter: char| self.flags.contains(&format!("-{letter}").as_str());
        let first = letters.find(|letter| !is_switch(*letter));
        first.is_some() && letters.next().is_none()
    }
}

/// The first word that is neither an option nor the value of one, and the words behind it.
fn positional<'a, 'b>(words: &'b [&'a str], options: &Options) -> Option<(&'a str, &'b [&'a str])> {
    let mut rest = words;
    loop {
        let (word, after) = rest.split_first()?;
        rest = match *word {
            "--" => {
                let (word, after) = after.split_first()?;
                return Some((word, after));
            }
            option if option.len() > 1 && option.starts_with('-') => {
                match options.takes_next(option) {
                    true => after.get(1..)?,
                    false => after,
                }
            }
            word => return Some((word, after)),
        };
    }
}

impl Subject<'_> {
    fn name(self) -> String {
        match self {
            Subject::File(path) => plain(without_extension(base(path))),
            Subject::Module(module) => plain(module),
            Subject::Image(image) => {
                let image = image.split('@').next().unwrap_or_default();
                let (owner, name) = split_owner(image);
                named(owner, name.split(':').next().unwrap_or_default())
            }
            Subject::Package(package) => package_name(package),
        }
    }
}

/// The name of a package: `@scope/name@version`, `name[extra]==version`, a URL of a repository, or a file.
fn package_name(package: &str) -> String {
    let is_url = package.contains("://") || package.starts_with("github:");
    if is_url {
        let path = package.split(['#', '?']).next().unwrap_or_default();
        let (owner, name) = split_owner(path.trim_end_matches('/'));
        let name = name.split('@').next().unwrap_or_default();
        return named(owner, name.strip_suffix(".git").unwrap_or(name));
    }
    if package.starts_with(['.', '/', '~'])
        || package.ends_with(".tgz")
        || package.ends_with(".whl")
    {
        return Subject::File(package).name();
    }
    let (owner, name) = split_owner(package);
    let name = name
        .split(['@', '=', '<', '>', '~', '!', '[', ';', ' '])
        .next()
        .unwrap_or_default();
    named(owner.trim_start_matches('@'), name)
}

/// What stands before the last slash, without what stands before the slash in front of that, and what stands behind.
fn split_owner(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some((before, name)) => (base(before), name),
        None => ("", path),
    }
}

/// The name without the words that say "MCP server"; the owner's if nothing else is left of it.
fn named(owner: &str, name: &str) -> String {
    match matches!(name, "mcp" | "server" | "mcp-server" | "mcp_server") && !owner.is_empty() {
        true => plain(owner),
        false => plain(name),
    }
}

/// `name` without the prefixes and suffixes that only say that it is an MCP server.
fn plain(name: &str) -> String {
    let is_end = |rest: &str| !rest.is_empty();
    let shorter = |found: Option<&str>| found.filter(|rest| is_end(rest)).map(str::to_owned);
    let mut name = name.to_owned();
    for prefix in [
        "mcp-server-",
        "mcp_server_",
        "server-",
        "server_",
        "mcp-",
        "mcp_",
    ] {
        if let Some(rest) = shorter(name.strip_prefix(prefix)) {
            name = rest;
            break;
        }
    }
    for suffix in ["-mcp-server", "_mcp_server", "-mcp", "_mcp"] {
        if let Some(rest) = shorter(name.strip_suffix(suffix)) {
            name = rest;
            break;
        }
    }
    name
}

fn base(path: &str) -> &str {
    let path = path.trim_end_matches(['/', '\\']);
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// `name` without the extension of a program or script.
fn without_extension(name: &str) -> &str {
    const EXTENSIONS: [&str; 24] = [
        "js", "mjs", "cjs", "jsx", "ts", "mts", "cts", "tsx", "py", "pyz", "pyw", "rb", "pl",
        "php", "sh", "bash", "ps1", "bat", "cmd", "exe", "com", "jar", "tgz", "whl",
    ];
    match name.rsplit_once('.') {
        Some((stem, extension))
            if !stem.is_empty()
                && EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()) =>
        {
            stem
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(line: &str) -> String {
        let mut words = line.split_whitespace().map(OsString::from);
        let program = words.next().unwrap_or_default();
        name_of_command(&program, &words.collect::<Vec<_>>())
    }

    /// Command lines of real servers, as their documentation gives them, and the names that policies hang on.
    #[test]
    fn the_name_of_a_server_follows_from_its_command() {
        for (line, expected) in [
            // npm
            (
                "npx -y @modelcontextprotocol/server-filesystem@1.2 /x",
                "filesystem",
            ),
            (
                "npx @modelcontextprotocol/server-everything stdio",
                "everything",
            ),
            ("npx --yes @upstash/context7-mcp --api-key x", "context7"),
            ("npx -y @notionhq/notion-mcp-server", "notion"),
            (
                "npx -y @supabase/mcp-server-supabase@latest --read-only",
                "supabase",
            ),
            ("npx -y firecrawl-mcp", "firecrawl"),
            ("npx -y tavily-mcp@0.2.1", "tavily"),
            ("npx @playwright/mcp@latest", "playwright"),
            ("npx @sentry/mcp-server@latest", "sentry"),
            ("npx -y -p @acme/tools acme-mail --port 1", "acme-mail"),
            ("npx -y -- server-memory", "memory"),
            ("bunx weather-mcp-server", "weather"),
            ("npm exec -y @acme/mcp-mail -- --x", "mail"),
            ("pnpm dlx notes-mcp", "notes"),
            (
                "cmd /c npx -y @modelcontextprotocol/server-github",
                "github",
            ),
            (
                "env DEBUG=1 npx -y mcp-remote https://a.example/sse",
                "remote",
            ),
            ("env -i -u B -C /srv A=1 node notes-mcp.js", "notes"),
            // PyPI
            ("uvx mcp-server-git --repository .", "git"),
            ("uvx mcp-server-time@2.0.1 --local-timezone UTC", "time"),
            (
                "uvx --from git+https://github.com/oraios/serena serena start-mcp-server",
                "serena",
            ),
            (
                "uvx --python 3.12 mcp-server-fetch[socks]==2025.1.17",
                "fetch",
            ),
            ("uvx git+https://github.com/acme/jira-mcp.git@v2", "jira"),
            ("uv tool run mcp-server-sqlite --db-path a.db", "sqlite"),
            ("uv --version", "uv"),
            ("uv run --directory /srv/weather weather.py", "weather"),
            ("uv run --with mcp python -m notes_server", "notes_server"),
            ("pipx run mcp-server-fetch", "fetch"),
            (
                "pipx run --spec mcp-server-time==2.0 mcp-server-time",
                "time",
            ),
            ("python -m notes_server", "notes_server"),
            ("/usr/bin/python3.11 -u -m mcp_server_git", "git"),
            ("python3 -W ignore /srv/x/weather.py --port 1", "weather"),
            ("python3 -c pass", "python3"),
            // Scripts and programs
            ("node /srv/x/tickets-mcp.js --port 1", "tickets"),
            ("node --import ./register.mjs build/index.js", "index"),
            ("deno run -A npm:@acme/mcp-server-mail@1", "mail"),
            ("/opt/bin/sqlite-mcp", "sqlite"),
            ("/opt/bin/github-mcp-server stdio", "github"),
            ("C:\\tools\\notes-mcp.exe", "notes"),
            ("inbox list", "inbox"),
            ("mcp-server-", "server-"),
            ("java -jar /srv/mail.jar", "java"),
            // Images
            ("docker run -i --rm mcp/github:1.4", "github"),
            (
                "docker run -i --rm -e TOKEN ghcr.io/acme/jira-mcp-server",
                "jira",
            ),
            (
                "docker run -it --rm -eTOKEN=x -v /a:/b --network=host registry:5000/x/mcp-postgres:16",
                "postgres",
            ),
            (
                "docker --context far run --init --pull always -p 1:1 mcp/time@sha256:00ff --x",
                "time",
            ),
            (
                "podman container run --rm -i docker.io/acme/mcp-server",
                "acme",
            ),
            ("docker compose up", "docker"),
        ] {
            assert_eq!(name(line), expected, "{line}");
        }
    }

    #[test]
    fn a_command_that_names_nothing_still_has_a_name() {
        for line in [
            "npx",
            "npx -y",
            "docker run -i",
            "python -m",
            "node",
            "uv run",
            "env A=1",
        ] {
            let program = line.split(' ').next().unwrap();
            assert_eq!(name(line), program, "{line}");
        }
        assert_eq!(name(""), "upstream");
        assert_eq!(name("/"), "upstream");
    }

    #[test]
    fn a_server_behind_a_url_is_called_by_its_host() {
        for (url, expected) in [
            ("https://mcp.example.com/mcp", "mcp.example.com"),
            ("http://127.0.0.1:9/sse", "127.0.0.1"),
            ("http://[::1]:9/", "::1"),
            ("https://MCP.Example/", "mcp.example"),
        ] {
            assert_eq!(name_of_url(&Url::parse(url).unwrap()), expected);
        }
    }
}
