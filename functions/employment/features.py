"""What the employment model knows of a person: 16 answers to the American Community Survey.

Codes and meanings: the survey's public-use data dictionary (https://www.census.gov/programs-surveys/acs/microdata.html).
"""

from typing import Final

from functions.features import Feature, FeatureSchema


def _codes(first: int, last: int) -> tuple[str, ...]:
    return tuple(str(code) for code in range(first, last + 1))


LABEL: Final = "employed"
"""What the model tells: 1 for a person who has work, else 0."""
SCHEMA: Final = FeatureSchema(
    name="employment",
    record_id="id",
    event_time="event_time",
    features=(
        Feature("AGEP", "Fractional", "Age in years", minimum=0, maximum=99),
        Feature("SCHL", "String", "Educational attainment", _codes(0, 24)),
        Feature("MAR", "String", "Marital status", _codes(1, 5)),
        Feature("RELP", "String", "Relationship to the householder", _codes(0, 17)),
        Feature("DIS", "String", "Disability", _codes(1, 2)),
        Feature("ESP", "String", "Employment status of parents", _codes(0, 8)),
        Feature("CIT", "String", "Citizenship status", _codes(1, 5)),
        Feature("MIG", "String", "Residence a year ago", _codes(0, 3)),
        Feature("MIL", "String", "Military service", _codes(0, 4)),
        Feature("ANC", "String", "Ancestry recode", _codes(1, 4)),
        Feature("NATIVITY", "String", "Native or foreign born", _codes(1, 2)),
        Feature("DEAR", "String", "Hearing difficulty", _codes(1, 2)),
        Feature("DEYE", "String", "Vision difficulty", _codes(1, 2)),
        Feature("DREM", "String", "Cognitive difficulty", _codes(0, 2)),
        Feature("SEX", "String", "Sex", _codes(1, 2)),
        Feature("RAC1P", "String", "Race", _codes(1, 9)),
    ),
)
