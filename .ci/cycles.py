#!/usr/bin/env python3
"""Checks that the files of `src/gate` do not call one another's methods in a circle.

Rust allows `impl Gate` in any file, so imports do not show which file needs which. This script finds the file that
defines each method, and the files that call it. Files that call one another in a circle must be understood together,
so there must be none.

    .ci/cycles.py [--list] [FOLDER]
"""

import pathlib
import re
import sys

MOST = 1

IMPL = re.compile(r"^impl(?:<[^>]*>)? (?:\w+(?:<[^>]*>)? for )?(\w+)", re.M)
METHOD = re.compile(r"\n    (?:pub(?:\([^)]*\))? )?(?:const )?fn (\w+)")
FUNCTION = re.compile(r"\n(?:pub(?:\([^)]*\))? )?(?:const )?fn (\w+)")


def without_tests(text):
    return re.split(r"\n#\[cfg\(test\)\]\nmod \w+ \{", text)[0]


def code(path):
    lines = without_tests(path.read_text()).split("\n")
    return "\n" + "\n".join(line for line in lines if not line.lstrip().startswith("//"))


def blocks(text, name):
    """Returns the bodies of `impl name`."""
    found = []
    for match in IMPL.finditer(text):
        if match[1] == name:
            end = text.find("\n}\n", match.end())
            found.append(text[match.end() : end if end >= 0 else len(text)])
    return found


def circles(calls):
    """Returns the strongly connected components (Tarjan) of more than one file."""
    order, low, stack, found = {}, {}, [], []

    def visit(file):
        order[file] = low[file] = len(order)
        stack.append(file)
        for other in calls[file]:
            if other not in order:
                visit(other)
                low[file] = min(low[file], low[other])
            elif other in stack:
                low[file] = min(low[file], order[other])
        if low[file] == order[file]:
            circle = []
            while not circle or circle[-1] != file:
                circle.append(stack.pop())
            if len(circle) > 1:
                found.append(sorted(circle))

    for file in calls:
        if file not in order:
            visit(file)
    return sorted(found, key=len)


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--list"]
    folder = pathlib.Path(arguments[0] if arguments else "src/gate")
    texts = {
        str(path.relative_to(folder)): code(path)
        for path in sorted(folder.rglob("*.rs"))
        if "tests" not in path.parts and path.name not in ("tests.rs", "mod.rs")
    }
    owner = {}
    for file, text in texts.items():
        for body in blocks(text, "Gate"):
            for name in METHOD.findall(body):
                if owner.setdefault(name, file) != file:
                    sys.exit(f"two methods of `Gate` are named `{name}`")
    if len(owner) < 50:
        sys.exit(f"found only {len(owner)} methods of `Gate` in {folder}: this script misreads it")
    calls, reasons = {file: set() for file in texts}, {}
    for file, text in texts.items():
        for name in re.findall(r"\b(?:self|gate)\s*\.(\w+)\(|\bGate::(\w+)", text):
            name = name[0] or name[1]
            other = owner.get(name)
            if other and other != file:
                calls[file].add(other)
                reasons.setdefault((file, other), set()).add(name)
    if "--list" in sys.argv:
        for (file, other), names in sorted(reasons.items()):
            print(f"{file} -> {other}: {', '.join(sorted(names))}")
    found = circles(calls)
    for circle in found:
        print(f"a circle of {len(circle)} files: {', '.join(circle)}")
    largest = max(map(len, found), default=1)
    print(f"{len(owner)} methods of `Gate` in {len(set(owner.values()))} files; the largest circle has {largest}")
    if largest > MOST:
        sys.exit("files must not call one another in a circle; `--list` shows the calls")


if __name__ == "__main__":
    main()
