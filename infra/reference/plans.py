"""What stacks would make, for the pages that tell of it: planned once, offline, asking nobody."""

import os
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from functools import cache
from typing import Any, Final

from infra.settings import stack_names, stacks_of

STACKS: Final = ("platform-prod", "employment-prod", "employment-bulk-prod")
"""Together they have every alarm and every output."""


@cache
def planned() -> Mapping[str, Any]:
    """The plan of each stack of STACKS that there is, by its name."""
    from infra.rehearsal.session import Rehearsal  # it imports Pulumi's providers, which takes seconds

    rehearsal = Rehearsal(say=lambda _: None, watching=lambda *_: nullcontext(lambda _: None))
    wanted = stacks_of([each for each in STACKS if each in stack_names()])
    # A process with threads, such as `mkdocs serve`, may not be copied.
    processes = os.cpu_count() or 1 if threading.active_count() == 1 else 1
    return {settings.stack: plan for settings, plan in rehearsal.plan_offline(wanted, processes=processes)}
