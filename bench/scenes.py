"""The scenes over stdio, and their limits.

`mcpload` runs each scene against three commands: the server alone, the server behind a byte pump,
and the server behind the proxy with its audit log on.
"""

from dataclasses import dataclass

MIB = 1024 * 1024
KINDS = ("direct", "pump", "proxy")


@dataclass(frozen=True)
class Limit:
    """A limit for the proxy's figure, as a multiple of the pump's in the same round."""

    op: str
    ratio: float

    def holds(self, ratio: float) -> bool:
        return ratio <= self.ratio if self.op == "≤" else ratio >= self.ratio

    def __str__(self) -> str:
        return f"{self.op} {self.ratio:.2f}"


@dataclass(frozen=True)
class Scene:
    name: str
    figure: str  # the key in mcpload's report
    unit: str
    calls: int
    options: tuple[str, ...]
    limit: Limit
    is_asked: bool = False  # whether every call needs approval, which mcpload gives
    is_large: bool = False  # whether messages of 1 MiB dominate the memory


SCENES = (
    Scene("passed, 100 B, one at a time", "p50_us", "µs", 8000, (), Limit("≤", 1.05)),
    Scene("the same over socket pairs", "p50_us", "µs", 8000, ("--sockets",), Limit("≤", 1.10)),
    Scene("passed, 100 B, 64 in flight", "calls_per_s", "calls/s", 40000, ("--window", "64"), Limit("≥", 0.50)),
    Scene("passed, 1 MiB result", "p50_us", "µs", 150, ("--result-bytes", str(MIB)), Limit("≤", 1.15), is_large=True),
    Scene("passed, 1 MiB argument", "p50_us", "µs", 150, ("--arg-bytes", str(MIB)), Limit("≤", 2.20), is_large=True),
    Scene("needs approval, approved, 100 B", "p50_us", "µs", 3000, ("--tool", "delete_thing"), Limit("≤", 2.00), is_asked=True),
)

# Start-up in milliseconds, from the start of the proxy to the answer to `initialize`, including the
# server's own start; and peak memory of the proxy in MiB, with small messages.
START_UP_LIMIT = 5.0
MEMORY_LIMIT = 8.0
