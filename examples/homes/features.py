"""What the homes model knows of a block of homes: eight figures of a census.

The figures and their units: https://scikit-learn.org/stable/datasets/real_world.html#california-housing-dataset
"""

from typing import Final

from functions.features import Feature, FeatureSchema

LABEL: Final = "dear"
"""What the model tells: 1 for a block whose homes are worth more than most, else 0."""
SCHEMA: Final = FeatureSchema(
    name="homes",
    record_id="id",
    event_time="event_time",
    features=(
        Feature(name="MedInc", kind="Fractional", description="Median income in 10,000 dollars", minimum=0),
        Feature(name="HouseAge", kind="Fractional", description="Median age of the homes in years", minimum=0),
        Feature(name="AveRooms", kind="Fractional", description="Rooms a household", minimum=0),
        Feature(name="AveBedrms", kind="Fractional", description="Bedrooms a household", minimum=0),
        Feature(name="Population", kind="Fractional", description="People in the block", minimum=0),
        Feature(name="AveOccup", kind="Fractional", description="People a household", minimum=0),
        Feature(name="Latitude", kind="Fractional", description="Degrees north", minimum=-90, maximum=90),
        Feature(name="Longitude", kind="Fractional", description="Degrees east", minimum=-180, maximum=180),
    ),
)
