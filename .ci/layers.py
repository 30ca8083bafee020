#!/usr/bin/env python3
"""Checks the dependency rule: each folder of `src` uses only folders before it.

    .ci/layers.py

Tests may use anything.
"""

import pathlib
import re
import sys

ORDER = [
    "sys",
    "mcp",
    "policy",
    "approval",
    "evidence",
    "gate",
    "transport",
    "relay",
    "http",
    "engines",
    "config",
    "clients",
    "agents",
    "app",
    "cli",
]
ROOT = pathlib.Path(__file__).resolve().parent.parent / "src"
USE = re.compile(r"\bcrate::(?:\{([^;]*?)\}|(\w+))", re.S)


def is_test(path):
    return path.name in ("tests.rs", "for_test.rs") or "tests" in path.parts


def code(path):
    text = re.split(r"\n#\[cfg\(test\)\]\nmod \w+ \{", path.read_text())[0]
    # A whole file can be for tests only; so can one item.
    text = re.sub(r"\n *#\[cfg\(test\)\]\n[^;{]*;", "\n", text)
    lines = (line for line in text.split("\n") if not line.lstrip().startswith("//"))
    return "\n".join(lines)


def used(text):
    for group, single in USE.findall(text):
        if single:
            yield single
        else:
            yield from re.findall(r"(?:^|,)\s*(\w+)", group)


def main():
    wrong, files = [], 0
    folders = {path.stem for path in ROOT.iterdir()} - {"lib", "main"}
    if folders != set(ORDER):
        sys.exit(f"`src` and ORDER in this script differ in {sorted(folders ^ set(ORDER))}")
    for path in sorted(ROOT.rglob("*.rs")):
        inside = path.relative_to(ROOT)
        own = inside.parts[0].removesuffix(".rs")
        if own not in ORDER or is_test(inside):
            continue
        files += 1
        for other in sorted(set(used(code(path)))):
            if other in ORDER and ORDER.index(other) > ORDER.index(own):
                wrong.append(f"src/{inside} uses `{other}`, which comes after `{own}`")
    for line in wrong:
        print(line)
    if wrong:
        sys.exit(1)
    print(f"{files} files use only folders before their own")


main()
