"""Sends a planned load, follows it, stops it where it must, and sums up what came of it."""

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import goal, percentile, rounded
from benchmarks.load_target import EndpointWatch, Fleet, Target
from local.console import Screen, plural
from traffic.arrivals import Stage, starts
from traffic.open_loop import Sample, Traffic, windows
from traffic.picture import Column
from traffic.senders import SECONDS, Answer, Sender

_TICK_SECONDS = 0.2
_LATE_SECONDS = 1.0  # for which a request may be due before it is sent; then the client is too slow
_RECENT = 100  # requests by whose failures the load is stopped
_POLL_SECONDS = {True: 0.5, False: 5.0}  # between questions about the instances, on this machine or on AWS
_NUM_WINDOWS = 120  # in the picture


@dataclass(frozen=True)
class Plan:
    """What is sent, and where.

    Attributes:
        target: where.
        stages: the rates.
        moments: when each request is due, in seconds since the start.
        photo_bytes: of a photo, on average.
        fleet: the instances before the load; None if nobody tells.
    """

    target: Target
    stages: list[Stage]
    moments: list[float]
    photo_bytes: int
    fleet: Fleet | None

    @property
    def seconds(self) -> float:
        """The length of all stages."""
        return sum(stage.seconds for stage in self.stages)

    def in_words(self) -> str:
        """Return the stages in words."""
        return ", ".join(f"{stage.seconds:g} s at {stage.rate:g}/s" for stage in self.stages)


class Load:
    """A load that is being sent, and what came of it.

    Attributes:
        stopped: why it ended before all was sent, as a sentence; empty if all was sent.
    """

    def __init__(self, plan: Plan, sender: Sender, watch: EndpointWatch, connections: int, max_failed: float) -> None:
        self.stopped = ""
        self._plan, self._watch, self._max_failed = plan, watch, max_failed
        self._traffic = Traffic(sender, plan.moments, connections)
        self._versions = list[str]()
        self._counts = list[tuple[float, int, int]]()  # moments with the instances in service and those ordered
        self._cpu_share = 0.0
        sender.heard = lambda answer: self._versions.append(version_of(answer))

    def run(self) -> None:
        """Send everything, unless Ctrl-C, failures or this machine's limits end it."""
        try:
            with Screen() as screen, self._traffic:
                try:
                    self._follow(screen)
                except KeyboardInterrupt:
                    self.stopped = "stopped by Ctrl-C"
                if self.stopped:
                    screen.line(self.stopped)
                    if self._traffic.num_waiting:
                        screen.line(f"waits for the answers to what was sent, {SECONDS} s at most")
        except KeyboardInterrupt:
            self.stopped = "stopped by Ctrl-C, without waiting for the last answers"

    def _follow(self, screen: Screen) -> None:
        """Print the progress and count instances until everything is answered, or something must stop it."""
        cpu, asked, traffic = time.process_time(), -math.inf, self._traffic
        while not traffic.is_over and not self.stopped:
            time.sleep(_TICK_SECONDS)
            now = time.monotonic() - traffic.started
            self._cpu_share = (time.process_time() - cpu) / now
            if now - asked >= _POLL_SECONDS[self._plan.target.is_here]:
                asked = now
                self._count_instances(now)
            screen.passing(self._progress(now))
            self.stopped = self._reason_to_stop()

    def _count_instances(self, now: float) -> None:
        counts = self._watch.counts()
        if counts and (not self._counts or self._counts[-1][1:] != counts):
            self._counts.append((now, *counts))

    def _reason_to_stop(self) -> str:
        recent = self._traffic.samples[-_RECENT:]
        failed = Counter(each.status for each in recent if each.status != 200)
        if len(recent) == _RECENT and failed.total() > self._max_failed * _RECENT:
            kinds = ", ".join(f"{number} x {_status(status)}" for status, number in failed.most_common())
            return f"{failed.total()} of the last {_RECENT} requests failed ({kinds}), more than --max-failed allows"
        late, busy = self._traffic.lateness, self._traffic.num_waiting
        if late <= _LATE_SECONDS:
            return ""
        figures = f"a request waits {late:.1f} s to be sent; this process takes {self._cpu_share:.0%} of a core, and "
        if busy >= self._traffic.num_senders:
            return (
                f"the client is the bottleneck: {figures}all its {self._traffic.num_senders} connections wait for "
                "answers; the API is slower than the rate, so more --connections or a lower rate would show how much"
            )
        return (
            f"the client is the bottleneck: {figures}{busy} of {self._traffic.num_senders} connections wait for "
            "answers; lower the rate, or send from a machine with less other load"
        )

    def _progress(self, now: float) -> str:
        samples = self._traffic.samples
        recent = [each.milliseconds for each in samples[-_RECENT:] if each.status == 200]
        stages = zip(starts(self._plan.stages), self._plan.stages, strict=True)
        rate = next((stage.rate for begin, stage in stages if begin <= now < begin + stage.seconds), 0.0)
        words = [
            f"{now:.0f} of {self._plan.seconds:.0f} s",
            f"{rate:g}/s",
            f"{self._traffic.num_due:,} of {len(self._plan.moments):,} due",
            f"{self._traffic.num_waiting} wait",
            f"{sum(each.status != 200 for each in samples):,} failed",
        ]
        if recent:
            words.append(
                f"p50 {percentile(recent, 0.5):.0f} ms, slowest {max(recent):.0f} ms of the last {len(recent)}"
            )
        if self._counts:
            _, in_service, ordered = self._counts[-1]
            words.append(plural(in_service, "instance") + (f", {ordered} ordered" if ordered != in_service else ""))
        return "; ".join(words)

    def figures(self) -> dict[str, Any]:
        """Return what came of it."""
        samples, num_offered = self._traffic.samples, len(self._plan.moments)
        late = [1e3 * each.late for each in samples if _is_sent(each)]
        failed = sum(each.status != 200 for each in samples if _is_sent(each))
        return {
            "stopped": self.stopped,
            "offered": num_offered,
            **summary(samples),
            "versions": dict(Counter(filter(None, self._versions)).most_common()),
            "stages": self._stages(),
            "instances": self._instances(),
            "client": {
                "cpu_share": rounded(self._cpu_share),
                "late_ms_p99": rounded(percentile(late, 0.99)) if late else None,
                "late_ms_max": rounded(max(late)) if late else None,
            },
            "goal": {
                "share_sent": goal(len(late) / num_offered, at_least=1.0),
                "share_failed": goal(failed / max(len(late), 1), at_most=self._max_failed),
            },
        }

    def _stages(self) -> list[dict[str, Any]]:
        found = []
        for begin, stage in zip(starts(self._plan.stages), self._plan.stages, strict=True):
            end = begin + stage.seconds
            offered = sum(begin <= moment < end for moment in self._plan.moments)
            of_stage = summary([each for each in self._traffic.samples if begin <= each.due < end])
            found.append({"seconds": stage.seconds, "rate": stage.rate, "offered": offered, **of_stage})
        return found

    def _instances(self) -> dict[str, Any]:
        if not self._counts:
            return {"unknown_because": self._watch.problem or "nobody told it"}
        in_service = [count for _, count, _ in self._counts]
        changes = [{"second": round(moment), "in_service": n, "ordered": m} for moment, n, m in self._counts]
        return {"least": min(in_service), "most": max(in_service), "changes": changes}

    def column(self) -> Column:
        """Return what is drawn."""
        samples, stages = self._traffic.samples, self._plan.stages
        last = max((each.due for each in samples), default=0.0)
        width = max(1.0, math.ceil(last / _NUM_WINDOWS))
        parts = windows(samples, width, last if self.stopped else self._plan.seconds)
        answered = [(end, [each.milliseconds for each in part if each.status == 200]) for end, part in parts]
        failed = [(end - width, sum(each.status != 200 for each in part) / width) for end, part in parts]
        offered = [(begin, stage.rate) for begin, stage in zip(starts(stages), stages, strict=True)]
        counts = [*self._counts, (max(last, self._counts[-1][0]), *self._counts[-1][1:])] if self._counts else []
        return Column(
            self._plan.in_words() if len(stages) < 4 else f"{len(stages)} stages in {self._plan.seconds:g} s",
            rates={
                "offered": [*offered, (self._plan.seconds, stages[-1].rate)],
                "answered": [(end - width, len(times) / width) for end, times in answered],
                "failed": failed if any(rate for _, rate in failed) else [],
            },
            latencies={
                name: [(end, percentile(times, share)) for end, times in answered if times]
                for name, share in (("p50", 0.5), ("p99", 0.99))
            },
            instances={
                "ordered": [(moment, ordered) for moment, _, ordered in counts],
                "in service": [(moment, in_service) for moment, in_service, _ in counts],
            }
            if counts
            else {},
        )


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return counts of some requests, and percentiles of the milliseconds of those that got status 200."""
    times = [each.milliseconds for each in samples if each.status == 200]
    shares = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "max_ms": 1.0}
    statuses = Counter(_status(each.status) if _is_sent(each) else "not sent" for each in samples)
    return {
        "sent": sum(map(_is_sent, samples)),
        "answered": sum(each.status != 0 for each in samples),
        "by_status": dict(sorted(statuses.items())),
        **{name: rounded(percentile(times, share)) if times else None for name, share in shares.items()},
    }


def _is_sent(sample: Sample) -> bool:
    return math.isfinite(sample.late)


def _status(status: int) -> str:
    return str(status) if status else "no answer"


def version_of(answer: Answer) -> str:
    """Return the version of the model that answered; empty if the answer is no prediction."""
    if answer.status != 200:
        return ""
    try:
        return str(json.loads(answer.body).get("model_version", ""))
    except (ValueError, AttributeError):
        return ""
