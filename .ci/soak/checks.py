"""Compares what was sent, what ran, what was answered and what was logged."""

import collections
import itertools
import json
import statistics
from pathlib import Path

from soak.client import Call

DECISIONS_OF = {
    "read": {"passed"},
    "ask": {"passed"},
    # The cancellation may overtake a call that waits for the list of tools.
    "wait": {"passed", "cancelled"},
    "yes": {"approved"},
    "no": {"denied"},
    # An answer that is neither yes nor no.
    "odd": {"error"},
    "late": {"timeout"},
    "never": {"timeout"},
    "edge": {"approved", "timeout"},
    # The cancellation may come before the prompt, after it, or after a yes that overtook it.
    "cancel": {"cancelled"},
    "race": {"cancelled", "approved"},
}


class Checks:
    """Prints a line per check, with a few examples if it failed."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def none(self, sentence: str, offenders: list) -> None:
        self.passed += not offenders
        self.failed += bool(offenders)
        print(f"{'not ok' if offenders else 'ok'} - {sentence}")
        for offender in offenders[:5]:
            print(f"    found: {str(offender)[:400]}")
        if len(offenders) > 5:
            print(f"    and {len(offenders) - 5} more")

    def that(self, sentence: str, holds: bool, found: object) -> None:
        self.none(sentence, [] if holds else [found])


def check(soak) -> Checks:
    checks = Checks()
    calls = [(session, call) for session in soak.sessions for call in session.calls.values()]
    log, decided = read_log(soak.log)
    records = {session: read_record(session.record) for session in soak.sessions}
    check_answers(checks, calls, decided, records)
    check_order(checks, soak, records, decided)
    check_gate(checks, calls, decided, records)
    check_log(checks, soak, calls, log, decided)
    check_ends(checks, soak)
    check_memory(checks, soak)
    return checks


def read_log(path: Path) -> tuple[list, dict]:
    """Returns the log as (line number, seq or problem, event, reason), and the decisions by call."""
    log, decided = [], collections.defaultdict(list)
    with open(path, encoding="utf-8") as lines:
        for number, text in enumerate(lines, 1):
            try:
                line = json.loads(text)
            except ValueError:
                log.append((number, f"not JSON: {text[:80]}", None, None))
                continue
            log.append((number, line.get("seq"), line.get("event"), line.get("reason")))
            if "tool" in line:
                facts = (line["tool"], line["decision"], line["forwarded"], line["request_id"], line["server"])
                decided[line["args"]["n"]].append(facts)
    return log, decided


class Record:
    """What one upstream read and wrote."""

    def __init__(self) -> None:
        self.read = []
        self.written = []
        self.ran = collections.Counter()
        self.tools = {}


def read_record(path: Path) -> Record:
    record = Record()
    for line in path.read_text().splitlines() if path.exists() else []:
        what, *words = line.split(" ")
        if what == "in" and len(words) == 4:
            record.read.append(words[0])
            if words[1] == "tools/call":
                record.ran[int(words[3])] += 1
                record.tools[int(words[3])] = words[2]
        elif what == "out":
            record.written.append(words[0])
    return record


def check_answers(checks: Checks, calls: list, decided: dict, records: dict) -> None:
    count = sum(call.answers for _, call in calls)
    twice = [(s.name, c.kind, c.n, c.answers) for s, c in calls if c.answers > 1]
    checks.none(f"no request was answered twice ({count} answers)", twice)
    # A killed session ends while the client writes, so requests that the proxy never read have no
    # answer. It reads in order: every request before the last one that it answered or logged has one.
    unanswered = []
    for session in records:
        signs = [c.at for c in session.calls.values() if c.answers or c.n in decided]
        read_up_to = max(signs, default=-1) if session.killed else len(session.sent)
        for call in session.calls.values():
            if call.answers == 0 and not call.cancelled and call.at <= read_up_to:
                unanswered.append((session.name, call.kind, call.n, decided.get(call.n)))
    checks.none(f"every request was answered ({len(calls)} requests)", unanswered)
    wrong = [(s.name, c.kind, c.n, c.text) for s, c in calls if c.good == "wrong"]
    results = sum(c.good == "result" for _, c in calls)
    checks.none(f"every result belongs to its request ({results} results)", wrong)
    peaceful = [(s.name, c.kind, c.n, c.text) for s, c in calls if not s.killed and c.good == "error"]
    checks.none("no request failed while its upstream lived", peaceful)
    odd = [(s.name, c.kind, c.text) for s, c in calls if c.good == "error" and "the server" not in c.text]
    errors = sum(c.good == "error" for _, c in calls)
    checks.none(f"requests of a killed upstream get an error that says so ({errors} errors)", odd)
    not_withdrawn = [
        (session.name, prompt.call.kind, prompt.call.n)
        for session in records
        for prompt in session.prompts.values()
        if not prompt.withdrawn and prompt.answered is None and not session.killed
    ]
    prompts = sum(len(session.prompts) for session in records)
    checks.none(f"every unanswered prompt was withdrawn ({prompts} prompts)", not_withdrawn)


def check_order(checks: Checks, soak, records: dict, decided: dict) -> None:
    """Lines arrive byte for byte and in order, and all of them unless an upstream was killed."""
    up, down = [], []
    lines_up = lines_down = 0
    for session, record in records.items():
        lines_up += len(record.read)
        lines_down += len(session.received)
        # If the client could not write a whole line, it is the last one.
        order_of = {line: order for line, order, _ in session.sent}
        arrived = collections.defaultdict(list)
        for line in record.read:
            arrived[order_of.get(line, "unknown")].append(line)
        if arrived["unknown"]:
            up.append((session.name, f"{len(arrived['unknown'])} lines that the client never sent"))
        if arrived["answer"]:
            up.append((session.name, "an answer to the proxy's prompt reached the upstream"))
        for order in ("call", "other"):
            sent = [line for line, its, call in session.sent if its == order and not taken_back(call, decided)]
            wanted = sent[: len(arrived[order])] if session.killed else sent
            if arrived[order] != wanted:
                up.append((session.name, order, first_difference(arrived[order], wanted)))
        for order in ("gated", "cancel"):
            if len(arrived[order]) != len(set(arrived[order])):
                up.append((session.name, f"a line came twice: {order}"))
        at = 0
        for position, (line, may_be_the_proxys) in enumerate(session.received):
            if at < len(record.written) and line == record.written[at]:
                at += 1
            elif not may_be_the_proxys:
                down.append((session.name, f"line {position} is not what the upstream wrote", at))
                break
        if not session.killed and at < len(record.written):
            down.append((session.name, f"{len(record.written) - at} lines of the upstream are lost"))
    checks.none(f"client to upstream: nothing lost, doubled, altered or out of order ({lines_up} lines)", up)
    checks.none(f"upstream to client: nothing lost, doubled, altered or out of order ({lines_down} lines)", down)
    checks.none("the client understood every line", [(s.name, p) for s in soak.sessions for p in s.problems])


def taken_back(call: Call | None, decided: dict) -> bool:
    """Returns whether the client cancelled the call while it waited for the tool list."""
    return call is not None and any(line[1] == "cancelled" for line in decided.get(call.n, []))


def first_difference(found: list, wanted: list) -> str:
    pairs = enumerate(itertools.zip_longest(found, wanted))
    at = next((at for at, (one, other) in pairs if one != other), None)
    return f"{len(found)} lines instead of {len(wanted)}, the first difference is at {at}"


def check_gate(checks: Checks, calls: list, decided: dict, records: dict) -> None:
    unapproved, doubled, lost, wrong_outcome = [], [], [], []
    gated = ran_gated = 0
    for session, call in calls:
        if call.tool is None:
            continue
        ran = records[session].ran[call.n]
        lines = decided.get(call.n, [])
        forwarded = any(line[2] for line in lines)
        gated += call.tool == "change"
        if call.tool == "change" and ran:
            ran_gated += 1
            answered = any(prompt.answered for prompt in call.prompts)
            if call.kind not in ("yes", "edge", "race") or not answered:
                unapproved.append((session.name, call.kind, call.n))
        if ran and not any(line[1] in ("passed", "approved") and line[2] for line in lines):
            unapproved.append((session.name, call.kind, call.n, "ran without its line", lines))
        if ran > 1:
            doubled.append((session.name, call.kind, call.n, ran))
        if forwarded and not ran and not session.killed:
            lost.append((session.name, call.kind, call.n))
        if call.good == "result" and not ran or call.good == "refused" and ran:
            wrong_outcome.append((session.name, call.kind, call.n, call.good))
    checks.none(f"gated calls ran only when approved, and after their line ({ran_gated} of {gated} ran)", unapproved)
    checks.none("no call ran twice", doubled)
    checks.none("every call that was let through ran, unless its upstream was killed", lost)
    checks.none("calls that ran have a result, the others have none", wrong_outcome)


def check_log(checks: Checks, soak, calls: list, log: list, decided: dict) -> None:
    gaps = [(number, seq) for number, seq, _, _ in log if seq != number]
    checks.none(f"the audit log's numbers have no gap over all restarts ({len(log)} lines)", gaps)
    missing, doubled, odd, held_back = [], [], [], []
    tally = collections.Counter()
    for session, call in calls:
        if call.tool is None:
            continue
        lines = decided.get(call.n, [])
        if len(lines) > 1:
            doubled.append((session.name, call.kind, call.n, lines))
        if not lines and (call.answers or not session.killed):
            missing.append((session.name, call.kind, call.n, call.good))
        for tool, decision, forwarded, request_id, server in lines:
            tally[decision] += 1
            allowed = set(DECISIONS_OF[call.kind])
            if decision == "timeout" and "timeout" not in allowed and call.tool == "change":
                # Written in time, but read late.
                held_back.append((session.name, call.kind, call.n))
                continue
            if session.killed:
                # A killed upstream ends all pending calls.
                allowed |= {"error", "denied", "cancelled", "timeout"}
            right = decision in allowed and forwarded == (decision in ("passed", "approved"))
            right = right and (tool, server) == (call.tool, "soak")
            right = right and session.calls.get(request_id) is call
            if not right:
                odd.append((session.name, call.kind, call.n, lines, call.text))
    known = {call.n for _, call in calls}
    odd += [("no such call", n, lines) for n, lines in decided.items() if n not in known]
    counts = ", ".join(f"{count} {decision}" for decision, count in sorted(tally.items()))
    checks.none("every decided call has its line", missing)
    checks.none("no call has two lines", doubled)
    checks.none(f"each line says what happened ({counts})", odd)
    prompt_kinds = {"yes", "no", "odd", "cancel", "race"}
    in_time = sum(call.kind in prompt_kinds for _, call in calls)
    # While the upstream does not read, the proxy reads no answers either. On a busy machine a few
    # are late.
    too_many = held_back if len(held_back) > 0.001 * in_time else []
    checks.none(f"answers in time count ({len(held_back)} of {in_time} were read too late)", too_many)
    opened = sum(event == "open" for _, _, event, _ in log)
    closed = sum(event == "close" for _, _, event, _ in log)
    sessions = len(soak.sessions)
    unbalanced = [] if opened == closed == sessions else [(opened, closed, sessions)]
    checks.none(f"every run has its first and its last line ({sessions} runs)", unbalanced)
    events = {event for _, _, event, _ in log} - {None, "open", "close"}
    others = [line for line in log if line[2] in events]
    checks.none("the log contains nothing else", others)


def check_ends(checks: Checks, soak) -> None:
    wanted = {True: 6, False: 0}
    codes = [(s.name, s.exit_code) for s in soak.sessions if s.exit_code != wanted[bool(s.killed)]]
    slowest = max((s.ended_after for s in soak.sessions if s.killed), default=0.0)
    kills = sum(bool(s.killed) for s in soak.sessions)
    checks.none(f"exit code 6 after each of {kills} kills, 0 after the client closed", codes)
    slow = [(s.name, s.ended_after) for s in soak.sessions if s.ended_after > 6]
    checks.none(f"the proxy always ended soon (at most {slowest:.2f} s after a kill)", slow)
    panics = [(s.name, line) for s in soak.sessions for line in s.said_on_stderr() if "panicked" in line]
    checks.none("no panic", panics)


def check_memory(checks: Checks, soak) -> None:
    samples = soak.memory
    if not samples:
        return checks.none("the proxy's memory was sampled", ["no samples"])
    quarter = max(1, len(samples) // 4)
    medians = [statistics.median(samples[at : at + quarter]) for at in range(0, 4 * quarter, quarter) if samples[at:]]
    first, last = medians[0], medians[-1]
    # Some slack: at any time its buffers hold a few large messages more or less.
    grown = [] if last <= first * 1.1 + 4 * 1024 else [f"{first} KiB, then {last} KiB"]
    figures = ", ".join(f"{median:.0f}" for median in medians)
    checks.none(f"memory is flat (KiB, medians of the quarters: {figures}; peak {max(samples)})", grown)
