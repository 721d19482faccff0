"""What the employment model knows of a person: 16 answers to the American Community Survey.

Codes and meanings: the survey's public-use data dictionary (https://www.census.gov/programs-surveys/acs/microdata.html).
"""

from typing import Final

from functions.features import Feature, FeatureSchema, Ttl


def _codes(first: int, last: int) -> tuple[str, ...]:
    return tuple(str(code) for code in range(first, last + 1))


LABEL: Final = "employed"
"""What the model tells: 1 for a person who has work, else 0."""
SCHEMA: Final = FeatureSchema(
    name="employment",
    record_id="id",
    event_time="event_time",
    features=(
        Feature(name="AGEP", kind="Fractional", description="Age in years", minimum=0, maximum=99),
        Feature(name="SCHL", kind="String", description="Educational attainment", categories=_codes(0, 24)),
        Feature(name="MAR", kind="String", description="Marital status", categories=_codes(1, 5)),
        Feature(name="RELP", kind="String", description="Relationship to the householder", categories=_codes(0, 17)),
        Feature(name="DIS", kind="String", description="Disability", categories=_codes(1, 2)),
        Feature(name="ESP", kind="String", description="Employment status of parents", categories=_codes(0, 8)),
        Feature(name="CIT", kind="String", description="Citizenship status", categories=_codes(1, 5)),
        Feature(name="MIG", kind="String", description="Residence a year ago", categories=_codes(0, 3)),
        Feature(name="MIL", kind="String", description="Military service", categories=_codes(0, 4)),
        Feature(name="ANC", kind="String", description="Ancestry recode", categories=_codes(1, 4)),
        Feature(name="NATIVITY", kind="String", description="Native or foreign born", categories=_codes(1, 2)),
        Feature(name="DEAR", kind="String", description="Hearing difficulty", categories=_codes(1, 2)),
        Feature(name="DEYE", kind="String", description="Vision difficulty", categories=_codes(1, 2)),
        Feature(name="DREM", kind="String", description="Cognitive difficulty", categories=_codes(0, 2)),
        Feature(
            name="SEX",
            kind="String",
            description="Sex",
            categories=_codes(1, 2),
            labels={"1": "male", "2": "female"},
        ),
        Feature(
            name="RAC1P",
            kind="String",
            description="Race",
            categories=_codes(1, 9),
            labels={
                "1": "White alone",
                "2": "Black or African American alone",
                "3": "American Indian alone",
                "4": "Alaska Native alone",
                "5": "American Indian and Alaska Native, tribe not specified",
                "6": "Asian alone",
                "7": "Native Hawaiian and other Pacific Islander alone",
                "8": "some other race alone",
                "9": "two or more races",
            },
        ),
    ),
    ttl=Ttl(value=730, unit="Days"),
)
PREVIOUS: Final[FeatureSchema | None] = None
"""The version of the schema that is being replaced, while a migration lasts: both feature groups get every row."""
SENSITIVE: Final = ("SEX", "RAC1P")
"""How well the model does is measured for each of their values."""
