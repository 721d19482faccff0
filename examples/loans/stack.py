"""The loans model: whether a loan for a car is paid back, asked by shops by day and by nobody at night."""

from examples.loans.features import SCHEMA
from examples.loans.gate import GATE
from stacks.product import Product

HYPERPARAMETERS = {"learning-rate": 0.1, "max-iter": 60, "held-out": 0, "seed": 7}
CARD = {
    "owner": "loans-team",
    "purpose": "Tell how likely it is that a loan for a car is paid back.",
    "intended_uses": "To sort applications: which are looked at by a person first.",
    "risk_rating": "High",
    "risk_explanation": "Whoever refuses by it alone keeps people from a car without a person having looked.",
    "caveats": "Trained on loans that are made up, to show the platform: not for any decision about a person.",
}
"""What the model card of every version says."""


class Loans(Product):
    """A tabular model behind an endpoint that scales to zero."""

    code = "examples.loans"
    sample = "examples.loans.sample"
    schema = SCHEMA
    gate = GATE
    hyperparameters = HYPERPARAMETERS
    description = "Whether a loan for a car is paid back"
    card = CARD
