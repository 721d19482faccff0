"""What a check found, as people and other programs read it: text, JSON, SARIF, JUnit and Markdown."""

from collections.abc import Iterator

from infra.check import Report, Violation


def text(report: Report) -> str:
    """For a terminal: what is violated, what is deferred, what is excepted, and a line for each pack."""
    return "\n".join([*_violated(report), *_deferred(report), *_excepted(report), *_counted(report)])


def ordered(report: Report) -> list[Violation]:
    """The violations in an order that stays the same."""
    return sorted(report.violations, key=lambda one: (one.stack, one.pack, one.rule, one.resource, one.sentence))


def _violated(report: Report) -> Iterator[str]:
    for each in ordered(report):
        yield f"{each.stack}: {each.resource}: {each.sentence} [{each.pack}/{each.rule}, {each.severity}]"
    yield from report.faults


def _deferred(report: Report) -> Iterator[str]:
    if report.deferred:
        yield f"{len(report.deferred)} deferred, because only a deployment will know; `up` decides them:"
    for each in report.deferred:
        yield f"  {each.stack}: {each.resource}: {each.path} [{each.pack}/{each.rule}]"


def _excepted(report: Report) -> Iterator[str]:
    if report.exceptions:
        yield f"{len(report.excepted)} excepted, by {len(report.exceptions)} entries of policies/exceptions.yaml:"
    for each in report.excepted:
        yield f"  {each.stack}: {each.resource}: {each.sentence} [{each.pack}/{each.rule}]"
    for entry in report.exceptions:
        stack = f" of {entry.stack}" if entry.stack else ""
        yield (
            f"  {entry.status}: {entry.rule} for {entry.resource}{stack}, {entry.ticket} of {entry.owner}, "
            f"until {entry.expires}: {entry.reason}"
        )
        if entry.warning:
            yield f"    warning: {entry.warning}"


def _counted(report: Report) -> Iterator[str]:
    for pack, count in report.packs.items():
        yield (
            f"{pack}: {count.rules} rules, {count.violations} violations, {count.deferred} deferred, "
            f"{count.excepted} excepted"
        )
    resources = sum(report.stacks.values())
    yield f"{', '.join(report.stacks)}: {resources} resources checked in {report.seconds:.1f} s"
