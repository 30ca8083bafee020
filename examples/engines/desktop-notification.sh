#!/bin/sh
# An engine `command`: asks in a desktop notification. Needs jq, and notify-send 0.8 or newer.
# docs/engines/command.md explains it.
set -eu

question=$(cat)

# A notification has little room, and some desktops cut long texts without a sign. If a question is too long, fail: then
# the next engine asks.
if [ "$(printf '%s' "$question" | jq '.message | length')" -gt 1000 ]; then
    echo "the question is too long for a notification" >&2
    exit 1
fi

# Notifications may contain markup, so escape the text.
body=$(printf '%s' "$question" | jq -r '.message | @html')

choice=$(notify-send --app-name approval-proxy --urgency critical \
    --action yes=Approve --action no=Deny "May this tool call run?" "$body")

case $choice in
yes) approved=true ;;
no) approved=false ;;
*)
    echo "the notification was closed" >&2
    exit 1
    ;;
esac
printf '{"action":"accept","content":{"approved":%s}}\n' "$approved"
