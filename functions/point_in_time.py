"""Training sets by point-in-time join: each label with the features that were known, and valid, at its time.

A record is valid from its event time until its time to live ends, until the record's next event time, or until its
deletion, whichever comes first. Of several versions with one event time, the one that was written last counts. So a
label gets the newest record at or before its own time, and nothing where that one is expired or tells of a deletion.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pandas as pd  # type: ignore[import-untyped]  # it brings no types

if TYPE_CHECKING:  # SageMaker's containers have no pydantic
    from functions.features import FeatureSchema

from functions.rows import seconds

WRITTEN: Final = "write_time"
DELETED: Final = "is_deleted"
_AT, _SINCE, _ORDER = "__at", "__since", "__order"


def join(
    labels: pd.DataFrame, records: pd.DataFrame, schema: "FeatureSchema", *, time: str = "label_time"
) -> pd.DataFrame:
    """Each row of `labels`, in its order, with the schema's features beside it; missing where none were valid.

    `labels` has the schema's identifier and the column `time`; `records` is what the offline store has: the schema's
    columns, `write_time` and `is_deleted`. Both times are as the schema's event time is: ISO 8601 texts in UTC, or Unix
    seconds. The column of the event time tells how old the features were. Raises ValueError for labels that have a
    feature's name as a column, and for a time in another form.
    """
    columns = [schema.event_time, *schema.names]
    if twice := sorted({*columns} & {*labels.columns}):
        raise ValueError(f"labels have the columns {', '.join(twice)}, which are the features' own: rename them")
    asked = labels.assign(**{_AT: _seconds(labels[time], time, schema), _ORDER: range(len(labels))})
    known = records.assign(**{_SINCE: _seconds(records[schema.event_time], schema.event_time, schema)})
    known = known.sort_values([_SINCE, WRITTEN], kind="stable").drop_duplicates([schema.record_id, _SINCE], keep="last")
    for frame in (asked, known):
        frame[schema.record_id] = frame[schema.record_id].astype("string")
    joined = pd.merge_asof(
        asked.sort_values(_AT, kind="stable"),
        known[[schema.record_id, _SINCE, DELETED, *columns]],
        left_on=_AT,
        right_on=_SINCE,
        by=schema.record_id,
    )
    gone = joined[_SINCE].isna() | joined[DELETED].eq(True)
    if schema.ttl:
        gone |= joined[_AT] >= joined[_SINCE] + schema.ttl.seconds
    joined[columns] = joined[columns].mask(gone)
    joined[schema.record_id] = labels[schema.record_id].iloc[joined[_ORDER]].to_numpy()
    joined = joined.sort_values(_ORDER)[[*labels.columns, *columns]]
    return joined.set_axis(labels.index)


def athena_sql(
    schema: "FeatureSchema",
    features_table: str,
    labels_table: str,
    *,
    time: str = "label_time",
    labels: Sequence[str] = ("label",),
) -> str:
    """The same join as a query for Athena, over the offline store's table and one with the labels.

    The tables are written as SQL has them: `"sagemaker_featurestore"."churn_prod_1700000000"`. `labels` are the columns
    of the labels' table that come along, beside identifier and time. A row for each of its rows, in no order.
    """
    columns = [schema.event_time, *schema.names]
    valid = f"NOT newest.{DELETED}"
    if schema.ttl:
        valid += f" AND newest.{_AT} < newest.{_SINCE} + {schema.ttl.seconds}"
    features = ",\n  ".join(f"CASE WHEN {valid} THEN newest.{_name(name)} END AS {_name(name)}" for name in columns)
    versions = ", ".join(f"feature.{_name(name)}" for name in columns)
    record, label_time, event_time = _name(schema.record_id), _name(time), _name(schema.event_time)
    told = ", ".join(f"asked.{_name(name)}" for name in (schema.record_id, time, *labels))
    return f"""WITH asked AS (
  SELECT label.*, {_unix(f"label.{label_time}", schema)} AS {_AT}, row_number() OVER () AS {_ORDER}
  FROM {labels_table} AS label
), matched AS (
  SELECT
    asked.{_ORDER}, asked.{_AT}, feature.{DELETED}, {versions},
    {_unix(f"feature.{event_time}", schema)} AS {_SINCE},
    row_number() OVER (
      PARTITION BY asked.{_ORDER}
      ORDER BY {_unix(f"feature.{event_time}", schema)} DESC, feature.{WRITTEN} DESC
    ) AS __rank
  FROM asked
  JOIN {features_table} AS feature
    ON CAST(feature.{record} AS varchar) = CAST(asked.{record} AS varchar)
    AND {_unix(f"feature.{event_time}", schema)} <= asked.{_AT}
)
SELECT
  {told},
  {features}
FROM asked
LEFT JOIN matched AS newest ON newest.{_ORDER} = asked.{_ORDER} AND newest.__rank = 1
"""


def _seconds(times: pd.Series, name: str, schema: "FeatureSchema") -> pd.Series:
    return times.map(lambda each: seconds(str(each), name, schema.event_time_kind)).astype("float64")


def _unix(column: str, schema: "FeatureSchema") -> str:
    """A time in Unix seconds. Both forms of ISO 8601 begin alike, and three digits may follow the seconds."""
    if schema.event_time_kind == "Fractional":
        return f"CAST({column} AS double)"
    whole = f"to_unixtime(date_parse(substr({column}, 1, 19), '%Y-%m-%dT%H:%i:%s'))"
    return f"({whole} + coalesce(try_cast(substr({column}, 20, 4) AS double), 0))"


def _name(column: str) -> str:
    return f'"{column}"'
