"""Logs runs to SageMaker's managed MLflow: its REST API, signed. https://mlflow.org/docs/latest/rest-api.html"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session

SIGNED_AS: Final = "sagemaker-mlflow"
TRIES: Final = 4
LONGEST_PARAM: Final = 6000
LONGEST_TAG: Final = 5000


class MlflowError(Exception):
    """A request was refused: `code` is MLflow's word for why."""

    def __init__(self, call: str, status: int, code: str, message: str) -> None:
        super().__init__(f"MLflow answered {call} with {status} {code}: {message}")
        self.code = code


class Mlflow:
    """One MLflow app."""

    def __init__(self, arn: str, session: boto3.Session | None = None) -> None:
        self._arn, self._region = arn, arn.split(":")[3]
        self._base = os.environ.get("AWS_ENDPOINT_URL") or f"https://mlflow.sagemaker.{self._region}.app.aws"
        credentials = (session or boto3.Session()).get_credentials()
        if credentials is None:
            raise MlflowError("every call", 0, "NO_CREDENTIALS", "there is nothing to sign requests with")
        self._credentials = credentials
        self._http = URLLib3Session(timeout=20)

    def log(
        self,
        experiment: str,
        run_name: str,
        *,
        key: str,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        began: int,
        ended: int,
    ) -> str:
        """Log a run that is over; the same `key` again logs it no second time. Times are milliseconds.

        Returns the run's id. Raises MlflowError.
        """
        tags = {"key": key, **tags}
        experiment_id = self._experiment(experiment)
        run = self._find(experiment_id, key)
        if run is None:
            told = {"experiment_id": experiment_id, "run_name": run_name, "start_time": began, "tags": _pairs(tags)}
            run = self._post("runs/create", told)["run"]["info"]["run_id"]
        measured = [
            {"key": name, "value": value, "timestamp": ended, "step": 0} for name, value in sorted(metrics.items())
        ]
        cut = {name: value[:LONGEST_PARAM] for name, value in params.items()}
        self._post("runs/log-batch", {"run_id": run, "metrics": measured, "params": _pairs(cut), "tags": _pairs(tags)})
        self._post("runs/update", {"run_id": run, "status": "FINISHED", "end_time": ended})
        return str(run)

    def tag(self, run: str, tags: Mapping[str, str]) -> None:
        """Add tags to a run. Raises MlflowError."""
        for name, value in tags.items():
            self._post("runs/set-tag", {"run_id": run, "key": name, "value": value[:LONGEST_TAG]})

    def _experiment(self, name: str) -> str:
        try:
            found = self._get("experiments/get-by-name", {"experiment_name": name})
            return str(found["experiment"]["experiment_id"])
        except MlflowError as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise
        try:
            return str(self._post("experiments/create", {"name": name})["experiment_id"])
        except MlflowError as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise
            return self._experiment(name)  # another run has just made it

    def _find(self, experiment_id: str, key: str) -> str | None:
        asked = {"experiment_ids": [experiment_id], "filter": f"tags.key = '{key}'", "max_results": 1}
        runs = self._post("runs/search", asked).get("runs", [])
        return str(runs[0]["info"]["run_id"]) if runs else None

    def _get(self, call: str, query: Mapping[str, str]) -> dict[str, Any]:
        return self._ask("GET", call, f"?{urlencode(query, quote_via=quote)}", b"")

    def _post(self, call: str, content: Mapping[str, Any]) -> dict[str, Any]:
        return self._ask("POST", call, "", json.dumps(content).encode())

    def _ask(self, method: str, call: str, query: str, body: bytes) -> dict[str, Any]:
        for attempt in range(TRIES):
            headers = {
                "Content-Type": "application/json",
                "x-sm-mlflow-app-arn": self._arn,
                "X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest(),
            }
            url = f"{self._base}/api/2.0/mlflow/{call}{query}"
            request = AWSRequest(method, url, data=body or None, headers=headers)
            SigV4Auth(self._credentials, SIGNED_AS, self._region).add_auth(request)
            answer = self._http.send(request.prepare())
            if answer.status_code < 300:
                told: dict[str, Any] = json.loads(answer.content or b"{}")
                return told
            if answer.status_code not in (429, 500, 502, 503, 504) or attempt == TRIES - 1:
                break
            time.sleep(2**attempt)
        try:
            said = json.loads(answer.content)
            raise MlflowError(call, answer.status_code, str(said.get("error_code")), str(said.get("message")))
        except (ValueError, AttributeError):
            text = answer.content[:500].decode(errors="replace")
            raise MlflowError(call, answer.status_code, "", text) from None


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": name, "value": value[:LONGEST_TAG]} for name, value in sorted(values.items())]
