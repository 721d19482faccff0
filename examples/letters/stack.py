"""The letters model: which way a letter goes, by the first digit of its postcode, read from a picture on a GPU."""

from examples.letters.features import SCHEMA
from examples.letters.gate import GATE
from stacks.product import Product

HYPERPARAMETERS = {"learning-rate": 0.002, "epochs": 12, "held-out": 0, "seed": 7}
CARD = {
    "owner": "letters-team",
    "purpose": "Tell whether the first digit of a postcode is 5 to 9, whose letters go to the upper lane.",
    "intended_uses": "Sorting letters; one in the wrong lane comes a day later.",
    "risk_rating": "Low",
    "risk_explanation": "A person reads what comes back from the wrong lane.",
    "caveats": "Trained on the digits of 13 people, 8 by 8 pixels each: other pens and scanners are read worse.",
}
"""What the model card of every version says."""


class Letters(Product):
    """A network in JAX on GPUs, released by canary, beside a shadow that is asked the same."""

    code = "examples.letters"
    sample = "examples.letters.sample"
    schema = SCHEMA
    gate = GATE
    hyperparameters = HYPERPARAMETERS
    description = "Whether a handwritten digit is 5 or more"
    card = CARD
