"""Until when AWS supports what stacks name by version. Whoever uses a newer one adds its row."""

from collections.abc import Mapping
from datetime import date
from typing import Final

KUBERNETES: Final[Mapping[str, date]] = {
    "1.29": date(2025, 3, 23),
    "1.30": date(2025, 7, 23),
    "1.31": date(2025, 11, 26),
    "1.32": date(2026, 3, 23),
    "1.33": date(2026, 7, 29),
    "1.34": date(2026, 12, 2),
    "1.35": date(2027, 3, 27),
}
"""The last day of standard support by EKS; after it, a cluster costs six times as much, and a year later is upgraded.
https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html, as of 2026-04-24."""

LAMBDA: Final[Mapping[str, date]] = {
    "dotnet10": date(2028, 11, 14),
    "dotnet6": date(2024, 12, 20),
    "dotnet8": date(2026, 11, 10),
    "dotnet9": date(2026, 11, 10),
    "dotnetcore1.0": date(2019, 6, 27),
    "dotnetcore2.0": date(2019, 5, 30),
    "dotnetcore2.1": date(2022, 1, 5),
    "dotnetcore3.1": date(2023, 4, 3),
    "go1.x": date(2024, 1, 8),
    "java11": date(2027, 6, 30),
    "java17": date(2027, 6, 30),
    "java21": date(2029, 6, 30),
    "java25": date(2029, 6, 30),
    "java8": date(2024, 1, 8),
    "java8.al2": date(2027, 6, 30),
    "nodejs": date(2016, 8, 30),
    "nodejs10.x": date(2021, 7, 30),
    "nodejs12.x": date(2023, 3, 31),
    "nodejs14.x": date(2023, 12, 4),
    "nodejs16.x": date(2024, 6, 12),
    "nodejs18.x": date(2025, 9, 1),
    "nodejs20.x": date(2026, 4, 30),
    "nodejs22.x": date(2027, 4, 30),
    "nodejs24.x": date(2028, 4, 30),
    "nodejs4.3": date(2020, 3, 5),
    "nodejs4.3-edge": date(2020, 3, 5),
    "nodejs6.10": date(2019, 8, 12),
    "nodejs8.10": date(2020, 3, 6),
    "provided": date(2024, 1, 8),
    "provided.al2": date(2026, 7, 31),
    "provided.al2023": date(2029, 6, 30),
    "python2.7": date(2021, 7, 15),
    "python3.10": date(2026, 10, 31),
    "python3.11": date(2027, 6, 30),
    "python3.12": date(2028, 10, 31),
    "python3.13": date(2029, 6, 30),
    "python3.14": date(2029, 6, 30),
    "python3.6": date(2022, 7, 18),
    "python3.7": date(2023, 12, 4),
    "python3.8": date(2024, 10, 14),
    "python3.9": date(2025, 12, 15),
    "ruby2.5": date(2021, 7, 30),
    "ruby2.7": date(2023, 12, 7),
    "ruby3.2": date(2026, 3, 31),
    "ruby3.3": date(2027, 3, 31),
    "ruby3.4": date(2028, 3, 31),
    "ruby4.0": date(2029, 3, 31),
}
"""The day from which Lambda patches a runtime no longer.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html, as cfn-lint 1.58 has it (2026-11)."""
