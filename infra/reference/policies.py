"""The rules of the packs with the published controls that each implements, the limits, and the form of exceptions."""

from collections import Counter
from collections.abc import Iterator

from infra.check import Rule, rules
from infra.reference import specs
from infra.reference.markdown import anchor, code, either, page, prose, table
from policies.exceptions import LONGEST_DAYS, Exemption
from policies.limits import CostLimits, Increase, Limits, TeamLimits
from policies.rules import FRAMEWORKS

SERVICES = {
    "acm": "Certificates",
    "apigateway": "API Gateway",
    "apigatewayv2": "API Gateway",
    "appautoscaling": "Autoscaling",
    "bedrock": "Bedrock",
    "budgets": "Budgets",
    "cloudtrail": "CloudTrail",
    "cloudwatch": "CloudWatch",
    "cognito": "Cognito",
    "dynamodb": "DynamoDB",
    "ebs": "EBS",
    "ec2": "EC2 and VPC",
    "ecr": "ECR",
    "ecs": "ECS",
    "efs": "EFS",
    "eks": "EKS",
    "elasticache": "ElastiCache",
    "emr": "EMR",
    "fsx": "FSx",
    "glue": "Glue",
    "iam": "IAM",
    "kinesis": "Kinesis",
    "kms": "KMS",
    "lambda": "Lambda",
    "lb": "Load balancers",
    "msk": "MSK",
    "opensearch": "OpenSearch",
    "rds": "RDS",
    "redshift": "Redshift",
    "s3": "S3",
    "sagemaker": "SageMaker",
    "secretsmanager": "Secrets Manager",
    "sfn": "Step Functions",
    "sns": "SNS",
    "sqs": "SQS",
    "ssm": "Systems Manager",
}


def pages() -> Iterator[tuple[str, str]]:
    """An overview, and a page for each pack."""
    known = rules()
    packs = list(dict.fromkeys(each.pack for each in known))
    for place, pack in enumerate(packs):
        found = [each for each in known if each.pack == pack]
        yield f"reference/policies/{pack}.md", page(pack.capitalize(), *_pack(found), order=place)
    yield "reference/policies.md", page("Policies", *_overview(known, packs))


def _overview(known: list[Rule], packs: list[str]) -> Iterator[str]:
    yield (
        f"{len(known)} rules in {len(packs)} packs. `slipway check` holds the plan of every stack against all of them,"
        " offline; `slipway up` and `pulumi preview --policy-pack` do so with the same code. How they work, and how CI"
        " uses them: [What is checked](../policies.md)."
    )
    severities = ("critical", "high", "medium", "low")
    rows = []
    for pack in packs:
        counts = Counter(each.severity for each in known if each.pack == pack)
        numbers = [str(counts[each] or "") for each in severities]
        rows.append((f"[{pack}](policies/{pack}.md)", str(counts.total()), *numbers))
    yield table(("pack", "rules", *severities), rows)
    yield "## Published controls"
    yield "Rules name the controls of others that they implement. How many rules name one of each:"
    named = Counter(framework for each in known for framework in {_framework(one) for one in each.published})
    yield table(
        ("source", "in reports", "rules"),
        (
            (f"[{prose(title)}]({url})", code(name), str(named[name]))
            for name, (title, url) in FRAMEWORKS.items()
            if named[name]
        ),
    )
    yield "## Limits"
    yield (
        "What no product writes for itself stands in `policies/limits.yaml`. A key that is missing or unknown is"
        " refused. Every limit may be another in an environment or for a team where its text says so."
    )
    for each in (Limits, CostLimits, TeamLimits, Increase):
        yield f"### {each.__name__}"
        yield specs.keys(each, lambda name: f"[{name}](#{anchor(name)})")
    yield "## Exceptions"
    yield (
        f"An entry of `policies/exceptions.yaml` is for one rule and one resource, and for {LONGEST_DAYS} days at most."
        " No exception is made to: " + either([code(each.name) for each in known if each.always]) + "."
    )
    yield specs.keys(Exemption, code)


def _framework(published: str) -> str:
    """The source of a control: the longest name of a framework that it begins with."""
    return max((each for each in FRAMEWORKS if published.startswith(each)), key=len, default="")


def _published(control: str) -> str:
    """A published control, with where its source is published."""
    framework = _framework(control)
    return f"[{prose(control)}]({FRAMEWORKS[framework][1]})" if framework else prose(control)


def _pack(found: list[Rule]) -> Iterator[str]:
    by_service: dict[str, list[Rule]] = {}
    for each in found:
        by_service.setdefault(_service(each), []).append(each)
    for service in sorted(by_service):
        yield f"## {service}"
        for each in by_service[service]:
            yield f"### {each.name}"
            yield f"{prose(each.must)} *{each.severity.capitalize()}.*"
            if each.fix:
                yield f"To mend it: {prose(each.fix)}"
            if each.published:
                yield f"Implements {', '.join(_published(one) for one in each.published)}."
            if each.types:
                yield f"Looks at {', '.join(code(one) for one in each.types)}."
            if each.always:
                yield "Takes no exception."


def _service(rule: Rule) -> str:
    """What a rule is about, for a heading."""
    if rule.about == "stack":
        return "The whole stack"
    names = {each.split(":")[0] + ":" + each.split(":")[1].partition("/")[0] for each in rule.types}
    if any(each.startswith("kubernetes") for each in names):
        return "Kubernetes"
    if len(names) != 1:
        return "Several services"
    module = next(iter(names)).split(":")[1]
    return SERVICES.get(module, module)
