"""The homes model: in which blocks homes are dear. Whole files are answered at night; there is no endpoint."""

from examples.homes.features import SCHEMA
from examples.homes.gate import GATE
from stacks.product import Product

HYPERPARAMETERS = {"trees": 100, "rows-per-leaf": 3, "held-out": 0, "seed": 7}
CARD = {
    "owner": "homes-team",
    "purpose": "Tell how likely it is that the homes of a block are worth more than half of all.",
    "intended_uses": "To check a portfolio of mortgages at night, and to look at what changed.",
    "risk_rating": "Medium",
    "risk_explanation": "Where people live goes with who they are: prices of whole districts follow such figures.",
    "caveats": "Trained on California in 1990: elsewhere and later it is wrong.",
}
"""What the model card of every version says."""


class Homes(Product):
    """A tabular model for files."""

    code = "examples.homes"
    sample = "examples.homes.sample"
    schema = SCHEMA
    gate = GATE
    hyperparameters = HYPERPARAMETERS
    description = "Whether the homes of a block are worth more than most"
    card = CARD
