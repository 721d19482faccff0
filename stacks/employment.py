"""The employment model: whether a person has work, from what the census asks about them."""

from functions.employment.features import PREVIOUS, SCHEMA
from functions.employment.gate import GATE
from stacks.product import Product

HYPERPARAMETERS = {"learning-rate": 0.15, "max-iter": 80, "held-out": 0, "seed": 7}
CARD = {
    "owner": "employment-team",
    "purpose": "Tell how likely it is that a person has work, from what the census asks about them.",
    "intended_uses": "Estimates over groups of people, such as a region's demand for help in finding work.",
    "risk_rating": "High",
    "risk_explanation": "Whoever decides about a person by it may treat people differently by sex, race or disability.",
    "caveats": "Not for decisions about one person. Trained on Massachusetts in 2015: elsewhere and later it is worse.",
    "factors": "Sex and race are among its features; how well it does for each group is measured with every version.",
}
"""What the model card of every version says."""


class Employment(Product):
    """Asked in person, and for whole files."""

    code = "functions.employment"
    schema = SCHEMA
    previous_schema = PREVIOUS
    gate = GATE
    hyperparameters = HYPERPARAMETERS
    card = CARD
    description = "Whether a person has work, from census answers"
    sample = "stacks.samples.employment"
