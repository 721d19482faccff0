"""A version's way through the registry: completed, signed, approved by a second person, verified, tidied."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pulumi_aws as aws
import pytest
from judging import NOT_WITHOUT_A_STACK, planned
from pretend_aws import CONFIG, KEY, TOPIC, PretendAws, up
from pretend_cloud import settings
from pydantic import ValidationError

from components import Ledger, LedgerSpec
from components.iam import document
from components.model_registry import CardSpec, ModelRegistry, RegistrySpec, for_consumers, may_register, may_verify
from functions import ledger
from functions.ledger import Entry
from functions.registry import approvals, card, retention, sign
from functions.registry.card import IncompleteCard
from functions.registry.complete import CannotComplete, complete
from functions.registry.sign import CannotBeSigned
from functions.registry.verify import Evidence, NotReleasable, same_person, verify
from infra.check import check
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.engine import Engine, Plan
from policies.cost import TAGS
from tests.emulated import ACCOUNT, REGION, User, new, until

PIPELINE = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/employment-training"
GATE = {"accuracy": 0.8, "auc": 0.88}
IMAGE = f"683313688378.dkr.ecr.{REGION}.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
USE = {
    "owner": "employment team",
    "purpose": "Tell whether a person has work.",
    "intended_uses": "Planning of advice centres, by area.",
    "risk_rating": "Medium",
    "risk_explanation": "Nobody is judged by it alone.",
    "caveats": "Trained on Massachusetts: do not use it elsewhere.",
}
EVALUATION: dict[str, Any] = {
    "metrics": {"accuracy": 0.8432, "auc": 0.9017, "log_loss": 0.36, "rows_trained": 4000, "rows_held_out": 1000},
    "groups": [
        {"feature": "SEX", "value": "1", "label": "male", "rows": 480, "accuracy": 0.85, "selection_rate": 0.52},
        {"feature": "SEX", "value": "2", "label": "female", "rows": 520, "accuracy": 0.83, "selection_rate": 0.39},
        {"feature": "RAC1P", "value": "1", "label": "white", "rows": 800, "accuracy": 0.84, "selection_rate": 0.46},
        {"feature": "RAC1P", "value": "2", "label": "black", "rows": 200, "accuracy": 0.84, "selection_rate": 0.44},
    ],
    "attributions": [
        {"feature": "AGEP", "importance": 0.21, "deviation": 0.01},
        {"feature": "SCHL", "importance": 0.07, "deviation": 0.005},
    ],
    "method": {"attributions": "Permutation importance, 5 repeats.", "groups": "On held-out rows."},
}
METADATA = {
    "run": "run-1",
    "dataset": "s3://lake/employment/training/people.csv",
    "dataset_sha256": "d" * 64,
    "code_revision": "27e4e3b",
    "param_max_depth": "6",
}
CARD_SCHEMA: dict[str, Any] = {
    "$defs": {
        "long": {"type": "string", "maxLength": 2048},
        "text": {"type": "string", "maxLength": 1024},
        "texts": {"type": "array", "maxItems": 15, "items": {"$ref": "#/$defs/text"}},
        "uses": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "purpose_of_model": {"$ref": "#/$defs/long"},
                "intended_uses": {"$ref": "#/$defs/long"},
                "factors_affecting_model_efficiency": {"$ref": "#/$defs/long"},
                "risk_rating": {"enum": ["High", "Medium", "Low", "Unknown"]},
                "explanations_for_risk_rating": {"$ref": "#/$defs/long"},
            },
        },
        "pair": {"type": "object", "required": ["name", "value"], "additionalProperties": False},
        "job": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "training_arn": {"$ref": "#/$defs/text"},
                "training_datasets": {"$ref": "#/$defs/texts"},
                "training_environment": {"properties": {"container_image": {"$ref": "#/$defs/texts"}}},
                "user_provided_training_metrics": {
                    "maxItems": 50,
                    "items": {
                        "additionalProperties": False,
                        "properties": {"name": {"type": "string"}, "value": {"type": "number"}},
                    },
                },
                "user_provided_hyper_parameters": {
                    "maxItems": 100,
                    "items": {
                        "additionalProperties": False,
                        "properties": {
                            "name": {"type": "string"},
                            "value": {"type": "string", "minLength": 1, "maxLength": 255},
                        },
                    },
                },
            },
        },
        "number": {
            "additionalProperties": False,
            "required": ["name", "type", "value"],
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "type": {"const": "number"},
                "value": {"type": "number"},
            },
        },
        "bars": {
            "additionalProperties": False,
            "required": ["name", "type", "value"],
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "type": {"const": "bar_chart"},
                "value": {"type": "array", "items": {"type": "number"}, "minItems": 1},
                "x_axis_name": {"type": "array", "items": {"type": "string"}},
                "y_axis_name": {"type": "string"},
            },
        },
        "detail": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 63},
                "evaluation_observation": {"type": "string", "maxLength": 2096},
                "datasets": {"type": "array", "maxItems": 10, "items": {"$ref": "#/$defs/text"}},
                "metric_groups": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "metric_data"],
                        "properties": {
                            "name": {"type": "string", "minLength": 1, "maxLength": 63},
                            "metric_data": {
                                "type": "array",
                                "items": {"anyOf": [{"$ref": "#/$defs/number"}, {"$ref": "#/$defs/bars"}]},
                            },
                        },
                    },
                },
            },
        },
    },
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "model_overview": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"model_creator": {"$ref": "#/$defs/text"}, "model_artifact": {"$ref": "#/$defs/texts"}},
        },
        "intended_uses": {"$ref": "#/$defs/uses"},
        "business_details": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"business_stakeholders": {"$ref": "#/$defs/long"}},
        },
        "training_details": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"training_job_details": {"$ref": "#/$defs/job"}},
        },
        "evaluation_details": {"type": "array", "items": {"$ref": "#/$defs/detail"}},
        "additional_information": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "ethical_considerations": {"$ref": "#/$defs/long"},
                "caveats_and_recommendations": {"$ref": "#/$defs/long"},
                "custom_details": {"type": "object", "additionalProperties": {"$ref": "#/$defs/text"}},
            },
        },
    },
}
"""What SageMaker's schema of a model package's card says of the parts that ours has."""


@dataclass(frozen=True)
class Registry:
    """A group, a key and two buckets on the emulator, with people who have names."""

    user: User
    group: str
    lake: str
    ledger: str
    key_arn: str
    role: str

    def as_(self, session: str, service: str = "sagemaker", role: str | None = None) -> Any:
        """A client of someone in a session of their name."""
        got = self.user.sts.assume_role(RoleArn=role or self.role, RoleSessionName=session)["Credentials"]
        return self.user.client(service, got["AccessKeyId"], got["SecretAccessKey"])

    def arn_of(self, session: str) -> str:
        return f"arn:aws:sts::{ACCOUNT}:assumed-role/{self.role.rpartition('/')[2]}/{session}"

    def register(self, **metadata: str) -> str:
        """A version as the pipeline registers it, with its files beside it; its ARN."""
        folder = f"s3://{self.lake}/employment/models/{new('run')}"
        self.put(f"{folder}/model.tar.gz", b"the model")
        self.put(f"{folder}/baseline.json", b'{"AGEP": {}}')
        self.put(f"{folder}/evaluation.json", json.dumps(EVALUATION).encode())
        arn: str = self.user.sagemaker.create_model_package(
            ModelPackageGroupName=self.group,
            InferenceSpecification={
                "Containers": [{"Image": IMAGE, "ModelDataUrl": f"{folder}/model.tar.gz"}],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
            ModelApprovalStatus="PendingManualApproval",
            DriftCheckBaselines={
                "ModelDataQuality": {
                    "Statistics": {"ContentType": "application/json", "S3Uri": f"{folder}/baseline.json"}
                }
            },
            CustomerMetadataProperties={**METADATA, "author": self.arn_of("ann"), **metadata},
        )["ModelPackageArn"]
        return arn

    def put(self, uri: str, body: bytes) -> None:
        bucket, key = sign.location(uri)
        self.user.s3.put_object(Bucket=bucket, Key=key, Body=body)

    def beside(self, arn: str, name: str) -> str:
        return sign.beside(self.described(arn), name)

    def described(self, arn: str) -> dict[str, Any]:
        found: dict[str, Any] = self.user.sagemaker.describe_model_package(ModelPackageName=arn)
        return found

    def complete(self, arn: str, **event: Any) -> dict[str, str]:
        return complete(
            {"model_package_arn": arn, "release_notes": "First version (trees, depth 6).", **event},
            sagemaker=self.user.sagemaker,
            s3=self.user.s3,
            kms=self.user.kms,
            ecr=self.user.ecr,
            key_arn=self.key_arn,
            ledger_bucket=self.ledger,
            endpoint=self.group,
            use=USE,
        )

    def decide(self, detail: dict[str, Any]) -> dict[str, str]:
        return approvals.decide(
            detail,
            sagemaker=self.as_("approvals", role=f"arn:aws:iam::{ACCOUNT}:role/approvals"),
            s3=self.user.s3,
            states=self.user.stepfunctions,
            myself=f"arn:aws:sts::{ACCOUNT}:assumed-role/approvals/approvals",
            ledger_bucket=self.ledger,
            endpoint=self.group,
            release=None,
        )

    def start(self, run: str, who: str) -> dict[str, str]:
        """CloudTrail tells that someone started the pipeline's execution `run`."""
        return self.decide(
            {
                "eventName": "StartPipelineExecution",
                "eventID": new("event"),
                "eventTime": "2026-11-21T09:00:00Z",
                "userIdentity": {"type": "AssumedRole", "arn": self.arn_of(who)},
                "requestParameters": {"pipelineName": "employment-training"},
                "responseElements": {"pipelineExecutionArn": f"{PIPELINE}/execution/{run}"},
            }
        )

    def approve(self, arn: str, who: str = "ben") -> dict[str, Any]:
        """Someone approves, and the event comes; returns it."""
        self.as_(who).update_model_package(
            ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription="looks good"
        )
        detail = approval_of(arn, self.arn_of(who))
        self.decide(detail)
        return detail

    def verify(self, arn: str) -> Evidence:
        return verify(
            arn,
            sagemaker=self.user.sagemaker,
            s3=self.user.s3,
            kms=self.user.kms,
            ecr=self.user.ecr,
            key_arn=self.key_arn,
            gate=GATE,
            ledger_bucket=self.ledger,
        )

    def entries(self) -> list[Entry]:
        return ledger.entries(self.user.s3, self.ledger, self.group)


def approval_of(arn: str, by: str, status: str = "Approved") -> dict[str, Any]:
    """What CloudTrail tells of a decision made now."""
    return {
        "eventName": "UpdateModelPackage",
        "eventID": new("event"),
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "userIdentity": {"type": "AssumedRole", "arn": by},
        "requestParameters": {"modelPackageArn": arn, "modelApprovalStatus": status},
    }


@pytest.fixture(scope="module")
def registry(user: User) -> Registry:
    group, lake, kept = new("employment"), new("lake"), new("ledger")
    user.sagemaker.create_model_package_group(ModelPackageGroupName=group)
    user.s3.create_bucket(Bucket=lake)
    user.s3.create_bucket(Bucket=kept, ObjectLockEnabledForBucket=True)
    key = user.kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
    return Registry(user, group, lake, kept, key, user.role)


@pytest.fixture
def version(registry: Registry) -> str:
    """A complete version that nobody has decided on yet."""
    arn = registry.register()
    registry.complete(arn)
    return arn


@pytest.fixture
def approved(registry: Registry, version: str) -> str:
    registry.approve(version)
    return version


class TestComplete:
    def test_fills_the_card_from_the_run(self, registry: Registry, version: str) -> None:
        told = registry.described(version)["ModelCard"]
        content = json.loads(told["ModelCardContent"])

        assert told["ModelCardStatus"] == "PendingReview"
        job = content["training_details"]["training_job_details"]
        assert job["training_datasets"] == [METADATA["dataset"]]
        assert job["user_provided_hyper_parameters"] == [{"name": "max_depth", "value": "6"}]
        assert {each["name"]: each["value"] for each in job["user_provided_training_metrics"]} == EVALUATION["metrics"]
        assert content["intended_uses"]["risk_rating"] == "Medium"
        assert content["additional_information"]["custom_details"]["release notes"] == "First version (trees, depth 6)."
        assert content["additional_information"]["custom_details"]["code_revision"] == "27e4e3b"

    def test_the_card_tells_of_groups_and_attributions(self, registry: Registry, version: str) -> None:
        content = json.loads(registry.described(version)["ModelCard"]["ModelCardContent"])
        by_name = {each["name"]: each for each in content["evaluation_details"]}

        assert list(by_name) == ["Held-out rows", "Results by RAC1P", "Results by SEX", "Explanation"]
        assert "0.75 is below the four-fifths rule" in by_name["Results by SEX"]["evaluation_observation"]
        assert "0.96 is at or above" in by_name["Results by RAC1P"]["evaluation_observation"]
        assert [each["name"] for each in by_name["Results by SEX"]["metric_groups"]] == ["male", "female"]
        [bars] = by_name["Explanation"]["metric_groups"]
        assert bars["metric_data"][0]["x_axis_name"] == ["AGEP", "SCHL"]
        assert bars["metric_data"][0]["value"] == [0.21, 0.07]

    def test_the_card_keeps_to_sagemakers_schema(self, registry: Registry, version: str) -> None:
        content = json.loads(registry.described(version)["ModelCard"]["ModelCardContent"])

        jsonschema.Draft202012Validator(CARD_SCHEMA).validate(content)

    def test_the_card_can_be_read_next_to_the_model(self, registry: Registry, version: str) -> None:
        text = sign.read(registry.user.s3, registry.beside(version, "card.md")).decode()

        assert text.startswith(f"# {registry.group}, version {version.rpartition('/')[2]}\n")
        assert "| female | 520 | 0.83 | 0.39 |" in text
        assert "| AGEP | 0.21 | 0.01 |" in text
        assert json.loads(sign.read(registry.user.s3, registry.beside(version, "card.json")))

    def test_a_few_people_are_no_sign_of_unfairness(self) -> None:
        few = {"feature": "RAC1P", "value": "4", "label": "other", "rows": 29, "accuracy": 1.0, "selection_rate": 0.0}
        package = {
            "CustomerMetadataProperties": {**METADATA, "author": "arn:aws:iam::1:user/ann"},
            "InferenceSpecification": {"Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://lake/model.tar.gz"}]},
        }
        told = card.content(package, {**EVALUATION, "groups": [*EVALUATION["groups"], few]}, USE, "-")
        [race] = [each for each in told["evaluation_details"] if each["name"] == "Results by RAC1P"]

        assert "the ratio 0.96 is at or above" in race["evaluation_observation"]
        assert [each["name"] for each in race["metric_groups"]] == ["white", "black", "other"]
        [race] = card.content(package, {**EVALUATION, "groups": [few]}, USE, "-")["evaluation_details"][1:2]
        assert "No two groups have 30 rows" in race["evaluation_observation"]
        quality, explanation = card.content(package, {**EVALUATION, "groups": []}, USE, "-")["evaluation_details"]
        assert "No feature is named as sensitive" in quality["evaluation_observation"]
        assert explanation["name"] == "Explanation"
        assert told["additional_information"]["custom_details"]["release notes"].startswith(
            "Nobody wrote any. Trained on"
        )

    @pytest.mark.parametrize("part", ["metrics", "groups", "attributions", "method"])
    def test_a_card_that_lacks_a_part_is_refused(self, registry: Registry, part: str) -> None:
        arn = registry.register()
        registry.put(registry.beside(arn, "evaluation.json"), json.dumps({**EVALUATION, part: {}}).encode())

        with pytest.raises(IncompleteCard, match=f"evaluation.json: {part}"):
            registry.complete(arn)

    def test_says_all_that_is_missing_at_once(self) -> None:
        with pytest.raises(IncompleteCard) as refused:
            card.content({"CustomerMetadataProperties": {}}, EVALUATION, {**USE, "purpose": ""}, " ")

        for words in ("YAML: purpose", "metadata: dataset_sha256", "hyperparameters", "release notes"):
            assert words in str(refused.value)

    def test_metadata_take_what_sagemaker_takes(self, registry: Registry) -> None:
        arn = registry.register()
        registry.complete(arn, release_notes="Deeper trees; see #12 (it's better).\nMuch.", hyperparameters={"l2": 0.1})
        metadata = registry.described(arn)["CustomerMetadataProperties"]

        assert metadata["release_notes"] == "Deeper trees  see  12  it s better . Much."
        assert metadata["param_l2"] == "0.1"
        assert (metadata["accuracy"], metadata["rows_trained"]) == ("0.8432", "4000")
        assert metadata["image_digest"].startswith("sha256:")

    def test_does_not_change_what_was_registered(self, registry: Registry) -> None:
        arn = registry.register()

        with pytest.raises(CannotComplete, match=r"author is .*ann.* and .*eve.* now"):
            registry.complete(arn, author=registry.arn_of("eve"))

    def test_more_properties_than_sagemaker_takes_are_refused(self, registry: Registry) -> None:
        arn = registry.register()

        with pytest.raises(CannotComplete, match="more than SageMaker's 50"):
            registry.complete(arn, hyperparameters={f"p{number}": "1" for number in range(40)})

    def test_brings_files_of_other_steps_to_the_model(self, registry: Registry) -> None:
        arn = registry.register()
        uri = f"s3://{registry.lake}/employment/pipelines/x/evaluation.json"
        better = {**EVALUATION, "metrics": {**EVALUATION["metrics"], "auc": 0.95}}
        registry.put(uri, json.dumps(better).encode())
        registry.complete(arn, evaluation=uri)

        assert json.loads(sign.read(registry.user.s3, registry.beside(arn, "evaluation.json"))) == better
        assert registry.described(arn)["CustomerMetadataProperties"]["auc"] == "0.95"

    def test_does_nothing_to_what_was_decided(self, registry: Registry, approved: str) -> None:
        before = registry.described(approved)
        registry.complete(approved)

        assert registry.described(approved)["LastModifiedTime"] == before["LastModifiedTime"]

    def test_a_version_approved_before_it_was_complete_starts_over(self, registry: Registry) -> None:
        arn = registry.register()
        registry.user.sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")

        with pytest.raises(CannotComplete, match="set it to PendingManualApproval"):
            registry.complete(arn)

    def test_until_someone_knows_who_trained_it_a_version_waits(self, registry: Registry) -> None:
        run = new("run")
        arn = registry.register(author="-", run=run)
        with pytest.raises(CannotComplete, match="nobody knows yet who had it trained"):
            registry.complete(arn)
        assert registry.start(run, "ann") == {"started": f"{PIPELINE}/execution/{run}"}
        registry.complete(arn)

        assert registry.described(arn)["CustomerMetadataProperties"]["author"] == registry.arn_of("ann")
        registry.approve(arn, who="ann")
        with pytest.raises(NotReleasable, match="someone else has to approve"):
            registry.verify(arn)

    def test_nobody_registers_in_anothers_name(self, registry: Registry) -> None:
        run = new("run")
        arn = registry.register(run=run)
        registry.start(run, "eve")

        with pytest.raises(CannotComplete, match=r"made by .*/ann, and .*/eve started"):
            registry.complete(arn)

    def test_a_name_is_no_author(self, registry: Registry) -> None:
        package = registry.described(registry.register(author="ann"))

        with pytest.raises(CannotBeSigned, match="the ARN of who had it trained"):
            sign.observe(package, s3=registry.user.s3, ecr=registry.user.ecr)

    def test_without_its_origin_it_cannot_be_signed(self, registry: Registry) -> None:
        package = registry.described(registry.register())
        del package["CustomerMetadataProperties"]["dataset_sha256"]

        with pytest.raises(CannotBeSigned, match="dataset_sha256 is missing"):
            sign.observe(package, s3=registry.user.s3, ecr=registry.user.ecr)

    def test_an_image_of_ones_own_is_signed_by_its_digest(self, registry: Registry) -> None:
        ecr, name = registry.user.ecr, new("model")
        ecr.create_repository(repositoryName=name)
        manifest = {"schemaVersion": 2, "mediaType": sign.MANIFESTS[0]}
        image = ecr.put_image(repositoryName=name, imageTag="1", imageManifest=json.dumps(manifest))
        found = sign.image_digest(ecr, f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{name}:1")

        assert found == image["image"]["imageId"]["imageDigest"]
        assert sign.image_digest(ecr, f"{name}@sha256:abc") == "sha256:abc"
        with pytest.raises(CannotBeSigned, match="does not exist"):
            sign.image_digest(ecr, f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{name}:2")
        with pytest.raises(CannotBeSigned, match="is in eu-west-1: an endpoint takes images of its own region"):
            sign.image_digest(ecr, f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/{name}:1")
        with pytest.raises(CannotBeSigned, match="not of ECR"):
            sign.image_digest(ecr, "docker.io/library/python:3")


class TestVerify:
    def test_what_another_person_approved_may_go_live(self, registry: Registry, approved: str) -> None:
        evidence = registry.verify(approved)

        assert (evidence.author, evidence.approved_by) == (registry.arn_of("ann"), registry.arn_of("ben"))
        assert evidence.metrics == EVALUATION["metrics"]
        assert evidence.statement["model_sha256"] == hashlib.sha256(b"the model").hexdigest()
        assert evidence.statement["dataset_sha256"] == METADATA["dataset_sha256"]
        assert json.loads(json.dumps(evidence.to_dict())) == evidence.to_dict()

    def test_the_author_cannot_approve(self, registry: Registry, version: str) -> None:
        registry.approve(version, who="ann")

        with pytest.raises(NotReleasable, match="someone else has to approve"):
            registry.verify(version)

    def test_who_started_the_training_cannot_approve_though_cloudtrail_tells_late(self, registry: Registry) -> None:
        run = new("run")
        arn = registry.register(run=run)
        registry.complete(arn)
        registry.approve(arn, who="eve")
        registry.start(run, "eve")

        with pytest.raises(NotReleasable, match=r"/eve approved what .*/eve made"):
            registry.verify(arn)

    def test_until_someone_approves_it_may_not(self, registry: Registry, version: str) -> None:
        with pytest.raises(NotReleasable, match="is PendingManualApproval"):
            registry.verify(version)

    def test_an_approval_that_nobody_vouches_for_does_not_count(self, registry: Registry, version: str) -> None:
        registry.user.sagemaker.update_model_package(ModelPackageArn=version, ModelApprovalStatus="Approved")

        with pytest.raises(NotReleasable, match="nobody knows who approved"):
            registry.verify(version)

    def test_unsigned_may_not(self, registry: Registry) -> None:
        arn = registry.register()
        registry.approve(arn)

        with pytest.raises(NotReleasable, match="not signed"):
            registry.verify(arn)

    @pytest.mark.parametrize(
        ("name", "body"),
        [
            ("model.tar.gz", b"another model"),
            ("baseline.json", b"{}"),
            ("evaluation.json", json.dumps({**EVALUATION, "metrics": {"accuracy": 1.0, "auc": 1.0}}).encode()),
        ],
    )
    def test_an_altered_file_is_found(self, registry: Registry, approved: str, name: str, body: bytes) -> None:
        registry.put(registry.beside(approved, name), body)

        with pytest.raises(NotReleasable, match=f"{name.split('.')[0]}_sha256 is .* was signed"):
            registry.verify(approved)

    @pytest.mark.parametrize(
        "change",
        [
            {"CustomerMetadataProperties": {"code_revision": "fffffff"}},
            {"CustomerMetadataProperties": {"auc": "0.99"}},
            {"CustomerMetadataProperties": {"author": f"arn:aws:iam::{ACCOUNT}:user/nobody"}},
            {
                "InferenceSpecification": {
                    "Containers": [{"Image": IMAGE.replace("1.2-1", "1.0-1"), "ModelDataUrl": "{model}"}],
                    "SupportedContentTypes": ["text/csv"],
                    "SupportedResponseMIMETypes": ["text/csv"],
                }
            },
        ],
        ids=["code", "metric", "author", "image"],
    )
    def test_an_altered_package_is_found(self, registry: Registry, version: str, change: dict[str, Any]) -> None:
        model = registry.beside(version, "model.tar.gz")
        changed = json.loads(json.dumps(change).replace("{model}", model))
        registry.user.sagemaker.update_model_package(ModelPackageArn=version, **changed)
        registry.approve(version)  # whoever approves sees the altered one, and the signature still tells

        with pytest.raises(NotReleasable, match="not what was signed"):
            registry.verify(version)

    def test_an_altered_statement_is_found(self, registry: Registry, version: str) -> None:
        uri = registry.beside(version, "signature.json")
        document = json.loads(sign.read(registry.user.s3, uri))
        document["statement"]["author"] = registry.arn_of("zoe")
        registry.put(uri, json.dumps(document).encode())
        registry.approve(version, who="ann")

        with pytest.raises(NotReleasable, match="altered after it was signed"):
            registry.verify(version)

    def test_another_key_does_not_count(self, registry: Registry) -> None:
        other = registry.user.kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
        arn = registry.register()
        replace(registry, key_arn=other).complete(arn)
        registry.approve(arn)

        with pytest.raises(NotReleasable, match="not with the registry's key"):
            registry.verify(arn)
        uri = registry.beside(arn, "signature.json")
        document = json.loads(sign.read(registry.user.s3, uri))
        registry.put(uri, json.dumps({**document, "key_arn": registry.key_arn}).encode())
        with pytest.raises(NotReleasable, match="does not fit"):
            registry.verify(arn)

    def test_a_poor_model_may_not_whoever_approved_it(self, registry: Registry) -> None:
        arn = registry.register()
        poor = {**EVALUATION, "metrics": {"accuracy": 0.9, "log_loss": 0.7}}
        registry.put(registry.beside(arn, "evaluation.json"), json.dumps(poor).encode())
        registry.complete(arn)
        registry.approve(arn)

        with pytest.raises(NotReleasable, match="auc was not measured"):
            registry.verify(arn)
        with pytest.raises(NotReleasable, match=r"accuracy is 0.9000, less than 0.95"):
            verify(
                arn,
                sagemaker=registry.user.sagemaker,
                s3=registry.user.s3,
                kms=registry.user.kms,
                ecr=registry.user.ecr,
                key_arn=registry.key_arn,
                gate={"accuracy": 0.95},
                ledger_bucket=registry.ledger,
            )

    def test_a_change_after_the_approval_takes_it_away(self, registry: Registry, approved: str) -> None:
        registry.as_("eve").update_model_package(ModelPackageArn=approved, ApprovalDescription="looks very good")

        with pytest.raises(NotReleasable, match=r"/eve changed it at .* after .*/ben approved it"):
            registry.verify(approved)
        time.sleep(1.1)  # CloudTrail tells of approvals to the second: within one, nobody knows which came last
        registry.approve(approved, who="cat")
        assert registry.verify(approved).approved_by == registry.arn_of("cat")

    def test_what_is_not_registered_may_not(self, registry: Registry, version: str) -> None:
        with pytest.raises(NotReleasable, match="not in the registry"):
            registry.verify(f"{version}99")

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            ("arn:aws:sts::1:assumed-role/dev/ann", "arn:aws:sts::1:assumed-role/dev/ben", False),
            ("arn:aws:sts::1:assumed-role/dev/ann@x.org", "arn:aws:sts::1:assumed-role/approver/ann@x.org", True),
            ("arn:aws:iam::1:user/team/ann", "arn:aws:sts::1:assumed-role/approver/ann", True),
            ("arn:aws:sagemaker:us-east-1:1:user-profile/d-1/ann", "arn:aws:sts::1:assumed-role/approver/ann", True),
            ("arn:aws:iam::1:root", "arn:aws:iam::1:root", True),
            ("arn:aws:iam::1:root", "arn:aws:iam::2:root", False),
        ],
    )
    def test_a_person_is_one_in_every_role(self, one: str, other: str, same: bool) -> None:
        assert same_person(one, other) is same


class TestApprovals:
    def test_an_approval_is_kept_with_its_evidence(self, registry: Registry, version: str) -> None:
        detail = registry.approve(version)
        [entry] = [each for each in registry.entries() if each.package_arn == version]

        assert (entry.kind, entry.by, entry.id) == ("approved", registry.arn_of("ben"), detail["eventID"])
        assert entry.evidence["user_identity"] == detail["userIdentity"]
        assert entry.evidence["description"] == "looks good"
        assert registry.described(version)["ModelCard"]["ModelCardStatus"] == "Approved"

    def test_an_event_that_comes_twice_counts_once(self, registry: Registry, version: str) -> None:
        detail = registry.approve(version)
        assert registry.decide(detail) == {"approved": version, "release": "not started: no state machine is named"}

        assert len([each for each in registry.entries() if each.package_arn == version]) == 1
        assert registry.verify(version)

    def test_an_event_that_comes_late_does_not_count(self, registry: Registry, version: str) -> None:
        by = registry.arn_of("ben")
        registry.as_("ben").update_model_package(ModelPackageArn=version, ModelApprovalStatus="Approved")
        late = approval_of(version, by)
        registry.as_("ben").update_model_package(ModelPackageArn=version, ModelApprovalStatus="Rejected")

        assert registry.decide(late) == {"ignored": "the version is Rejected by now"}
        assert registry.decide(approval_of(version, by, "Rejected")) == {"rejected": version}
        assert registry.described(version)["ModelCard"]["ModelCardStatus"] == "Draft"
        assert not [each for each in registry.entries() if each.package_arn == version]

    def test_an_approval_of_what_someone_changed_since_does_not_count(self, registry: Registry, version: str) -> None:
        registry.as_("ben").update_model_package(ModelPackageArn=version, ModelApprovalStatus="Approved")
        registry.as_("eve").update_model_package(ModelPackageArn=version, CustomerMetadataProperties={"auc": "0.99"})

        assert "eve changed the version" in registry.decide(approval_of(version, registry.arn_of("ben")))["ignored"]

    def test_other_calls_are_ignored(self, registry: Registry, version: str) -> None:
        detail = approval_of(version, registry.arn_of("ben"))

        for other in (
            {**detail, "eventName": "UpdateEndpoint"},
            {**detail, "requestParameters": {"modelPackageArn": version}},
            {**detail, "errorCode": "AccessDenied"},
        ):
            assert registry.decide(other) == {"ignored": "it is no decision on a version"}

    def test_the_emulator_tells_who_approved(self, registry: Registry, version: str) -> None:
        url, arn = registry.user.queue()
        rule = new("rule")
        pattern = {
            "detail-type": ["AWS API Call via CloudTrail"],
            "detail": {"eventName": ["UpdateModelPackage"], "requestParameters": {"modelApprovalStatus": ["Approved"]}},
        }
        registry.user.events.put_rule(Name=rule, EventPattern=json.dumps(pattern))
        registry.user.events.put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": arn}])
        registry.user.iam.create_user(UserName="dan")
        key = registry.user.iam.create_access_key(UserName="dan")["AccessKey"]
        dan = registry.user.client("sagemaker", key["AccessKeyId"], key["SecretAccessKey"])
        dan.update_model_package(
            ModelPackageArn=version, ModelApprovalStatus="Approved", CustomerMetadataProperties={"Reviewed.By": "dan"}
        )
        event = json.loads(registry.user.message(url)["Body"])
        registry.user.events.remove_targets(Rule=rule, Ids=["queue"])
        registry.user.events.delete_rule(Name=rule)

        detail = event["detail"]
        assert (event["source"], detail["eventSource"]) == ("aws.sagemaker", "sagemaker.amazonaws.com")
        assert detail["userIdentity"]["arn"] == f"arn:aws:iam::{ACCOUNT}:user/dan"
        assert detail["userIdentity"]["type"] == "IAMUser"
        assert detail["requestParameters"]["modelPackageArn"] == version
        assert detail["requestParameters"]["customerMetadataProperties"] == {"Reviewed.By": "dan"}
        assert detail["readOnly"] is False and detail["eventID"]
        described = registry.described(version)
        assert described["LastModifiedBy"]["IamIdentity"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/dan"
        assert described["CreatedBy"]["IamIdentity"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"


class TestRetention:
    @pytest.fixture
    def tidy(self, registry: Registry) -> Iterator[Callable[..., dict[str, Any]]]:
        """`tidy(days=…)`: what goes of a group, a hundred days from now."""

        def tidy(*, dry_run: bool = False, days: int = 90, later: int = 100) -> dict[str, Any]:
            return retention.tidy(
                registry.group,
                days=days,
                by="arn:aws:lambda:::function/retention",
                dry_run=dry_run,
                sagemaker=registry.user.sagemaker,
                s3=registry.user.s3,
                ledger_bucket=registry.ledger,
                endpoint=registry.group,
                now=datetime.now(UTC) + timedelta(days=later),
            )

        yield tidy

    def test_only_what_nobody_wanted_goes(self, registry: Registry, tidy: Callable[..., dict[str, Any]]) -> None:
        waiting, rejected, was_live, approved = (registry.register() for _ in range(4))
        sagemaker = registry.user.sagemaker
        sagemaker.update_model_package(ModelPackageArn=rejected, ModelApprovalStatus="Rejected")
        sagemaker.update_model_package(ModelPackageArn=approved, ModelApprovalStatus="Approved")
        for kind in ("live", "retired"):
            entry = Entry(
                kind=kind,
                endpoint=registry.group,
                package_arn=was_live,
                at=ledger.now(),
                by="release",
                id=new(kind),
            )
            ledger.append(registry.user.s3, registry.ledger, entry)
        before = tidy(later=10)
        planned = tidy(dry_run=True)

        assert {waiting, rejected, was_live, approved} <= before["kept"].keys() and not before["removed"]
        assert {waiting, rejected} <= set(planned["removed"])
        assert (planned["kept"][was_live], planned["kept"][approved]) == ("it was live", "it is approved")
        assert registry.described(waiting)
        assert tidy()["removed"] == planned["removed"]
        assert tidy()["removed"] == []
        with pytest.raises(registry.user.sagemaker.exceptions.ClientError, match="not found"):
            registry.described(waiting)
        removed = [each for each in registry.entries() if each.kind == "removed"]
        assert {each.package_arn for each in removed} == set(planned["removed"])
        assert all(each.evidence["metadata"]["dataset_sha256"] for each in removed)

    def test_what_is_live_stays_whatever_the_ledger_says(
        self, registry: Registry, tidy: Callable[..., dict[str, Any]]
    ) -> None:
        arn, sagemaker, name = registry.register(), registry.user.sagemaker, new("model")
        sagemaker.create_model(
            ModelName=name, ExecutionRoleArn=registry.role, PrimaryContainer={"ModelPackageName": arn}
        )
        sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {"VariantName": "live", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
            ],
        )
        sagemaker.create_endpoint(EndpointName=registry.group, EndpointConfigName=name)
        try:
            assert tidy(dry_run=True)["kept"][arn] == "it is live"
        finally:
            until(
                lambda: sagemaker.describe_endpoint(EndpointName=registry.group)["EndpointStatus"] != "Creating",
                "the endpoint is made",
            )
            sagemaker.delete_endpoint(EndpointName=registry.group)


LAKE, LEDGER = "arn:aws:s3:::lake", "arn:aws:s3:::ledger"
MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:churn-release"
REVIEWERS = f"arn:aws:iam::{ACCOUNT}:role/reviewers"
REPOSITORY = f"arn:aws:ecr:{REGION}:683313688378:repository/sagemaker-scikit-learn"
PACKAGES = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package/churn/*"
SPEC: dict[str, Any] = {"description": "who leaves", "card": USE, "approvers": [REVIEWERS]}


def declared(release: str | None = MACHINE, **spec: Any) -> PretendAws:
    """What a registry asks AWS for."""
    return up(
        lambda: ModelRegistry(
            "churn",
            RegistrySpec.model_validate({**SPEC, **spec}),
            bucket_arn=LAKE,
            prefix="churn",
            image_repository_arn=REPOSITORY,
            ledger_bucket="ledger",
            ledger_bucket_arn=LEDGER,
            release_state_machine_arn=release,
            kms_key_arn=KEY,
            alerts_topic_arn=TOPIC,
        )
    )


def allowing(statements: list[dict[str, Any]], action: str) -> list[dict[str, Any]]:
    return [each for each in statements if each["Effect"] == "Allow" and action in each["Action"]]


def violations(made: PretendAws) -> list[str]:
    """What the packs say of all that was asked for, as if its tags came from the provider and a budget stood by."""
    tags = dict.fromkeys(TAGS, "x")
    resources = planned(made, tags=tags)
    config = {**CONFIG, "slipway:usd_per_month": "150"}
    told = replace(settings(lambda: None, "churn-local"), region=REGION, usd_per_month=150.0, config=config)
    report = check([(told, Plan("churn-local", resources, (), {}))])
    return [f"{each.resource}: {each.sentence}" for each in report.violations if each.rule not in NOT_WITHOUT_A_STACK]


class TestComponent:
    @pytest.fixture(scope="class")
    def made(self) -> PretendAws:
        return declared()

    @pytest.mark.parametrize("spec", [{}, {"consumers": ["111122223333"], "verified_names": True}])
    def test_keeps_to_every_pack(self, spec: dict[str, Any]) -> None:
        assert violations(declared(**spec)) == []

    def test_the_packs_would_say_if_it_did_not(self, made: PretendAws) -> None:
        [policy] = [each for each in made.resources if each.name == "churn-approver" and "policy" in each.inputs]
        open_ = json.dumps({"Statement": [{"Effect": "Allow", "Action": "sagemaker:*", "Resource": "*"}]})
        before = policy.inputs["policy"]
        try:
            policy.inputs["policy"] = open_
            assert len(violations(made)) >= 1
        finally:
            policy.inputs["policy"] = before

    def test_every_decision_is_told_and_none_is_lost(self, made: PretendAws) -> None:
        rules, targets = made.inputs(aws.cloudwatch.EventRule), made.inputs(aws.cloudwatch.EventTarget)

        assert json.loads(rules["churn-decided"]["eventPattern"])["detail"] == {
            "ModelPackageGroupName": ["churn"],
            "ModelApprovalStatus": ["Approved", "Rejected"],
        }
        assert targets["churn-decided"]["arn"] == TOPIC
        assert {each["deadLetterConfig"]["arn"] for each in targets.values()} == {
            "arn:aws:pretend:::churn-decisions-lost"
        }

    def test_cloudtrail_tells_who_decided(self, made: PretendAws) -> None:
        pattern = json.loads(made.inputs(aws.cloudwatch.EventRule)["churn-approvals"]["eventPattern"])

        assert pattern["detail-type"] == ["AWS API Call via CloudTrail"]
        assert pattern["detail"]["requestParameters"]["modelPackageArn"] == [{"prefix": PACKAGES.removesuffix("*")}]
        assert {each["sourceAccount"] for each in made.inputs(aws.lambda_.Permission).values()} == {ACCOUNT}
        started = json.loads(made.inputs(aws.cloudwatch.EventRule)["churn-starts"]["eventPattern"])
        assert started["detail"]["responseElements"]["pipelineExecutionArn"] == [
            {"prefix": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/churn-training/execution/"}
        ]

    def test_one_function_signs_and_nobody_else(self, made: PretendAws) -> None:
        key = made.only(aws.kms.Key)
        statements = made.statements(aws.kms.KeyPolicy, "churn-signing")
        signer = "arn:aws:pretend:::churn-registry-complete"

        assert (key["keyUsage"], key["customerMasterKeySpec"]) == ("SIGN_VERIFY", "ECC_NIST_P256")
        [allowed] = allowing(statements, "kms:Sign")
        assert allowed["Condition"] == {"ArnEquals": {"aws:PrincipalArn": signer}}
        [denied] = [each for each in statements if each["Effect"] == "Deny"]
        assert (denied["Action"], denied["Condition"]) == (
            "kms:Sign",
            {"ArnNotEquals": {"aws:PrincipalArn": signer}},
        )
        everyones = [each for each in statements if each["Effect"] == "Allow" and "Condition" not in each]
        assert not any("kms:*" in each["Action"] or "kms:Sign" in each["Action"] for each in everyones)
        may_sign = [
            name
            for name in made.inputs(aws.iam.RolePolicy)
            if allowing(made.statements(aws.iam.RolePolicy, name), "kms:Sign")
        ]
        assert may_sign == ["churn-registry-complete"]

    def test_an_approver_decides_and_does_nothing_else(self, made: PretendAws) -> None:
        role = made.inputs(aws.iam.Role)["churn-approver"]
        [trust] = json.loads(role["assumeRolePolicy"])["Statement"]
        [statement] = made.statements(aws.iam.RolePolicy, "churn-approver")

        assert trust["Principal"] == {"AWS": [REVIEWERS]}
        assert (statement["Action"], statement["Resource"]) == (["sagemaker:UpdateModelPackage"], [PACKAGES])
        assert statement["Condition"] == {"StringEquals": {"sagemaker:ModelApprovalStatus": ["Approved", "Rejected"]}}

    def test_an_approver_can_be_held_to_their_own_name(self) -> None:
        role = declared(verified_names=True).inputs(aws.iam.Role)["churn-approver"]
        [trust] = json.loads(role["assumeRolePolicy"])["Statement"]

        assert trust["Condition"] == {"StringEquals": {"sts:RoleSessionName": "${aws:SourceIdentity}"}}

    def test_no_function_of_the_registry_may_approve(self, made: PretendAws) -> None:
        for name in made.inputs(aws.iam.RolePolicy):
            for statement in allowing(made.statements(aws.iam.RolePolicy, name), "sagemaker:UpdateModelPackage"):
                if name != "churn-approver":
                    assert statement["Condition"] == {"Null": {"sagemaker:ModelApprovalStatus": "true"}}

    def test_a_training_pipeline_may_not_approve(self) -> None:
        statements = up_statements(lambda: may_register("churn"))
        [register] = allowing(statements, "sagemaker:CreateModelPackage")
        [denied] = [each for each in statements if each["Effect"] == "Deny"]

        assert register["Condition"] == {"StringEquals": {"sagemaker:ModelApprovalStatus": "PendingManualApproval"}}
        assert denied["Action"] == ["sagemaker:UpdateModelPackage"]
        assert denied["Condition"] == {"Null": {"sagemaker:ModelApprovalStatus": "false"}}

    def test_a_release_may_verify_and_not_sign(self) -> None:
        statements = up_statements(
            lambda: may_verify(
                "churn", bucket_arn=LAKE, prefix="churn", image_repository_arn=REPOSITORY, signing_key_arn=KEY
            )
        )

        assert allowing(statements, "kms:Verify") and not allowing(statements, "kms:Sign")

    def test_an_approval_starts_the_release_where_there_is_one(self, made: PretendAws) -> None:
        [start] = allowing(made.statements(aws.iam.RolePolicy, "churn-registry-approvals"), "states:StartExecution")
        alone = declared(release=None)

        assert start["Resource"] == [MACHINE]
        assert (
            made.inputs(aws.lambda_.Function)["churn-registry-approvals"]["environment"]["variables"][
                "RELEASE_STATE_MACHINE_ARN"
            ]
            == MACHINE
        )
        assert not allowing(alone.statements(aws.iam.RolePolicy, "churn-registry-approvals"), "states:StartExecution")

    def test_other_accounts_may_serve_and_not_decide(self, made: PretendAws) -> None:
        shared = declared(consumers=["210987654321"])
        statements = shared.statements(aws.sagemaker.ModelPackageGroupPolicy, "churn", "resourcePolicy")

        assert {json.dumps(each["Principal"]) for each in statements} == {'{"AWS": ["arn:aws:iam::210987654321:root"]}'}
        assert allowing(statements, "sagemaker:CreateModel")
        assert not allowing(statements, "sagemaker:UpdateModelPackage")
        assert made.inputs(aws.sagemaker.ModelPackageGroupPolicy) == {}

    @pytest.mark.parametrize(
        ("part", "action"), [("bucket", "s3:GetObject"), ("key", "kms:Decrypt"), ("repository", "ecr:BatchGetImage")]
    )
    def test_other_accounts_need_the_bucket_the_key_and_the_image_too(self, part: str, action: str) -> None:
        statements = up_statements(lambda: for_consumers(["210987654321"], bucket_arn=LAKE, prefix="churn")[part])

        assert allowing(statements, action)
        assert all(each["Principal"] == {"AWS": ["arn:aws:iam::210987654321:root"]} for each in statements)

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"approvers": ["ann"]}, "String should match pattern"),
            ({"consumers": ["prod"]}, "String should match pattern"),
            ({"card": {**USE, "purpose": " "}}, "at least 1 character"),
            ({"card": {**USE, "caveats": "x" * 2049}}, "at most 2048"),
            ({"card": {**USE, "risk_rating": "unknown"}}, "'High', 'Medium' or 'Low'"),
            ({"card": {name: text for name, text in USE.items() if name != "owner"}}, "owner"),
            ({"keep_days": 0}, "greater than or equal to 1"),
        ],
    )
    def test_a_mistake_is_told_when_the_yaml_is_read(self, wrong: dict[str, Any], words: str) -> None:
        with pytest.raises(ValidationError, match=words):
            RegistrySpec.model_validate({**SPEC, **wrong})

    def test_the_card_of_the_yaml_is_what_cards_are_made_of(self) -> None:
        assert set(card.USE) <= CardSpec.model_fields.keys()
        assert CardSpec.model_fields.keys() - set(card.USE) == {"factors", "ethical_considerations"}

    def test_every_alarm_says_what_to_do(self) -> None:
        guides = []

        def program() -> None:
            guides.extend(
                ModelRegistry(
                    "churn",
                    RegistrySpec.model_validate(SPEC),
                    bucket_arn=LAKE,
                    prefix="churn",
                    image_repository_arn=REPOSITORY,
                    ledger_bucket="ledger",
                    ledger_bucket_arn=LEDGER,
                    release_state_machine_arn=None,
                    kms_key_arn=KEY,
                    alerts_topic_arn=TOPIC,
                ).guides
            )

        made = up(program)
        assert {guide.alarm for guide in guides} == made.inputs(aws.cloudwatch.MetricAlarm).keys()
        assert all(guide.look and guide.act for guide in guides)


def up_statements(make: Callable[[], Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The statements as a document has them, their Outputs known."""
    found: list[dict[str, Any]] = []

    def program() -> None:
        document(*make()).apply(lambda text: found.extend(json.loads(text)["Statement"]))

    up(program)
    return found


class TestWhole:
    """The component as it runs: in the emulator, from registration to release, asked as people would."""

    GROUP = "chain-local"

    @pytest.fixture(scope="class")
    def stack(self, user: User, tmp_path_factory: pytest.TempPathFactory) -> Any:
        topic, key = user.topic()[0], user.kms.create_key()["KeyMetadata"]["Arn"]
        user.s3.create_bucket(Bucket="chain-lake")
        user.iam.create_role(RoleName="reviewers", AssumeRolePolicyDocument="{}")
        machine = user.stepfunctions.create_state_machine(
            name=f"{self.GROUP}-release",
            definition=json.dumps({"StartAt": "It", "States": {"It": {"Type": "Pass", "End": True}}}),
            roleArn=user.role,
        )["stateMachineArn"]

        def build() -> dict[str, Any]:
            kept = Ledger("chain", LedgerSpec(protect=False), kms_key_arn=key)
            made = ModelRegistry(
                self.GROUP,
                RegistrySpec.model_validate({**SPEC, "protect": False, "keep_days": 30}),
                bucket_arn="arn:aws:s3:::chain-lake",
                prefix="employment",
                image_repository_arn=REPOSITORY,
                ledger_bucket=kept.bucket,
                ledger_bucket_arn=kept.arn,
                release_state_machine_arn=machine,
                kms_key_arn=key,
                alerts_topic_arn=topic,
            )
            return {
                "ledger": kept.bucket,
                "key": made.signing_key_arn,
                "approver": made.approver_role_arn,
                "complete": made.complete_function_name,
                "retention": made.retention_function_name,
            }

        def cloud(_: Any) -> AwsProvider:
            return AwsProvider(REGION, ACCOUNT, dict.fromkeys(TAGS, "x"), user.emulator.endpoint)

        engine, told = Engine(tmp_path_factory.mktemp("chain"), {"aws": cloud}), settings(build, self.GROUP)
        told = replace(told, region=REGION, config=CONFIG)
        outputs = engine.up(told).outputs
        registry = Registry(user, self.GROUP, "chain-lake", outputs["ledger"], outputs["key"], outputs["approver"])
        return registry, {**outputs, "machine": machine}, lambda: engine.down(told)

    @pytest.fixture
    def version(self, stack: Any, user: User) -> str:
        registry, outputs, _ = stack
        arn: str = registry.register()
        answer, error = user.invoke(
            outputs["complete"], {"model_package_arn": arn, "release_notes": "First.", "author": registry.arn_of("ann")}
        )
        assert error is None, answer
        assert answer["signature"].endswith("/signature.json")
        return arn

    def approve(self, stack: Any, version: str, who: str) -> Entry:
        """Someone takes the approver's role and approves; the entry that the ledger has of it."""
        registry, _, _ = stack
        registry.as_(who).update_model_package(
            ModelPackageArn=version, ModelApprovalStatus="Approved", ApprovalDescription="read the card"
        )

        def entry() -> Entry | None:
            found = [
                each for each in registry.entries() if (each.package_arn, each.by) == (version, registry.arn_of(who))
            ]
            return found[0] if found else None

        recorded: Entry = until(entry, "the approval is in the ledger")
        return recorded

    def executions(self, stack: Any, user: User, version: str) -> list[dict[str, Any]]:
        _, outputs, _ = stack
        found = user.stepfunctions.list_executions(stateMachineArn=outputs["machine"])["executions"]
        told = [
            json.loads(user.stepfunctions.describe_execution(executionArn=each["executionArn"])["input"])
            for each in found
        ]
        return [each for each in told if each["model_package_arn"] == version]

    def test_another_person_approves_and_the_release_starts_once(self, stack: Any, user: User, version: str) -> None:
        registry, _, _ = stack
        entry = self.approve(stack, version, "ben")

        assert (
            entry.evidence["user_identity"]["sessionContext"]["sessionIssuer"]["userName"] == f"{self.GROUP}-approver"
        )
        until(lambda: self.executions(stack, user, version), "the release starts")
        rule = {"detail": approval_of(version, registry.arn_of("ben")) | {"eventID": entry.id}}
        answer, error = user.invoke(f"{self.GROUP}-registry-approvals", rule)  # the event comes again
        assert error is None and answer["approved"] == version
        assert self.executions(stack, user, version) == [
            {"model_package_arn": version, "reason": "approved", "by": registry.arn_of("ben")}
        ]
        assert registry.verify(version).approved_by == registry.arn_of("ben")
        assert registry.described(version)["ModelCard"]["ModelCardStatus"] == "Approved"

    def test_the_author_cannot_approve(self, stack: Any, version: str) -> None:
        registry, _, _ = stack
        entry = self.approve(stack, version, "ann")

        assert entry.evidence["by_its_author"] is True
        with pytest.raises(NotReleasable, match="someone else has to approve"):
            registry.verify(version)

    def test_who_starts_a_training_is_in_the_ledger(self, stack: Any, user: User) -> None:
        registry, _, _ = stack
        name = f"{self.GROUP}-training"
        fail = {"Name": "end", "Type": "Fail", "Arguments": {"ErrorMessage": "it is only to be started"}}
        user.sagemaker.create_pipeline(
            PipelineName=name,
            PipelineDefinition=json.dumps({"Version": "2020-12-01", "Steps": [fail]}),
            ClientRequestToken="x" * 32,
            RoleArn=user.role,
        )
        run = registry.as_("ann").start_pipeline_execution(PipelineName=name, ClientRequestToken="y" * 32)

        def starts() -> list[Entry]:
            return [each for each in registry.entries() if each.kind == "started"]

        [entry] = until(starts, "the start is in the ledger")
        assert (entry.by, entry.package_arn) == (registry.arn_of("ann"), run["PipelineExecutionArn"])

    def test_tidying_tells_before_it_deletes(self, stack: Any, user: User, version: str) -> None:
        _, outputs, _ = stack
        answer, error = user.invoke(outputs["retention"], {"dry_run": True})

        assert error is None
        assert answer["dry_run"] is True and answer["removed"] == []
        assert answer["kept"][version] == "it is younger than 30 days"

    def test_a_version_that_lacks_something_is_told_of(self, stack: Any, user: User) -> None:
        registry, outputs, _ = stack
        answer, error = user.invoke(outputs["complete"], {"model_package_arn": registry.register()})

        assert error == "Unhandled"
        assert "release notes: say what this version changes" in answer["errorMessage"]

    def test_taken_down_it_leaves_its_versions_and_nothing_else(self, stack: Any, user: User, version: str) -> None:
        registry, outputs, down = stack
        assert registry.entries()
        down()

        assert registry.described(version)["ModelPackageGroupName"] == self.GROUP
        assert outputs["ledger"] not in [each["Name"] for each in user.s3.list_buckets()["Buckets"]]
        assert user.kms.describe_key(KeyId=outputs["key"])["KeyMetadata"]["KeyState"] == "PendingDeletion"
        left = [each["FunctionName"] for each in user.lambda_.list_functions()["Functions"]]
        assert not [name for name in left if name.startswith(self.GROUP)]
