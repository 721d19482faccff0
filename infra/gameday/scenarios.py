"""Every scenario, in the order in which they are played."""

from collections.abc import Iterator, Mapping
from typing import Final

from infra.gameday.data import FeatureDrift, LabelDrift, SchemaChange, StaleFeatures
from infra.gameday.platform import EmulatorRestart, LostFunction, RunawayCost
from infra.gameday.play import Play, Say, Scenario
from infra.gameday.releases import BadRelease, SlowRelease
from infra.gameday.report import Report
from infra.gameday.stage import Stage
from infra.reach import NotDeployed
from infra.rehearsal.session import ENVIRONMENT, Rehearsal
from infra.settings import SettingsError, stacks_of

ORDER: Final[tuple[type[Scenario], ...]] = (
    BadRelease,
    SlowRelease,
    SchemaChange,
    StaleFeatures,
    RunawayCost,
    LostFunction,
    FeatureDrift,
    LabelDrift,
    EmulatorRestart,
)
SCENARIOS: Final[Mapping[str, type[Scenario]]] = {each.name: each for each in ORDER}


def chosen(name: str | None) -> list[type[Scenario]]:
    """One scenario, or all. Raises SettingsError where there is none of that name."""
    if name is None:
        return list(SCENARIOS.values())
    if name not in SCENARIOS:
        raise SettingsError(f"there is no scenario {name!r}: there are {', '.join(SCENARIOS)}")
    return [SCENARIOS[name]]


def play(name: str | None, rehearsal: Rehearsal, say: Say) -> Iterator[Report]:
    """Play one scenario, or all, against the rehearsal, which is started where it does not run.

    Raises SettingsError, and what `Rehearsal.up` raises.
    """
    scenarios = chosen(name)
    try:
        Stage(rehearsal)
    except NotDeployed as missing:
        say(f"{missing}: it is brought up first")
        rehearsal.up(stacks_of([ENVIRONMENT]))
    for scenario in scenarios:
        yield Play(Stage(rehearsal), scenario(), say).run()
