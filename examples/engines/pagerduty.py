#!/usr/bin/env python3
"""An engine `command`: pages whoever is on call, who answers with a note on the incident.

usage: pagerduty.py KEYS

KEYS is a JSON file that only you can read: {"routing_key": "…", "token": "…"}, the integration key of
an Events API v2 integration and a read-only REST API key. docs/engines/command.md explains it.
"""

import json
import os
import sys
import time
import urllib.parse
import urllib.request

EVENTS = os.environ.get("PAGERDUTY_EVENTS", "https://events.pagerduty.com")
API = os.environ.get("PAGERDUTY_API", "https://api.pagerduty.com")
PAUSE = float(os.environ.get("PAGERDUTY_PAUSE", "5"))

with open(sys.argv[1]) as file:
    KEYS = json.load(file)


def call(url, body=None, headers=None):
    data = json.dumps(body).encode() if body is not None else None
    headers = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def get(path):
    return call(API + path, headers={"Authorization": f"Token token={KEYS['token']}"})


def event(action, question, text=None):
    request = question["request"]
    body = {
        "routing_key": KEYS["routing_key"],
        "event_action": action,
        # One incident for each question.
        "dedup_key": request["id"],
    }
    if action == "trigger":
        body["payload"] = {
            "summary": f"May {request['tool']} run on {request['server']}?"[:1024],
            "source": "approval-proxy",
            "severity": "critical" if request["risk"] == "high" else "warning",
            "custom_details": {"question": question["message"], "how to answer": text},
        }
    call(EVENTS + "/v2/enqueue", body)


def answer(approved, reason):
    content = {"approved": approved, "reason": reason}
    print(json.dumps({"action": "accept", "content": content}))


def main():
    question = json.load(sys.stdin)
    code = question["request"]["id"][:6]
    event(
        "trigger",
        question,
        f"Add a note to this incident: `approve {code}`, or `deny {code}` and a reason.",
    )
    key = urllib.parse.quote(question["request"]["id"])
    # The proxy ends this program when the time is up.
    while True:
        time.sleep(PAUSE)
        for incident in get(f"/incidents?incident_key={key}")["incidents"]:
            for note in get(f"/incidents/{incident['id']}/notes")["notes"]:
                words = note["content"].split()
                who = note["user"]["summary"]
                if words == ["approve", code]:
                    answer(True, f"approved by {who} in PagerDuty")
                elif words[:2] == ["deny", code]:
                    answer(False, " ".join(words[2:]) or f"denied by {who} in PagerDuty")
                else:
                    continue
                event("resolve", question)
                return


main()
