#!/usr/bin/env python3
"""Checks the links of the documents.

    .ci/links.py

Every relative link in a tracked Markdown file must name a tracked file or folder, and its anchor must be one of that
file's headings, by GitHub's rules. The same holds for documents that code and comments cite, such as `docs/….md`. Every
test that docs/security/attacks.md names must exist. README.md and ARCHITECTURE.md have a maximum length. Links to other
sites are not checked. Prints one line, or one per fault; exits 1 if there is one.
"""

import collections
import html
import pathlib
import posixpath
import re
import subprocess
import sys
import unicodedata
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
MOST_LINES = {"README.md": 150, "ARCHITECTURE.md": 150}
ATTACKS = "docs/security/attacks.md"
PLACES = "docs/architecture/finding-things.md"
# Files that may cite documents. Data such as fuzzing corpora is not read.
CODE = (".rs", ".py", ".mjs", ".js", ".toml", ".css", ".html", ".json", ".jsonc", ".yml")

FENCE = re.compile(r"^(?:[ >]*)(`{3,}|~{3,})")
CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)((?:(?!\n[ \t]*\n).)+?)(?<!`)\1(?!`)", re.S)
COMMENT = re.compile(r"<!--.*?-->", re.S)
INLINE_LINK = re.compile(r"\]\(\s*(<[^<>\n]*>|(?:[^\s()]|\([^\s()]*\))*)(?:\s+(?:\"[^\"]*\"|'[^']*'))?\s*\)")
DEFINITION = re.compile(r"^ {0,3}\[([^\]^][^\]]*)\]:\s*(\S+)", re.M)
REFERENCE = re.compile(r"\]\[([^\]]+)\]")
HTML_LINK = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)\s*=\s*[\"']([^\"']*)[\"']", re.I)
HTML_ANCHOR = re.compile(r"<\w+\b[^>]*?\b(?:id|name)\s*=\s*[\"']([^\"']+)[\"']", re.I)
ATX = re.compile(r"^ {0,3}#{1,6}(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
SETEXT = re.compile(r"^ {0,3}(?:=+|-+)[ \t]*$")
LINE_ANCHOR = re.compile(r"^L(\d+)(?:-L(\d+))?$")
CITATION = re.compile(
    r"(?<![\w/.-])(?:(?:\.\./)+)?((?:docs/[\w./-]+|README|ARCHITECTURE|SECURITY|CONTRIBUTING|CHANGELOG)\.md)(#[\w-]+)?"
)
RUST_TEST = re.compile(
    r"#\[(?:tokio::)?test\b[^\]]*\]\s*(?:(?:#\[[^\]]*\]|//[^\n]*)\s*)*(?:pub(?:\([^)]*\))? )?(?:async )?fn (\w+)"
)
CI_FUNCTION = re.compile(r"^(?:export )?(?:async )?(?:function|def) (\w+)\(", re.M)


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def folders(files):
    found = {"."}
    for name in files:
        for parent in pathlib.PurePosixPath(name).parents:
            found.add(str(parent))
    return found


def prose(text):
    """Returns the lines of a Markdown text, with code blocks and comments emptied."""
    text = COMMENT.sub(lambda found: "\n" * found[0].count("\n"), text)
    lines, fence = [], None
    for line in text.split("\n"):
        found = FENCE.match(line)
        if fence is None and found:
            fence = found[1]
            lines.append("")
        elif fence is not None:
            if found and found[1].startswith(fence) and not line.strip(" >" + fence[0]):
                fence = None
            lines.append("")
        else:
            lines.append(line)
    return lines


def slug(heading):
    """Returns GitHub's anchor for a heading: word characters, hyphens and blanks stay, the rest goes."""
    parts = re.split(r"(`+[^`]+`+)", heading)
    for place in range(0, len(parts), 2):
        part = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", parts[place])
        part = re.sub(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", part)
        part = re.sub(r"</?\w[^>]*>", "", part)
        part = re.sub(r"(?<!\w)_+(\S(?:.*?\S)?)_+(?!\w)", r"\1", part)
        parts[place] = html.unescape(part)
    kept = []
    for character in "".join(parts).strip().lower():
        kind = unicodedata.category(character)
        if character in "- " or kind[0] in "LM" or kind in ("Nd", "Pc"):
            kept.append("-" if character == " " else character)
    return "".join(kept)


def anchors(text):
    found, seen, before = set(), collections.Counter(), ""
    lines = prose(text)
    for line in lines:
        match = ATX.match(line)
        heading = match[1] or "" if match else None
        if heading is None and SETEXT.match(line) and before.strip() and not re.match(r"\s*(?:[-*+>|#]|\d+\.)", before):
            heading = before
        if heading is not None:
            name = slug(heading)
            found.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
        before = line
    found.update(HTML_ANCHOR.findall("\n".join(lines)))
    return found


def links(text):
    """Yields each link of a Markdown text with its line number."""
    body = "\n".join(prose(text))
    body = CODE_SPAN.sub(lambda span: re.sub(r"[^\n]", " ", span[0]), body)

    def line(match):
        return body.count("\n", 0, match.start()) + 1

    defined = {name.lower() for name, _ in DEFINITION.findall(body)}
    for match in INLINE_LINK.finditer(body):
        yield line(match), match[1].strip("<>")
    for match in DEFINITION.finditer(body):
        yield line(match), match[2].strip("<>")
    for match in HTML_LINK.finditer(body):
        yield line(match), html.unescape(match[1])
    for match in REFERENCE.finditer(body):
        if match[1].lower() not in defined:
            yield line(match), f"[{match[1]}]"


class Tree:
    """The tracked files, and what is wrong with references to them."""

    def __init__(self):
        self.files = tracked()
        self.names = set(self.files)
        self.folders = folders(self.files)
        self.wrong = []
        self.counts = collections.Counter()
        self.texts, self.anchors = {}, {}

    def text(self, name):
        if name not in self.texts:
            self.texts[name] = (ROOT / name).read_text(errors="replace")
        return self.texts[name]

    def complain(self, name, line, what):
        self.wrong.append(f"{name}:{line}: {what}")

    def check_target(self, name, line, shown, path, anchor):
        if path not in self.names and path not in self.folders:
            self.complain(name, line, f"`{shown}`: there is no tracked file `{path}`")
        elif anchor:
            self.counts["anchors"] += 1
            self.check_anchor(name, line, shown, path, anchor)

    def check_anchor(self, name, line, shown, path, anchor):
        lines = LINE_ANCHOR.match(anchor)
        if path.endswith(".md"):
            if path not in self.anchors:
                self.anchors[path] = anchors(self.text(path))
            if anchor not in self.anchors[path]:
                self.complain(name, line, f"`{shown}`: `{path}` has no heading `#{anchor}`")
        elif path in self.folders or not lines:
            self.complain(name, line, f"`{shown}`: only Markdown files have anchors")
        elif int(lines[2] or lines[1]) > self.text(path).count("\n") + 1:
            self.complain(name, line, f"`{shown}`: `{path}` is shorter")

    def check_links(self, name):
        for line, target in links(self.text(name)):
            if target.startswith("["):
                self.complain(name, line, f"`{target}` is not defined")
                continue
            if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//", target):
                continue
            self.counts["links"] += 1
            path, _, anchor = target.partition("#")
            path = urllib.parse.unquote(path.split("?")[0])
            if path.startswith("/"):
                path = posixpath.normpath(path[1:] or ".")
            elif path:
                path = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
            self.check_target(name, line, target, path or name, urllib.parse.unquote(anchor))

    def check_citations(self, name):
        text = self.text(name)
        for match in CITATION.finditer(text):
            self.counts["citations"] += 1
            line = text.count("\n", 0, match.start()) + 1
            self.check_target(name, line, match[0], match[1], (match[2] or "")[1:])

    def check_tests(self, name):
        """Checks paragraphs that begin with `Tests:`: each name in backticks is a test, or a scene or program in `.ci`."""
        known = set()
        for file in self.files:
            if file.endswith(".rs"):
                known.update(RUST_TEST.findall(self.text(file)))
            elif file.startswith(".ci/"):
                known.update(CI_FUNCTION.findall(self.text(file)))
        in_tests = False
        for number, line in enumerate(prose(self.text(name)), 1):
            if not line.strip():
                in_tests = False
            if line.startswith("Tests: "):
                in_tests = True
            for _, named in CODE_SPAN.findall(line) if in_tests else ():
                self.counts["tests"] += 1
                if named not in (self.names if "/" in named else known):
                    self.complain(name, number, f"there is no test `{named}`")
        if not self.counts["tests"]:
            self.complain(name, 1, "names no test: this script misreads it")

    def check_places(self, name):
        """Checks rows such as `gate/ask.rs` `step`: the file exists below `src`, and contains each name that follows."""
        file = None
        for number, line in enumerate(prose(self.text(name)), 1):
            for _, named in CODE_SPAN.findall(line) if line.startswith("|") else ():
                self.counts["places"] += 1
                if named.endswith(".rs"):
                    file = f"src/{named}"
                    if file not in self.names:
                        self.complain(name, number, f"there is no file `{file}`")
                elif "/" not in named and file in self.names and named.split("::")[-1] not in self.text(file):
                    self.complain(name, number, f"`{file}` does not contain `{named}`")
        if not self.counts["places"]:
            self.complain(name, 1, "names no file: this script misreads it")

    def check_length(self, name, most):
        count = len(self.text(name).splitlines())
        if count > most:
            self.complain(name, count, f"{count} lines; the maximum is {most}")


def main():
    tree = Tree()
    pages = [name for name in tree.files if name.endswith(".md")]
    for name in pages:
        tree.check_links(name)
    for name in tree.files:
        if name.endswith(CODE) or name == ".ci/run":
            tree.check_citations(name)
    for name, most in MOST_LINES.items():
        tree.check_length(name, most)
    if ATTACKS in tree.names:
        tree.check_tests(ATTACKS)
    else:
        tree.wrong.append(f"{ATTACKS}: there is no such file")
    tree.check_places(PLACES)
    for line in tree.wrong:
        print(line)
    counts = ", ".join(f"{tree.counts[what]} {what}" for what in ("links", "anchors", "citations", "tests", "places"))
    if tree.wrong:
        sys.exit(f"{len(tree.wrong)} faults in {len(pages)} pages and the code ({counts})")
    print(f"{len(pages)} pages: {counts}, all good")


if __name__ == "__main__":
    main()
