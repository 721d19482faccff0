"""What stands between an alarm and a new version: whether to train at all, on these data, and whether it was worth it.

Nothing here asks or changes anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from statistics import NormalDist
from typing import Any, Final

from functions import ledger

SAYS_LITTLE: Final = 50
"""Rows of which a share says too little to hold anybody up."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From when on a retraining is not started, is held, or was not worth it."""

    debounce_hours: float = 24.0
    """The least time between two retrainings."""
    least_new_labels: int = 500
    """How many labels have to be newer than what the champion was trained on."""
    budget_percent: float = 100.0
    """How much of the month's budget may be spent with this training."""
    far: float = 0.3
    """How far a feature of the new labelled rows may be from what the endpoint is asked: the largest difference of the
    two distribution functions, of a category its share's."""
    label_share: float = 0.2
    """How far the share of positives of the new labels may be from the earlier ones'."""
    sudden: float = 0.2
    """How far that share may be from one delivery to the next."""
    one_source: float = 0.5
    """How much of the new labels one source may give; unless it always has."""
    least_compared: int = 100
    """On how many of the newest held-out rows champion and challenger have to be compared."""
    confidence: float = 0.95
    """How sure it has to be that the challenger is better."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known before a retraining."""

    now: str
    running: Sequence[str] = ()
    """Executions of the pipeline that run."""
    last: str | None = None
    """When the last retraining was started: ISO 8601, UTC."""
    trained_until: str = ""
    """The newest label that the champion was trained on."""
    new_labels: int = 0
    spent_usd: float | None = None
    """This month, as the budget has it; None where it is not known."""
    training_usd: float = 0.0
    """What this one costs at most."""
    budget_usd: float = 0.0


def refusals(facts: Facts, limits: Limits) -> list[str]:
    """Why no training is started now; empty where one may be."""
    found = []
    if facts.running:
        found.append(f"a training runs already: {', '.join(facts.running)}")
    if facts.last:
        again = ledger.moment(facts.last) + timedelta(hours=limits.debounce_hours)
        if ledger.moment(facts.now) < again:
            found.append(
                f"the last retraining was started at {facts.last}, less than {limits.debounce_hours:g} hours ago: not "
                f"before {ledger.stamp(again)}"
            )
    if facts.new_labels < limits.least_new_labels:
        found.append(
            f"{facts.new_labels:,} labels are newer than {facts.trained_until}, what the champion was trained on; it "
            f"takes {limits.least_new_labels:,}"
        )
    if facts.spent_usd is None:
        found.append("what was spent this month is not known, so nobody can tell whether the budget bears a training")
    else:
        total, bound = facts.spent_usd + facts.training_usd, facts.budget_usd * limits.budget_percent / 100
        if total > bound:
            found.append(
                f"{facts.spent_usd:.2f} USD are spent this month and a training costs up to {facts.training_usd:.2f}: "
                f"more than {limits.budget_percent:g} % of the budget of {facts.budget_usd:.2f}"
            )
    return found


def suspicions(data: Mapping[str, Any], limits: Limits) -> list[str]:
    """Why a person has to look at new labelled data before anything learns from them; empty where nobody has to.

    `data` is what newest.py has written of them (functions/training/newest.py).
    """
    return [*_far(data, limits), *_other_answers(data, limits), *_sudden(data, limits), *_one_source(data, limits)]


def _far(data: Mapping[str, Any], limits: Limits) -> list[str]:
    asked = data["asked"]
    if asked["rows"] < SAYS_LITTLE:
        return [f"only {asked['rows']} requests were captured: whether the new rows are like them cannot be told"]
    far = [each for each in asked["distances"] if each["distance"] > limits.far]
    if not far:
        return []
    told = ", ".join(f"{each['name']} ({each['distance']:.2f})" for each in far[:5])
    return [f"the new labelled rows are far from what the endpoint is asked, more than {limits.far:g}: {told}"]


def _other_answers(data: Mapping[str, Any], limits: Limits) -> list[str]:
    new, old = data["new"], data["old"]
    if (
        min(new["labels"], old["labels"]) < SAYS_LITTLE
        or abs(new["positives"] - old["positives"]) <= limits.label_share
    ):
        return []
    return [f"{new['positives']:.0%} of the new labels are positive, and {old['positives']:.0%} of the earlier ones"]


def _sudden(data: Mapping[str, Any], limits: Limits) -> list[str]:
    counted = [each for each in data["deliveries"] if each["labels"] >= SAYS_LITTLE]
    jumps = [(abs(after["positives"] - before["positives"]), before, after) for before, after in pairwise(counted)]
    found = [each for each in jumps if each[0] > limits.sudden]
    if not found:
        return []
    _, before, after = max(found, key=lambda each: each[0])
    return [
        f"from one delivery to the next, the share of positive labels goes from {before['positives']:.0%} "
        f"({before['name']}) to {after['positives']:.0%} ({after['name']})"
    ]


def _one_source(data: Mapping[str, Any], limits: Limits) -> list[str]:
    new, old = data["sources"]["new"], data["sources"]["old"]
    total, before = sum(new.values()), sum(old.values())
    for source, count in sorted(new.items()):
        share, used_to = count / total, old.get(source, 0) / before if before else 0.0
        # A source that has always given this much is not one that has taken over.
        if share > limits.one_source and share - used_to > limits.one_source / 2:
            named = f"the source {source}" if source else "the folder of labels itself"
            return [f"{share:.0%} of the new labels are from {named}, which gave {used_to:.0%} of the earlier ones"]
    return []


def verdict(compared: Mapping[str, Any], limits: Limits) -> tuple[bool, str]:
    """Whether the challenger beats the champion, and why.

    `compared` is what challenge.py has written: both models' metrics on the newest held-out rows, and by how much the
    loss of the challenger is less, by row (mean and standard error).
    """
    rows, gain = int(compared["rows"]), compared["gain"]
    champion, challenger = compared["champion"], compared["challenger"]
    told = (
        f"on the {rows:,} newest held-out rows its log loss is {challenger['log_loss']:.4f} and its accuracy "
        f"{challenger['accuracy']:.3f}, the champion's {champion['log_loss']:.4f} and {champion['accuracy']:.3f}"
    )
    if rows < limits.least_compared:
        return False, f"{rows:,} held-out rows are too few to compare on: it takes {limits.least_compared:,}"
    least = gain["mean"] - NormalDist().inv_cdf(limits.confidence) * gain["standard_error"]
    if least <= 0:
        return False, f"it is not better than the champion for certain ({limits.confidence:.0%}): {told}"
    if challenger["accuracy"] < champion["accuracy"] - gain["accuracy_standard_error"]:
        return False, f"it is less often right than the champion: {told}"
    return True, f"it beats the champion: {told}"
