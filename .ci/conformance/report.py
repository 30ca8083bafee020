"""Compares the columns and prints them."""

from .suite import REVISIONS
from .targets import COLUMNS, DIRECT, OVER_HTTP, OVER_STDIO

# Neither passed nor failed: the suite had nothing to judge.
NO_VERDICT = ("INFO", "SKIPPED")

# Checks that cannot be judged in a column, and why. A failure still counts as a difference.
CANNOT_BE_JUDGED = {
    (OVER_STDIO, "server-sse-disconnect-resume"): "over stdio a server has no stream to end early",
}


def passed(check) -> bool:
    return check is not None and check.status == "SUCCESS"


def differences(column: str, direct: dict, proxied: dict) -> list:
    """Returns the keys of checks that pass directly and not in this column."""
    return [
        key
        for key, check in direct.items()
        if passed(check) and not passed(proxied.get(key)) and not excused(column, key, proxied)
    ]


def excused(column: str, key, proxied: dict) -> bool:
    check = proxied.get(key)
    return (column, key.id) in CANNOT_BE_JUDGED and (check is None or check.status in NO_VERDICT)


def judged(direct: dict) -> list:
    return [key for key, check in direct.items() if check.status not in NO_VERDICT]


def print_table(results: dict) -> None:
    """Prints a row per scenario: how many of the checks pass that are judged directly."""
    direct = results[DIRECT]
    keys = judged(direct)
    width = max((len(key.scenario) for key in keys), default=0)
    print(f"{'':12}{'':{width}}", *(f"{column:>11}" for column in results))
    for row in dict.fromkeys((key.revision, key.scenario) for key in keys):
        of_row = [key for key in keys if (key.revision, key.scenario) == row]
        print(f"{row[0]:12}{row[1]:{width}}", *cells(results, of_row))
    for revision in REVISIONS:
        of_revision = [key for key in keys if key.revision == revision]
        if of_revision:
            print(f"{revision:12}{'all':{width}}", *cells(results, of_revision))


def cells(results: dict, keys: list) -> list:
    counts = [sum(passed(checks.get(key)) for key in keys) for checks in results.values()]
    return [f"{f'{count}/{len(keys)}':>11}" for count in counts]


def print_failures(direct: dict) -> None:
    """Prints what fails without the proxy: the fault of the server or of rmcp."""
    for key in judged(direct):
        if not passed(direct[key]):
            print(f"fails directly: {describe(key)}: {direct[key].message}")


def print_not_judged(results: dict) -> None:
    for column, proxied in results.items():
        for key, check in results[DIRECT].items():
            if passed(check) and not passed(proxied.get(key)) and excused(column, key, proxied):
                reason = CANNOT_BE_JUDGED[column, key.id]
                print(f"not judged through {column}: {describe(key)}: {reason}")


def print_difference(column: str, key, check) -> None:
    found = "not reported" if check is None else f"{check.status}: {check.message}"
    print(f"DIFFERENCE through {column}: {describe(key)}: {found}")


def print_summary(results: dict, found: int) -> None:
    keys = judged(results[DIRECT])
    count = {
        column: sum(passed(checks.get(key)) for key in keys) for column, checks in results.items()
    }
    ways = {DIRECT: "directly", OVER_HTTP: f"through {OVER_HTTP}", OVER_STDIO: f"through {OVER_STDIO}"}
    said = [f"{count[column]} {ways[column]}" for column in COLUMNS if column in count]
    said[0] = said[0].replace(" ", " pass ", 1)
    print(f"{len(keys)} checks: {', '.join(said)}, {found} differences")


def describe(key) -> str:
    again = f" ({key.occurrence})" if key.occurrence > 1 else ""
    return f"{key.revision} {key.scenario} / {key.id} {key.name}{again}"
