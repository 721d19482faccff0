"""What the loans model knows of a loan on the day it is asked for."""

from typing import Final

from functions.features import Feature, FeatureSchema, Ttl

LABEL: Final = "repaid"
"""What the model tells: 1 for a loan that was paid back, else 0."""
SCHEMA: Final = FeatureSchema(
    name="loans",
    record_id="id",
    event_time="event_time",
    features=(
        Feature(name="car_value", kind="Fractional", description="Price of the car in euros", minimum=0),
        Feature(
            name="salary_range",
            kind="String",
            description="What the borrower earns a year",
            categories=("0 - 20K €", "20K - 40K €", "40K - 60K €", "60K+ €"),
        ),
        Feature(
            name="debt_to_income_ratio",
            kind="Fractional",
            description="Debts as a share of the income",
            minimum=0,
            maximum=10,
        ),
        Feature(name="loan_length", kind="Fractional", description="Months until it is paid back", minimum=1),
        Feature(
            name="repaid_loan_on_prev_car",
            kind="String",
            description="Whether a loan on the car before was paid back",
            categories=("False", "True"),
        ),
        Feature(
            name="size_of_downpayment",
            kind="String",
            description="The share of the price that is paid at once",
            categories=("0%", "10%", "20%", "30%", "40%"),
        ),
        Feature(
            name="driver_tenure",
            kind="Fractional",
            description="Years since the borrower may drive",
            minimum=0,
            maximum=100,
        ),
    ),
    ttl=Ttl(value=730, unit="Days"),
)
