"""What a stack's YAML may say: Pulumi's keys, ours, the stated use, and the settings of each stack."""

import inspect
from collections.abc import Iterator

from infra.docstrings import fields, summary
from infra.environments import Deploys, Environment
from infra.reference import components, specs
from infra.reference.markdown import code, either, page, prose, table
from infra.settings import ENVIRONMENTS, KEYS, TAGS
from policies.cost.usage import Usage
from stacks.platform import PlatformStack
from stacks.product import Product

TEXTS = {
    "aws:region": "The region that everything is deployed to.",
    "aws:allowedAccountIds": "The one account, 12 digits in quotes; the provider refuses every other.",
    "aws:defaultTags": f"`tags`: on every resource. Required are {', '.join(code(each) for each in TAGS)}.",
    "slipway:stack": "Which Python file of `stacks/` it is: `platform`, or a product.",
    "slipway:usd_per_month": "The budget. A plan whose largest size costs more is refused; AWS Budgets tells of what is"
    " spent.",
    "slipway:usage": "What the stack will be asked, for its cost: see [Stated use](#stated-use). Optional.",
    "slipway:permissions_boundary": "The ARN of a policy that bounds every role of the stack. Optional.",
    "slipway:settings": "What the stack's Python file lets YAML say: the tables below.",
}


def pages() -> Iterator[tuple[str, str]]:
    """One page of all that stands in `stacks/`."""
    keys = [each for each in TEXTS if not each.startswith("slipway:")] + sorted(KEYS)
    yield (
        "reference/stacks.md",
        page(
            "Stacks and their YAML",
            "A stack is a Python file of `stacks/`, which says what is deployed, and a YAML file beside it for each"
            f" environment, `Pulumi.NAME-ENVIRONMENT.yaml`: {either([code(each) for each in ENVIRONMENTS])}. A key that"
            " is unknown, missing or out of its limits is an error with the file, the key and what it may be.",
            "The same stands in `stacks/schemas/` as JSON Schemas, which the first line of each YAML file names: an"
            " editor with a YAML language server completes keys, says what they are for, and marks mistakes.",
            "## Keys of the file",
            table(("key", "what it is"), ((code(each), TEXTS.get(each, "")) for each in keys)),
            "## The platform",
            prose(summary(PlatformStack)),
            specs.keys(PlatformStack, _link),
            "## A product",
            prose(summary(Product)),
            specs.keys(Product, _link),
            "### What a product says in Python",
            "A file of `stacks/` subclasses `stacks.product.Product`, and sets what is the product's own:",
            table(("attribute", "what it is"), _own()),
            "## Environments",
            "`stacks/environments.yaml` names the environments, in the order in which a change passes through them.",
            "### An environment",
            specs.keys(Environment, lambda name: "its repository" if name == "Deploys" else code(name)),
            "### `deploys`",
            specs.keys(Deploys, code),
            "## Stated use",
            f"{prose(inspect.getdoc(Usage) or '')} `slipway cost` tells what a stack costs *as used* by it.",
            specs.keys(Usage, code),
        ),
    )


def _link(name: str) -> str:
    return components.link(name, "components/")


def _own() -> Iterator[tuple[str, str]]:
    texts = fields(Product)
    for name, annotation in Product.__annotations__.items():
        if "ClassVar" in str(annotation):
            yield code(name), prose(texts.get(name, ""))
