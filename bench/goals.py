"""The goals of the data plane, and what a run says about each."""

from dataclasses import dataclass
from statistics import median

import ai
import parts
from proxies.tidegate_parts import Cached, Composed, Plugged, SharedLimited, Transcoded
from table import ratios

OURS = "Tidegate"
# Why a goal is missed, where that is known; it stands beside the figure only when it is.
FIELDS = "header maps and what fills them, see [what a request costs](decisions/request-cost.md)"
STALL = "the same load without reloads stalls nearly as long, see the scene's table"
FRAMES = "the `h2` crate on both sides, and header maps, see [what a request costs](decisions/request-cost.md)"


@dataclass(frozen=True)
class Goal:
    """A bound, and how the figures that it bounds are taken from all results."""

    scene: str
    what: str
    most: float
    unit: str
    figures: callable
    why: str = ""

    def row(self, results):
        """what, goal, measured, verdict."""
        values = self.figures(results)
        measured = median(values)
        digits = 0 if self.unit == " lost" else 2 if measured < 10 else 1
        text = f"{measured:.{digits}f}{self.unit}"
        if len(values) > 1:
            text += f" ({min(values):.{digits}f}–{max(values):.{digits}f})"
        return [self.what, f"≤ {self.most:g}{self.unit}", text, self.verdict(measured)]

    def verdict(self, measured):
        if measured <= self.most:
            return "met"
        over = f"{measured - self.most:.0f}{self.unit}" if self.most == 0 else f"{measured / self.most - 1:.0%}"
        return f"**missed by {over}**" + (f": {self.why}" if self.why else "")


def against(scene, base, of=lambda sample: sample.cpu):
    return lambda results: ratios(results[scene], OURS, base, of)


def own(scene, of):
    return lambda results: [of(sample) for sample in results[scene][OURS]]


def growth(results):
    few, many = results["routes-10"][OURS], results["routes-100000"][OURS]
    return [after.cpu / before.cpu for before, after in zip(few, many, strict=True)]


GOALS = (
    Goal("bare", "bare proxying, CPU", 0.80, " × nginx", against("bare", "nginx"), FIELDS),
    Goal("bare", "bare proxying, user space", 4, " µs", own("bare", lambda s: s.user), FIELDS),
    Goal("chain", "key + limit + log + metrics, CPU", 0.85, " × nginx", against("chain", "nginx"), FIELDS),
    Goal("chain", "the same, user space", 6, " µs", own("chain", lambda s: s.user), FIELDS),
    Goal("tls", "TLS with keep-alive, CPU", 1.0, " × nginx", against("tls", "nginx")),
    Goal("h2", "HTTP/2 in, CPU", 0.75, " × nginx", against("h2", "nginx"), FRAMES),
    Goal("grpc", "gRPC unary, CPU", 0.35, " × Envoy", against("grpc", "Envoy"), FRAMES),
    Goal("paced", "p99 at a fixed rate", 1.0, " × nginx", against("paced", "nginx", lambda s: s.p99)),
    Goal("routes-100000", "100,000 routes, CPU", 2.0, " × 10 routes", growth),
    Goal("reload", "reloads of 10,000 routes", 0, " lost", own("reload", lambda s: s.more["lost"])),
    Goal("reload", "longest stall by a reload", 5, " ms", own("reload", lambda s: s.more["longest"] / 1e3), STALL),
    Goal("idle", "memory at rest", 30, " MB", own("idle", lambda s: s.more["rest"])),
    Goal("idle", "memory with 10,000 idle connections", 120, " MB", own("idle", lambda s: s.more["full"])),
)


def against_plain(scene, name, of=lambda sample: sample.cpu):
    return lambda results: ratios(results[scene], name, ai.BASE, of)


def added(name):
    """Milliseconds of p99 beyond plain proxying at the same rate."""
    return lambda results: [
        (ours.p99 - plain.p99) / 1e3
        for ours, plain in zip(results["ai-paced"][name], results["ai-paced"][ai.BASE], strict=True)
    ]


def chunk(name):
    return lambda results: [sample.cpu for sample in results["ai-stream"][name]]


def slow(of):
    """A figure of each run of the slow streams."""
    return lambda results: [of(sample.more) for samples in results["ai-slow"].values() for sample in samples]


def most_held(more):
    return max(more["all streams MB"], *(more[ai.later(seconds)] for seconds in ai.SLOW_LOOKS))


def growth_held(more):
    first, *_, last = ai.SLOW_LOOKS
    return more[ai.later(last)] / more[ai.later(first)]


WORK = "what it does with a call, see [what a governed call costs](decisions/governed-calls.md)"
GOVERNED, TRANSLATED = ai.Governed.NAME, ai.Translated.NAME
AI_GOALS = (
    Goal("ai-paced", "governed, bytes pass, at half load: CPU", 2, " × plain proxying", against_plain("ai-paced", GOVERNED), WORK),
    Goal("ai", "the same at full load: CPU", 2, " × plain proxying", against_plain("ai", GOVERNED), WORK),
    Goal("ai", "translated: CPU", 4, " × plain proxying", against_plain("ai", TRANSLATED)),
    Goal("ai-stream", "governed, a streamed token: CPU", 100, " µs", chunk(GOVERNED)),
    Goal("ai-stream", "governed and translated, a streamed token: CPU", 100, " µs", chunk(ai.GovernedTranslated.NAME)),
    Goal("ai-paced", "governed: added to p99", 1, " ms", added(GOVERNED)),
    Goal("ai-paced", "governed and translated: added to p99", 1, " ms", added(ai.GovernedTranslated.NAME)),
    Goal("ai-slow", f"{ai.SLOW_STREAMS:,} slow streams", 600, " MB", slow(most_held)),
    Goal("ai-slow", f"the same, memory after {ai.SLOW_LOOKS[-1]} s", 1.05, f" × after {ai.SLOW_LOOKS[0]} s", slow(growth_held)),
)


def beside(scene, name):
    """CPU against what the scene compares with."""
    [base] = [one.base for one in parts.ALL if one.name == scene]
    return lambda results: ratios(results[scene], name, base)


def beyond(scene, name):
    """µs of CPU more than what the scene compares with."""
    [base] = [one.base for one in parts.ALL if one.name == scene]
    return lambda results: [ours.cpu - plain.cpu for ours, plain in zip(results[scene][name], results[scene][base], strict=True)]


def each(scene, name, of):
    return lambda results: [of(sample) for sample in results[scene][name]]


#: µs of CPU at which two cores answer 30,000 a second, ten times what is reported for Apinto.
TRANSCODE_MOST = 66.7
PART_GOALS = (
    Goal("cache", "a kept answer: CPU", 1.0, " × nginx", beside("cache", Cached.NAME)),
    Goal("compose", "three calls composed: CPU", 3.5, " × one proxied call", beside("compose", Composed.NAME)),
    Goal("wasm", "a component that does nothing, on the way in and out: CPU beside one proxied call", 5, " µs more", beyond("wasm", Plugged.NAME)),
    Goal("shared-limit", "a limit in Redis: round trips of a request", 1.01, "", each("shared-limit", SharedLimited.NAME, lambda s: s.more["questions"])),
    Goal("transcode", "REST to gRPC: CPU (30,000 requests/s on two cores)", TRANSCODE_MOST, " µs", each("transcode", Transcoded.NAME, lambda s: s.cpu)),
)


def ai_rows(results):
    """The goals of the AI gateway whose scenes were measured."""
    return [goal.row(results) for goal in AI_GOALS if goal.scene in results]


def part_rows(results):
    """The goals of single policies and handlers whose scenes were measured."""
    return [goal.row(results) for goal in PART_GOALS if goal.scene in results]


def rows(results):
    """Only of the scenes that were measured."""
    wanted = [goal for goal in GOALS if goal.scene in results and ("routes-10" in results or goal.figures is not growth)]
    wanted = [goal for goal in wanted if OURS in results[goal.scene]]
    return [goal.row(results) for goal in wanted]
