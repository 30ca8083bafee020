#!/usr/bin/env python3
"""Checks that the core (the crate without features) does no I/O.

    .ci/core.py

No direct or indirect dependency does I/O, and no file uses the parts of `std` that do.
"""

import pathlib
import re
import subprocess
import sys

FORBIDDEN = {
    "clap", "getrandom", "hyper", "libc", "mio", "reqwest", "rmcp", "rusqlite", "rustix", "socket2", "tokio",
}
OUTSIDE = re.compile(
    r"\bstd::(?:\{[^;]*\b)?(?:env|fs|io|os|process|thread)\b"
    r"|\bstd::net::\w*(?:Listener|Socket|Stream)\b"
    r"|\b(?:Instant|SystemTime)\b"
)
MODULE = re.compile(r'((?:^#\[[^\n]*\]\n)*)^(?:pub(?:\([^)]*\))? )?mod (\w+);', re.M)
ROOT = pathlib.Path(__file__).resolve().parent.parent


def dependencies():
    command = ["cargo", "tree", "--locked", "--no-default-features", "-e", "normal", "--prefix", "none"]
    tree = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {line.split()[0] for line in tree.splitlines() if line}


def files(path, folder):
    """Yields the file and its modules, except those for tests or behind a feature."""
    yield path
    for attributes, name in MODULE.findall(path.read_text()):
        if "cfg(" in attributes:
            continue
        module = folder / f"{name}.rs"
        if not module.exists():
            module = folder / name / "mod.rs"
        yield from files(module, folder / name)


def main():
    names = dependencies()
    wrong = [f"the core depends on `{name}`" for name in sorted(names & FORBIDDEN)]
    core = list(files(ROOT / "src/lib.rs", ROOT / "src"))
    if len(core) < 60:
        sys.exit(f"found only {len(core)} files: this script misreads them")
    for path in core:
        text = re.split(r"\n#\[cfg\(test\)\]\nmod \w+ \{", path.read_text())[0]
        for number, line in enumerate(text.split("\n"), 1):
            found = None if line.lstrip().startswith("//") else OUTSIDE.search(line)
            if found:
                wrong.append(f"{path.relative_to(ROOT)}:{number} uses `{found[0]}`")
    for line in wrong:
        print(line)
    if wrong:
        sys.exit(1)
    print(f"the core: {len(core)} files and {len(names) - 1} dependencies, none does I/O")


main()
