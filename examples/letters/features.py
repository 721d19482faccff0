"""What the letters model sees of a handwritten digit: 8 by 8 pixels, row by row from the top left."""

from typing import Final

from functions.features import Feature, FeatureSchema

SIDE: Final = 8
"""Pixels across, and down."""
INK: Final = 16
"""The value of a black pixel; a white one is 0."""
LABEL: Final = "upper"
"""What the model tells: 1 for the digits 5 to 9, whose letters go to the upper lane, 0 for 0 to 4."""
SCHEMA: Final = FeatureSchema(
    name="letters",
    record_id="id",
    event_time="event_time",
    features=tuple(
        Feature(
            name=f"p{row}{column}",
            kind="Fractional",
            description=f"Ink in row {row}, column {column}",
            minimum=0,
            maximum=INK,
        )
        for row in range(SIDE)
        for column in range(SIDE)
    ),
)
