"""The scenes over HTTP, and their limits.

`httpload` runs each scene over several paths to the same server. The proxy's figure is compared
with one of the others.
"""

from dataclasses import dataclass

from scenes import Limit

# The newest version when this was written. It runs without its event store for reconnecting
# clients, which slows it down.
MCP_PROXY = "6.7.19"


@dataclass(frozen=True)
class HttpScene:
    name: str
    figure: str  # the key in httpload's report
    unit: str
    calls: int
    options: tuple[str, ...]
    kinds: tuple[str, ...]  # the paths, in the order of the columns; the last is the proxy
    beside: str  # the path that the proxy is compared with
    limit: Limit | None = None


TO_HTTP, TO_STDIO = ("http-echo", "http-relay", "proxy"), ("mcp-proxy", "proxy")
ONE, MANY = ("p50_us", "µs", 4000), ("calls_per_s", "calls/s", 20000)
SIXTY_FOUR, STATELESS = ("--in-flight", "64"), ("--stateless",)

HTTP_SCENES = (
    HttpScene("HTTP to HTTP, one at a time", *ONE, (), TO_HTTP, "http-relay", Limit("≤", 2.0)),
    HttpScene("the same, stateless", *ONE, STATELESS, TO_HTTP, "http-relay", Limit("≤", 2.0)),
    HttpScene("HTTP to HTTP, 64 in flight", *MANY, SIXTY_FOUR, TO_HTTP, "http-relay"),
    HttpScene("HTTP to stdio, one at a time", "p50_us", "µs", 2000, (), TO_STDIO, "mcp-proxy"),
    HttpScene("HTTP to stdio, 64 in flight", "calls_per_s", "calls/s", 6000, SIXTY_FOUR, TO_STDIO, "mcp-proxy", Limit("≥", 5.0)),
)
