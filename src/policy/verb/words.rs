//! The word lists.
//!
//! docs/policy.md shows the lists that decide, and a test keeps the two equal. `verb` applies them.

// INVARIANT: all lists are sorted, for the binary search; a test checks it.

/// Always need approval, at any position in the name and with any hints from the server.
#[rustfmt::skip] // One word per line would make the lists look long.
pub(super) const HIGH_RISK: &[&str] = &[
    "annihilate", "bash", "deallocate", "decommission", "del", "delete", "deleteall", "demolish",
    "deprovision", "destroy", "detonate", "dismantle", "drop", "dropcollection", "dropdatabase",
    "dropdb", "dropindex", "droptable", "eliminate", "eradicate", "erase", "eval", "evalsha",
    "evaluate", "expunge", "factoryreset", "flush", "flushall", "flushdb", "format", "getdel",
    "hdel", "kill", "killall", "killprocess", "liquidate", "lrem", "mkfs", "nuke", "obliterate",
    "pay", "pkill", "poweroff", "powershell", "prune", "purge", "pwsh", "reboot", "remove",
    "revoke", "rm", "rmall", "rmdir", "rmrf", "rmtree", "selfdestruct", "shell", "shred",
    "shutdown", "srem", "sudo", "taskkill", "terminate", "transfer", "truncate", "uninstall",
    "unlink", "wipe", "wipedisk", "withdraw", "wreck", "xdel", "zeroize", "zrem", "zremrangebyrank",
    "zremrangebyscore", "zsh",
];

/// May change something. Includes programs and languages.
#[rustfmt::skip] // One word per line would make the lists look long.
pub(super) const WRITE: &[&str] = &[
    "abandon", "abort", "accelerate", "accept", "ack", "acknowledge", "acl", "acquire", "act",
    "action", "activate", "actuate", "add", "adjust", "adopt", "advance", "airdrop", "allocate",
    "allowlist", "alter", "amend", "annotate", "announce", "answer", "append", "applescript",
    "apply", "approve", "apt", "archive", "arm", "assign", "associate", "assume", "attach",
    "attack", "authorise", "authorize", "automate", "award", "awk", "axis", "backfill", "backup",
    "bake", "ban", "bgrewriteaof", "bgsave", "bid", "bind", "bitop", "blackhole", "blacklist",
    "block", "blocklist", "blpop", "book", "bookmark", "boot", "bootstrap", "borrow", "break",
    "brew", "brick", "bridge", "brighten", "broadcast", "brpop", "build", "bump", "burn", "buy",
    "bypass", "calibrate", "call", "cancel", "capture", "change", "charge", "chattr", "checkout",
    "cherry", "chgrp", "chmod", "chown", "claim", "clean", "cleanse", "cleanup", "clear", "click",
    "clobber", "clone", "close", "cmd", "command", "comment", "commission", "commit", "compile",
    "complete", "compose", "compress", "computer", "concat", "configure", "confirm", "connect",
    "consolidate", "consume", "convert", "copy", "copyfile", "cordon", "cp", "craft", "crash",
    "create", "cripple", "crontab", "crop", "curl", "cut", "dd", "ddl", "deactivate", "deauthorize",
    "debit", "decline", "decompress", "decr", "decrby", "decrease", "decrement", "decrypt",
    "deduct", "defer", "degrade", "delegate", "delete", "delist", "demote", "deny", "deploy",
    "deposit", "deprecate", "deregister", "destroy", "detach", "dial", "dictate", "dim", "disable",
    "disarm", "disassociate", "disband", "disburse", "discard", "disclose", "disconnect",
    "disengage", "dislike", "dismiss", "dispatch", "dispense", "dispose", "disrupt", "distribute",
    "dml", "dock", "donate", "down", "downgrade", "downvote", "draft", "drag", "drain", "drop",
    "duplicate", "edit", "editor", "eject", "elevate", "email", "emit", "empty", "enable",
    "encrypt", "end", "endorse", "enforce", "enqueue", "enrol", "enroll", "escalate", "evict",
    "exchange", "exec", "execute", "execution", "execve", "exfiltrate", "expand", "expel", "expire",
    "expireat", "export", "expose", "extend", "fail", "failover", "fax", "fcall", "fence", "fill",
    "finalize", "finish", "fire", "fix", "flash", "flip", "follow", "force", "forge", "forget",
    "fork", "format", "forward", "free", "freeze", "fulfill", "fund", "fuse", "generic", "geoadd",
    "getset", "give", "go", "goto", "grab", "grant", "grasp", "grip", "gzip", "halt", "handle",
    "hang", "harvest", "hatch", "hdel", "hide", "hijack", "hincrby", "hincrbyfloat", "hmset",
    "hook", "hotfix", "hotswap", "hset", "hsetnx", "ignore", "impersonate", "import", "incr",
    "incrby", "increase", "increment", "index", "ingest", "inhibit", "init", "initialize", "inject",
    "input", "insert", "install", "instantiate", "interact", "intercept", "interpreter",
    "interrupt", "invalidate", "invest", "invite", "invoke", "iptables", "isolate", "javascript",
    "jog", "join", "js", "jump", "kick", "kill", "label", "land", "launch", "launchctl", "leak",
    "leave", "lend", "lift", "like", "link", "linsert", "lmove", "ln", "load", "lock", "log",
    "login", "logout", "loop", "lower", "lpop", "lpush", "lset", "ltrim", "make", "manage", "map",
    "mark", "mask", "merge", "message", "migrate", "minify", "mint", "mirror", "mix", "mkdir",
    "mock", "modify", "mount", "move", "mset", "msetnx", "mutate", "mutation", "mute", "mv", "nack",
    "navigate", "negotiate", "new", "nohup", "notify", "nudge", "nullify", "off", "offboard",
    "offload", "onboard", "open", "operate", "optimize", "orchestrate", "order", "osascript", "out",
    "override", "overwrite", "pack", "pair", "park", "partition", "paste", "patch", "pause", "pay",
    "payout", "perform", "permit", "persist", "pexpire", "pfadd", "pfmerge", "pick", "pin", "pip",
    "place", "play", "poke", "pop", "popen", "populate", "post", "powercycle", "prepare", "prepend",
    "press", "print", "prioritize", "proceed", "process", "produce", "promote", "prompt", "propose",
    "protect", "provision", "psetex", "publish", "pull", "purchase", "purge", "push", "put",
    "quarantine", "quit", "raise", "randomize", "react", "reactivate", "reassign", "rebalance",
    "rebase", "rebind", "rebuild", "recalibrate", "recharge", "reclaim", "reclassify", "reconcile",
    "reconfigure", "reconnect", "record", "recover", "recreate", "redact", "redeem", "redeploy",
    "redirect", "redo", "reduce", "reenable", "refactor", "refill", "reflash", "reformat",
    "refresh", "refund", "regenerate", "register", "reimage", "reimburse", "reindex",
    "reinitialize", "reinstall", "reinstate", "reject", "rekey", "rekick", "relaunch", "release",
    "relinquish", "reload", "relocate", "remap", "remediate", "remind", "remit", "remount",
    "remove", "rename", "renamenx", "render", "renew", "rent", "reopen", "reorder", "reorganize",
    "repair", "repartition", "repay", "repeat", "repl", "replace", "replay", "replicaof",
    "replicate", "reply", "report", "repost", "reprioritize", "reprocess", "reprogram",
    "reprovision", "request", "requeue", "rerun", "rescale", "reschedule", "rescind", "rescue",
    "resend", "reserve", "reset", "resign", "resize", "resolve", "respond", "restart", "restock",
    "restore", "restrict", "resubmit", "resume", "resync", "retarget", "retire", "retract", "retry",
    "return", "retweet", "reveal", "reverse", "revert", "revise", "revoke", "reward", "rewind",
    "rewrite", "ring", "roll", "rollback", "rollforward", "rollout", "rollover", "rotate",
    "roundtrip", "rpop", "rpoplpush", "rpush", "rsvp", "rsync", "ruin", "run", "runas", "runcode",
    "runcommand", "runner", "runscript", "sadd", "sanitize", "save", "scale", "schedule", "scp",
    "scrap", "script", "scroll", "scrub", "sdiffstore", "seal", "secure", "sed", "seed", "seize",
    "select", "sell", "send", "serve", "set", "setbit", "setex", "setnx", "setrange", "settle",
    "setup", "sftp", "share", "shift", "ship", "shoot", "shred", "shrink", "shuffle", "shut",
    "shutdown", "sideload", "sign", "silence", "sinterstore", "skip", "slaveof", "sleep", "smash",
    "smove", "snooze", "spam", "spawn", "speak", "spend", "split", "spop", "spread", "sql",
    "squash", "ssh", "stage", "stake", "star", "start", "stash", "steal", "step", "stop", "store",
    "stow", "stretch", "strip", "submit", "subprocess", "subscribe", "subtract", "sunionstore",
    "sunset", "suppress", "suspend", "swap", "swapdb", "sweep", "swipe", "switch", "symlink",
    "sync", "synchronise", "synchronize", "systemctl", "tackle", "tag", "taint", "tap", "tar",
    "teardown", "tee", "teleport", "terminal", "terminate", "tether", "throttle", "throw",
    "timeout", "tip", "toggle", "topup", "touch", "trade", "train", "transact", "transclude",
    "transcode", "transfer", "transform", "transition", "translate", "transmit", "transport",
    "trash", "trigger", "trim", "truncate", "tune", "turn", "turnoff", "turnon", "tweak", "tweet",
    "type", "unarchive", "unassign", "unban", "unbind", "unblock", "unbookmark", "uncordon",
    "undelete", "undeploy", "undo", "undock", "undraft", "unenrol", "unenroll", "unflag",
    "unfollow", "unfreeze", "unfriend", "unhide", "uninstall", "unlabel", "unlike", "unlist",
    "unload", "unlock", "unmark", "unmount", "unmute", "unpause", "unpin", "unplug", "unpublish",
    "unregister", "unreserve", "unresolve", "unsave", "unschedule", "unseal", "unset", "unshare",
    "unshelve", "unsnooze", "unspam", "unstage", "unstake", "unstar", "unsubscribe", "unsuspend",
    "untag", "untaint", "untar", "untrash", "unvote", "unwatch", "unzip", "up", "update", "upgrade",
    "upload", "uproot", "upsert", "upvote", "use", "vacuum", "void", "vote", "waive", "wake",
    "warn", "watch", "watermark", "wget", "whitelist", "wipe", "wire", "withdraw", "worktree",
    "wrap", "write", "xack", "xadd", "xautoclaim", "xclaim", "xgroup", "xsetid", "xtrim", "yank",
    "zadd", "zero", "zincrby", "zip", "zpopmax", "zpopmin", "zunionstore",
];

/// At the beginning of a name, these mean that the tool reads. Verbs, and Redis commands that only read.
#[rustfmt::skip] // One word per line would make the lists look long.
pub(super) const READ: &[&str] = &[
    "aggregate", "analyse", "analyze", "calculate", "cat", "check", "compare", "compute", "count",
    "crawl", "dbsize", "describe", "detect", "diff", "dig", "discover", "enumerate", "estimate",
    "examine", "exists", "explain", "explore", "extract", "fetch", "find", "geocode", "get", "glob",
    "grep", "has", "head", "hexists", "hget", "hgetall", "hkeys", "hlen", "hmget", "hover", "hvals",
    "identify", "inspect", "introspect", "is", "lindex", "list", "llen", "locate", "lookup",
    "lrange", "ls", "mget", "nslookup", "peek", "ping", "ps", "pttl", "pwd", "query", "read",
    "recall", "recommend", "research", "retrieve", "scan", "scard", "scrape", "search", "show",
    "sismember", "smembers", "stat", "strlen", "suggest", "summarise", "summarize", "tail", "ttl",
    "validate", "view", "wait", "whoami", "whois", "xlen", "xrange", "zcard", "zrange", "zrank",
    "zscore",
];

/// At the end of a name, after nouns, these name what is read: `pods_log`, `db-stats`.
#[rustfmt::skip] // One word per line would make the lists look long.
pub(super) const READ_NOUNS: &[&str] = &[
    "balance", "blame", "count", "details", "diff", "docs", "documentation", "elevation",
    "forecast", "geocode", "health", "help", "history", "indexes", "indices", "info", "information",
    "list", "logs", "messages", "metadata", "metrics", "overview", "price", "quote", "rate",
    "requests", "results", "schema", "screenshot", "statistics", "stats", "status", "summary",
    "time", "top", "tree", "usage", "version",
];

/// Servers and things that come before the verb: `slack_get_users`, `issue_read`. None of them is a verb in the other
/// lists.
#[rustfmt::skip] // One word per line would make the lists look long.
pub(super) const NOUNS: &[&str] = &[
    "account", "actions", "activity", "adb", "admin", "agent", "ai", "airflow", "airtable", "alert",
    "algolia", "amazon", "android", "ansible", "api", "app", "apple", "application", "argocd",
    "asana", "atlas", "atlassian", "aws", "azure", "batch", "bigquery", "bitbucket", "blender",
    "bluesky", "board", "bot", "box", "brave", "browser", "bucket", "bulk", "cache", "calendar",
    "channel", "chat", "chrome", "circleci", "class", "clickhouse", "clickup", "client", "cloud",
    "cloudflare", "cloudwatch", "cluster", "code", "codebase", "cognito", "collection", "column",
    "commits", "company", "configuration", "confluence", "confluent", "console", "consul",
    "contact", "container", "content", "conversation", "cosmos", "crm", "current", "cursor",
    "customer", "dashboard", "data", "database", "datadog", "dataset", "date", "db", "deepwiki",
    "dependency", "deployment", "desktop", "device", "directory", "discord", "discussion", "disk",
    "dns", "doc", "docker", "document", "domain", "drive", "dropbox", "dynamodb", "ec2", "ecs",
    "eks", "elastic", "elasticsearch", "entity", "event", "exa", "excel", "facebook", "field",
    "figma", "file", "filesystem", "firebase", "firecrawl", "firestore", "flow", "folder",
    "forecast", "form", "fs", "function", "game", "gcloud", "gcp", "gh", "git", "github", "gitlab",
    "global", "gmail", "google", "grafana", "graph", "group", "hass", "helm", "heroku", "host",
    "hubspot", "iam", "image", "inbox", "incident", "influxdb", "instagram", "instance", "intercom",
    "inventory", "issue", "item", "jenkins", "jira", "job", "jupyter", "k", "kafka", "key",
    "keyvault", "kibana", "kubectl", "kubectx", "kubernetes", "kv", "lambda", "ledger", "library",
    "linear", "linkedin", "local", "location", "mail", "mailbox", "maps", "market", "mastodon",
    "mcp", "media", "meeting", "member", "memory", "metric", "microsoft", "milestone", "mobile",
    "model", "monday", "mongo", "mongodb", "monitor", "mr", "ms", "multi", "multiple", "mysql",
    "neo4j", "neon", "netlify", "network", "news", "node", "note", "notification", "notion",
    "object", "obsidian", "office", "okta", "onedrive", "onenote", "openai", "opensearch", "oracle",
    "org", "organization", "outlook", "package", "page", "pagerduty", "paypal", "perplexity",
    "person", "photo", "pinecone", "pipeline", "plaid", "plan", "playwright", "pod", "portfolio",
    "postgres", "postgresql", "posthog", "postman", "price", "product", "profile", "project",
    "prometheus", "provider", "puppeteer", "qdrant", "quickbooks", "rabbitmq", "reddit", "redis",
    "redshift", "repo", "repository", "resource", "review", "rss", "s", "salesforce", "schema",
    "secret", "security", "sentry", "server", "service", "session", "sharepoint", "sheet", "shop",
    "shopify", "site", "slack", "snowflake", "sns", "solr", "spotify", "sqlite", "sqs", "square",
    "stock", "storage", "stripe", "sub", "supabase", "system", "t", "tab", "table", "tavily",
    "team", "teams", "telegram", "template", "terraform", "test", "thread", "ticket", "time",
    "todoist", "token", "tool", "trello", "twilio", "twitter", "ui", "unity", "unreal", "user",
    "vault", "vercel", "video", "vm", "volume", "weather", "web", "webhook", "whatsapp", "wiki",
    "window", "wordpress", "worker", "workflow", "workspace", "x", "yahoo", "youtube", "zendesk",
    "zone", "zoom",
];

/// Programs that run their input. They mean nothing inside a longer name.
#[rustfmt::skip] // One word per line would make the lists look long.
pub(super) const PROGRAMS: &[&str] = &[
    "ansible", "automation", "aws", "az", "cli", "cmd", "code", "console", "docker", "drive", "fly",
    "gcloud", "gh", "git", "graphql", "helm", "ipython", "iterm", "jupyter", "kubectl", "macro",
    "mongo", "mongosh", "mysql", "node", "npm", "perl", "php", "psql", "pwsh", "python", "redis",
    "rpc", "ruby", "screen", "sh", "terraform", "tmux", "walk", "xterm", "zsh",
];

/// Between two verbs: both verbs count.
#[rustfmt::skip] // One word per line would make the lists look long.
pub(super) const CONJUNCTIONS: &[&str] = &[
    "and", "or", "then",
];

/// Write words that count at the end of a name, even after a read word that may be a noun: `search_replace`,
/// `list_append`.
#[rustfmt::skip] // One word per line would make the lists look long.
pub(super) const TRAILING: &[&str] = &[
    "add", "append", "apply", "cancel", "create", "disable", "enable", "exec", "execute", "insert",
    "install", "modify", "overwrite", "pop", "publish", "push", "rename", "replace", "restart",
    "send", "set", "start", "stop", "submit", "trim", "upsert", "write",
];

/// Read words that may be nouns.
#[rustfmt::skip] // One word per line would make the lists look long.
pub(super) const NOUN_LIKE: &[&str] = &[
    "cat", "check", "compute", "count", "diff", "dig", "fetch", "find", "head", "list", "ping",
    "query", "read", "scan", "search", "show", "stat", "tail", "view", "wait",
];

/// Write words that count at the end of a run-together word: `hardreset`, `usercreate`.
#[rustfmt::skip] // One word per line would make the lists look long.
pub(super) const AT_THE_END: &[&str] = &[
    "cancel", "create", "deploy", "disable", "enable", "execute", "insert", "install", "overwrite",
    "publish", "rename", "replace", "reset", "restart", "update", "upload",
];

/// Nouns and adjectives that look like a form of a listed verb but are not.
#[rustfmt::skip] // One word per line would make the lists look long.
pub(super) const UNLIKE: &[&str] = &[
    "actions", "acts", "addresses", "annotations", "announcements", "answers", "archived",
    "archives", "assembled", "assigned", "attacks", "authors", "backups", "bids", "blocked",
    "bookings", "bookmarks", "books", "breaking", "breaks", "building", "buildings", "builds",
    "built", "buys", "calls", "cans", "changes", "charges", "charging", "checkouts", "claims",
    "clicks", "clones", "closed", "combined", "commands", "commented", "comments", "commits",
    "compiled", "composed", "computers", "connected", "connecting", "contributed", "contributions",
    "contributors", "crops", "cuts", "delays", "deploys", "determinate", "docked", "docks", "downs",
    "drafts", "drills", "drops", "editors", "emails", "ends", "exclusions", "executions", "exits",
    "exports", "extracts", "followed", "following", "forced", "forks", "formats", "formatted",
    "formatter", "formatters", "formatting", "funds", "generics", "goes", "going", "grants", "hits",
    "hooks", "imports", "includes", "indeterminate", "indexes", "indexing", "indices", "inputs",
    "installed", "interpreters", "invited", "invites", "joined", "labeled", "labels", "lays",
    "leaks", "liked", "likes", "linked", "links", "loads", "loans", "locks", "logging", "logs",
    "maps", "meetings", "mentions", "merges", "messages", "mounts", "moves", "mutations", "newest",
    "news", "opened", "operations", "orders", "outs", "packs", "pairs", "partitioned", "partitions",
    "patched", "patches", "payouts", "pending", "permits", "picks", "pinned", "pipes", "pitches",
    "places", "plays", "plugs", "posted", "posting", "posts", "prepared", "preset", "presets",
    "primed", "prints", "processes", "processing", "prompts", "protected", "published", "punches",
    "recording", "recordings", "records", "registered", "registers", "related", "releases",
    "rendered", "renders", "rents", "reports", "requests", "returns", "rings", "runners", "running",
    "runs", "saved", "scales", "scheduled", "schedules", "scraps", "scripts", "seeds", "selected",
    "separated", "servers", "serves", "sets", "setting", "settings", "shapes", "shared", "shares",
    "shells", "shipping", "ships", "signals", "signed", "signs", "sinks", "skips", "slices",
    "spending", "sponsors", "spreads", "staged", "stages", "stamps", "starred", "stars", "starts",
    "steps", "stores", "strikes", "subscribed", "subscriptions", "supplies", "switches", "tagged",
    "tags", "taps", "terminals", "timeouts", "tips", "touches", "trades", "training", "transfers",
    "transforms", "transports", "traps", "treats", "typed", "types", "undelete", "undeleted",
    "updates", "uploads", "ups", "upsides", "used", "user", "uses", "views", "votes", "waits",
    "watched", "watches", "wraps", "yields", "zeros", "zipped", "zips",
];
