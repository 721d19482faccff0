"""Endpoints that answer later, that scale to nothing, and that have a shadow: as boto3 sees them."""

import json
import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.served_models import BUCKET, ECHO, ROLE, Serving, wait_until

V1, V2 = ECHO.format(name="v1"), ECHO.format(name="v2")
BROKEN = 'def model_fn(model_dir):\n    raise RuntimeError("weights.bin is truncated")\n'
SAYS_NO = V1.replace("return prediction", 'raise RuntimeError("no")')


@pytest.fixture(scope="module")
def aws(emulator: Any) -> Serving:
    return Serving(emulator.endpoint)


@pytest.fixture(autouse=True)
def nothing_is_left(aws: Serving) -> Any:
    """Each test's endpoints end with it."""
    yield
    for component in aws.sagemaker.list_inference_components()["InferenceComponents"]:
        aws.sagemaker.delete_inference_component(InferenceComponentName=component["InferenceComponentName"])
    wait_until(lambda: not aws.sagemaker.list_inference_components()["InferenceComponents"], "no component is left")
    for endpoint in aws.sagemaker.list_endpoints(MaxResults=100)["Endpoints"]:
        aws.settled(endpoint["EndpointName"])
        aws.sagemaker.delete_endpoint(EndpointName=endpoint["EndpointName"])
    wait_until(lambda: not aws.sagemaker.list_endpoints()["Endpoints"], "all endpoints are gone")


def config(aws: Serving, name: str, variant: dict[str, Any], **more: Any) -> str:
    """An endpoint configuration of one variant."""
    instances = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    aws.sagemaker.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[{"VariantName": "live", **instances, **variant}], **more
    )
    return name


def host(aws: Serving, name: str) -> str:
    """An endpoint for inference components."""
    scaling = {"Status": "ENABLED", "MinInstanceCount": 0, "MaxInstanceCount": 2}
    return aws.serve(config(aws, name, {"ManagedInstanceScaling": scaling}, ExecutionRoleArn=ROLE))


def component(aws: Serving, endpoint: str, model: str, copies: int = 1) -> str:
    """A component of one model on an endpoint, once it has settled."""
    name = f"{endpoint}-component"
    needs = {"NumberOfCpuCoresRequired": 1, "MinMemoryRequiredInMb": 1024}
    aws.sagemaker.create_inference_component(
        InferenceComponentName=name,
        EndpointName=endpoint,
        VariantName="live",
        Specification={"ModelName": model, "ComputeResourceRequirements": needs},
        RuntimeConfig={"CopyCount": copies},
    )
    settled(aws, name)
    return name


def settled(aws: Serving, name: str) -> dict[str, Any]:
    def done() -> Any:
        found = aws.sagemaker.describe_inference_component(InferenceComponentName=name)
        return found if found["InferenceComponentStatus"] in ("InService", "Failed") else None

    return wait_until(done, f"{name} has settled")  # type: ignore[no-any-return]  # what Describe answers


def ask(aws: Serving, endpoint: str, name: str) -> str:
    answer = aws.runtime.invoke_endpoint(EndpointName=endpoint, InferenceComponentName=name, Body=b"x")
    return answer["Body"].read().decode()


class TestInferenceComponents:
    def test_a_component_answers_what_names_it(self, aws: Serving) -> None:
        endpoint = host(aws, "hosting")
        name = component(aws, endpoint, aws.model(V1))
        assert ask(aws, endpoint, name) == "v1"
        with pytest.raises(ClientError, match="set InferenceComponentName"):
            aws.runtime.invoke_endpoint(EndpointName=endpoint, Body=b"x")

    def test_without_copies_requests_fail_and_are_counted_until_a_step_policy_adds_one(self, aws: Serving) -> None:
        endpoint = host(aws, "sleeping")
        name = component(aws, endpoint, aws.model(V1), copies=0)
        target = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"inference-component/{name}",
            "ScalableDimension": "sagemaker:inference-component:DesiredCopyCount",
        }
        scaling, cloudwatch = aws.client("application-autoscaling"), aws.client("cloudwatch")
        scaling.register_scalable_target(**target, MinCapacity=0, MaxCapacity=2)
        step = [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]
        policy = scaling.put_scaling_policy(
            **target,
            PolicyName="wake",
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={"AdjustmentType": "ChangeInCapacity", "StepAdjustments": step},
        )["PolicyARN"]
        cloudwatch.put_metric_alarm(
            AlarmName="asleep",
            Namespace="AWS/SageMaker",
            MetricName="NoCapacityInvocationFailures",
            Dimensions=[{"Name": "InferenceComponentName", "Value": name}],
            Statistic="Sum",
            Period=30,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            AlarmActions=[policy],
        )
        with pytest.raises(ClientError, match="no capacity"):
            ask(aws, endpoint, name)

        def awake() -> Any:
            return aws.sagemaker.describe_inference_component(InferenceComponentName=name)["RuntimeConfig"][
                "CurrentCopyCount"
            ]

        assert wait_until(awake, "a copy was started") == 1
        settled(aws, name)
        assert ask(aws, endpoint, name) == "v1"

    def test_an_update_brings_another_model_and_a_broken_one_is_rolled_back(self, aws: Serving) -> None:
        endpoint = host(aws, "updated")
        name = component(aws, endpoint, aws.model(V1))
        needs = {"NumberOfCpuCoresRequired": 1, "MinMemoryRequiredInMb": 1024}

        def update(program: str) -> dict[str, Any]:
            aws.sagemaker.update_inference_component(
                InferenceComponentName=name,
                Specification={"ModelName": aws.model(program), "ComputeResourceRequirements": needs},
            )
            return settled(aws, name)

        assert "FailureReason" not in update(V2)
        assert ask(aws, endpoint, name) == "v2"
        assert "rolled back" in update(BROKEN)["FailureReason"]
        assert ask(aws, endpoint, name) == "v2"

    def test_an_endpoint_with_components_is_not_deleted(self, aws: Serving) -> None:
        endpoint = host(aws, "occupied")
        component(aws, endpoint, aws.model(V1))
        with pytest.raises(ClientError, match=f"{endpoint}-component"):
            aws.sagemaker.delete_endpoint(EndpointName=endpoint)

    def test_a_variant_with_a_model_hosts_none(self, aws: Serving) -> None:
        endpoint = aws.serve(config(aws, "with-model", {"ModelName": aws.model(V1)}))
        with pytest.raises(ClientError, match="must name no model"):
            component(aws, endpoint, aws.model(V1))


class TestAsynchronous:
    def output(self, name: str) -> dict[str, Any]:
        return {
            "OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/{name}/out", "S3FailurePath": f"s3://{BUCKET}/{name}/no"}
        }

    def read(self, aws: Serving, uri: str) -> bytes:
        key = uri.removeprefix(f"s3://{BUCKET}/")

        def found() -> Any:
            return aws.s3.list_objects_v2(Bucket=BUCKET, Prefix=key).get("Contents")

        wait_until(found, f"{uri} is there")
        body: bytes = aws.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body

    def test_the_answer_is_written_where_the_request_was_told(self, aws: Serving) -> None:
        double = "def model_fn(d):\n    return 2\n\n\ndef predict_fn(data, model):\n    return data * model\n"
        name = config(aws, "later", {"ModelName": aws.model(double)}, AsyncInferenceConfig=self.output("later"))
        endpoint = aws.serve(name)
        aws.s3.put_object(Bucket=BUCKET, Key="later/in.csv", Body=b"21", ContentType="text/csv")
        accepted = aws.runtime.invoke_endpoint_async(
            EndpointName=endpoint, InputLocation=f"s3://{BUCKET}/later/in.csv", ContentType="text/csv"
        )
        assert float(json.loads(self.read(aws, accepted["OutputLocation"]))) == 42

    def test_a_failure_is_written_too(self, aws: Serving) -> None:
        name = config(aws, "fails", {"ModelName": aws.model(SAYS_NO)}, AsyncInferenceConfig=self.output("fails"))
        endpoint = aws.serve(name)
        accepted = aws.runtime.invoke_endpoint_async(
            EndpointName=endpoint, InputLocation=f"s3://{BUCKET}/fails/missing.csv"
        )
        assert b"NoSuchKey" in self.read(aws, accepted["FailureLocation"])

    def test_an_endpoint_for_requests_takes_no_asynchronous_ones(self, aws: Serving) -> None:
        endpoint = aws.serve(config(aws, "now", {"ModelName": aws.model(V1)}))
        with pytest.raises(ClientError, match="not an asynchronous endpoint"):
            aws.runtime.invoke_endpoint_async(EndpointName=endpoint, InputLocation=f"s3://{BUCKET}/x")


class TestShadow:
    def test_a_shadow_is_asked_and_measured_and_never_answers(self, aws: Serving) -> None:
        instances = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1, "InitialVariantWeight": 1}
        shadow = {"VariantName": "candidate", "ModelName": aws.model(SAYS_NO), **instances}
        name = config(aws, "shadowed", {"ModelName": aws.model(V1)}, ShadowProductionVariants=[shadow])
        endpoint = aws.serve(name)
        assert {aws.ask(endpoint) for _ in range(20)} == {b"v1"}

        def failures() -> float:
            found = aws.client("cloudwatch").get_metric_statistics(
                Namespace="AWS/SageMaker",
                MetricName="Invocation5XXErrors",
                Dimensions=[
                    {"Name": "EndpointName", "Value": endpoint},
                    {"Name": "VariantName", "Value": "candidate"},
                ],
                StartTime=time.time() - 600,
                EndTime=time.time() + 60,
                Period=3600,
                Statistics=["Sum"],
            )
            return sum(point["Sum"] for point in found["Datapoints"])

        wait_until(lambda: failures() == 20, "the shadow was asked as often")
        [described] = aws.sagemaker.describe_endpoint(EndpointName=endpoint)["ShadowProductionVariants"]
        assert described["VariantName"] == "candidate"


class TestAutoscaling:
    def target(self, endpoint: str) -> dict[str, str]:
        return {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"endpoint/{endpoint}/variant/live",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        }

    def instances(self, aws: Serving, endpoint: str) -> int:
        [variant] = aws.sagemaker.describe_endpoint(EndpointName=endpoint)["ProductionVariants"]
        return int(variant["CurrentInstanceCount"])

    def test_traffic_above_the_target_adds_instances_up_to_the_maximum(self, aws: Serving) -> None:
        endpoint = aws.serve(config(aws, "busy", {"ModelName": aws.model(V1)}))
        scaling = aws.client("application-autoscaling")
        scaling.register_scalable_target(**self.target(endpoint), MinCapacity=1, MaxCapacity=3)
        metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
        scaling.put_scaling_policy(
            **self.target(endpoint),
            PolicyName="traffic",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={"TargetValue": 2, "PredefinedMetricSpecification": metric},
        )
        asking = threading.Event()

        def keep_asking() -> None:
            while not asking.wait(0.05):
                aws.ask(endpoint)

        thread = threading.Thread(target=keep_asking)
        thread.start()
        try:
            wait_until(lambda: self.instances(aws, endpoint) == 3, "there are three instances")
        finally:
            asking.set()
            thread.join()

    def test_a_minimum_is_kept_and_a_schedule_changes_it(self, aws: Serving) -> None:
        endpoint = aws.serve(config(aws, "held", {"ModelName": aws.model(V1)}))
        scaling = aws.client("application-autoscaling")
        scaling.register_scalable_target(**self.target(endpoint), MinCapacity=2, MaxCapacity=4)
        wait_until(lambda: self.instances(aws, endpoint) == 2, "the minimum is kept")
        soon = time.strftime("at(%Y-%m-%dT%H:%M:%S)", time.gmtime(time.time() + 3))
        scaling.put_scheduled_action(
            **self.target(endpoint),
            ScheduledActionName="morning",
            Schedule=soon,
            ScalableTargetAction={"MinCapacity": 3, "MaxCapacity": 4},
        )
        wait_until(lambda: self.instances(aws, endpoint) == 3, "the schedule's minimum is kept")
