"""Ways in which who has some rights takes more: the actions that together give them, and whether a policy does.

Collected from AWS's documentation of each action; pathfinding.cloud and cloudsplaining list most of them too, and
tests/test_policies_access_iam.py compares.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from policies.access.tables import about_everything, unconstrained
from policies.documents import Statement, matcher

PASS = "iam:PassRole"


@dataclass(frozen=True)
class Way:
    """Actions that together give more than they seem to."""

    gives: str
    """What whoever may do all of `steps` can do with them."""
    steps: tuple[str, ...]
    """Actions, `a|b` where either will do. The first is the lever: where it is held to named resources, there is
    nothing to take; how widely the others are allowed makes no difference."""
    service: str = ""
    """Where the lever is iam:PassRole: the service that then acts as the role."""


def _passing(service: str, gives: str, *steps: str) -> Way:
    return Way(f"{gives} as any role", (PASS, *steps), f"{service}.amazonaws.com")


LAMBDA_STARTS = (
    "lambda:InvokeFunction|lambda:InvokeAsync|lambda:CreateEventSourceMapping|lambda:AddPermission"
    "|lambda:CreateFunctionUrlConfig"
)
TASK_STARTS = "ecs:RunTask|ecs:StartTask|ecs:CreateService|ecs:UpdateService"

WAYS = (
    # IAM's own: new rights for an identity that one has.
    Way("write new rights into any policy", ("iam:CreatePolicyVersion",)),
    Way("bring back the wider rights of an earlier version of any policy", ("iam:SetDefaultPolicyVersion",)),
    *(
        Way(f"give any {kind} any rights", (f"iam:{action}{kind.title()}Policy",))
        for kind in ("user", "group", "role")
        for action in ("Attach", "Put")
    ),
    Way("put a user into any group", ("iam:AddUserToGroup",)),
    Way("act as any user, with a new access key", ("iam:CreateAccessKey",)),
    Way("act as any user, with a new password", ("iam:CreateLoginProfile|iam:UpdateLoginProfile",)),
    Way("let itself take any role", ("iam:UpdateAssumeRolePolicy",)),
    Way(
        "lift the boundary of any identity",
        (
            "iam:DeleteRolePermissionsBoundary|iam:PutRolePermissionsBoundary"
            "|iam:DeleteUserPermissionsBoundary|iam:PutUserPermissionsBoundary",
        ),
    ),
    Way("take every role that trusts a SAML provider, by making itself that provider", ("iam:UpdateSAMLProvider",)),
    Way(
        "give any user of IAM Identity Center any rights",
        ("sso:AttachManagedPolicyToPermissionSet|sso:PutInlinePolicyToPermissionSet|sso:CreateAccountAssignment",),
    ),
    # A role handed to a service that runs what one gives it.
    _passing(
        "sagemaker",
        "run code in SageMaker",
        "sagemaker:CreateTrainingJob|sagemaker:CreateProcessingJob|sagemaker:CreateHyperParameterTuningJob"
        "|sagemaker:CreateAutoMLJob|sagemaker:CreateAutoMLJobV2|sagemaker:CreateNotebookInstance"
        "|sagemaker:UpdateNotebookInstance|sagemaker:CreateCluster",
    ),
    _passing(
        "sagemaker",
        "run a model's code in SageMaker",
        "sagemaker:CreateModel",
        "sagemaker:CreateEndpoint|sagemaker:UpdateEndpoint|sagemaker:CreateTransformJob",
    ),
    _passing(
        "sagemaker",
        "run a pipeline",
        "sagemaker:CreatePipeline|sagemaker:UpdatePipeline",
        "sagemaker:StartPipelineExecution",
    ),
    _passing(
        "sagemaker",
        "open a notebook in SageMaker Studio",
        "sagemaker:CreateDomain|sagemaker:UpdateDomain|sagemaker:CreateUserProfile|sagemaker:UpdateUserProfile",
        "sagemaker:CreatePresignedDomainUrl",
    ),
    _passing("lambda", "run a function", "lambda:CreateFunction|lambda:UpdateFunctionConfiguration", LAMBDA_STARTS),
    _passing(
        "ec2",
        "run a machine",
        "ec2:RunInstances|ec2:RequestSpotInstances|ec2:RequestSpotFleet|ec2:CreateFleet"
        "|ec2:AssociateIamInstanceProfile|ec2:ReplaceIamInstanceProfileAssociation"
        "|autoscaling:CreateAutoScalingGroup|autoscaling:UpdateAutoScalingGroup",
    ),
    _passing("ecs-tasks", "run a container", "ecs:RegisterTaskDefinition", TASK_STARTS),
    _passing("ecs-tasks", "run a container", "ecs:RunTask|ecs:StartTask"),  # a role may be given for one run
    _passing("batch", "run a batch job", "batch:RegisterJobDefinition", "batch:SubmitJob"),
    _passing("eks", "run a node", "eks:CreateNodegroup"),
    _passing("pods.eks", "run a pod", "eks:CreatePodIdentityAssociation|eks:UpdatePodIdentityAssociation"),
    _passing("glue", "run code in Glue", "glue:CreateDevEndpoint|glue:CreateSession"),
    _passing("glue", "run a Glue job", "glue:CreateJob|glue:UpdateJob", "glue:StartJobRun|glue:CreateTrigger"),
    _passing("cloudformation", "change anything", "cloudformation:CreateStack|cloudformation:UpdateStack"),
    _passing("cloudformation", "change anything", "cloudformation:CreateChangeSet", "cloudformation:ExecuteChangeSet"),
    _passing(
        "cloudformation",
        "change anything",
        "cloudformation:CreateStackSet|cloudformation:UpdateStackSet",
        "cloudformation:CreateStackInstances|cloudformation:UpdateStackInstances|cloudformation:UpdateStackSet",
    ),
    _passing(
        "codebuild",
        "run a build",
        "codebuild:CreateProject|codebuild:UpdateProject",
        "codebuild:StartBuild|codebuild:StartBuildBatch",
    ),
    _passing("codepipeline", "run a pipeline", "codepipeline:CreatePipeline|codepipeline:UpdatePipeline"),
    _passing(
        "states", "run a state machine", "states:CreateStateMachine|states:UpdateStateMachine", "states:StartExecution"
    ),
    _passing("scheduler", "call any API", "scheduler:CreateSchedule|scheduler:UpdateSchedule"),
    _passing("events", "start tasks and commands", "events:PutTargets"),
    _passing("pipes", "send what comes to it anywhere", "pipes:CreatePipe|pipes:UpdatePipe"),
    _passing("ssm", "run a runbook", "ssm:StartAutomationExecution"),
    _passing("apprunner", "run a service", "apprunner:CreateService|apprunner:UpdateService"),
    _passing("datapipeline", "run a data pipeline", "datapipeline:CreatePipeline"),
    _passing("elasticmapreduce", "run a cluster", "elasticmapreduce:RunJobFlow"),
    _passing("emr-serverless", "run a job", "emr-serverless:StartJobRun"),
    _passing("airflow", "run a workflow", "airflow:CreateEnvironment|airflow:UpdateEnvironment"),
    _passing(
        "bedrock-agentcore",
        "run code",
        "bedrock-agentcore:CreateCodeInterpreter",
        "bedrock-agentcore:StartCodeInterpreterSession",
        "bedrock-agentcore:InvokeCodeInterpreter",
    ),
    # What has its role already, and runs what one gives it.
    Way("act as the role of any notebook", ("sagemaker:CreatePresignedNotebookInstanceUrl",)),
    Way("act as any user of SageMaker Studio", ("sagemaker:CreatePresignedDomainUrl|sagemaker:StartSession",)),
    Way("run code as the role of any notebook", ("sagemaker:UpdateNotebookInstanceLifecycleConfig",)),
    Way(
        "run code as the role of any notebook",
        ("sagemaker:UpdateNotebookInstance", "sagemaker:CreateNotebookInstanceLifecycleConfig"),
    ),
    Way("run steps as the role of any pipeline", ("sagemaker:UpdatePipeline", "sagemaker:StartPipelineExecution")),
    Way("run code as the role of any function", ("lambda:UpdateFunctionCode",)),
    Way("run code as the role of any Glue endpoint", ("glue:UpdateDevEndpoint",)),
    Way("act as the role of any stack", ("cloudformation:CreateChangeSet", "cloudformation:ExecuteChangeSet")),
    Way("run a build as the role of any project", ("codebuild:StartBuild|codebuild:StartBuildBatch",)),
    Way("act as the role of any machine", ("ssm:SendCommand|ssm:StartSession|ec2-instance-connect:SendSSHPublicKey",)),
    Way("run code as the role of any machine", ("ec2:ModifyInstanceAttribute", "ec2:StartInstances")),
    Way("start machines from changed templates", ("ec2:ModifyLaunchTemplate", "ec2:CreateLaunchTemplateVersion")),
    Way("act as the role of any container", ("ecs:ExecuteCommand",)),
    Way(
        "run code as the role of any code interpreter",
        ("bedrock-agentcore:StartCodeInterpreterSession", "bedrock-agentcore:InvokeCodeInterpreter"),
    ),
    Way("make itself the administrator of any cluster", ("eks:AssociateAccessPolicy",)),
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A way that is open."""

    way: Way
    actions: tuple[str, ...]
    """Those of its steps that are allowed."""


def ways(statements: Sequence[Statement]) -> Iterator[Found]:
    """The ways that these statements, which somebody has together, open. What a plain Deny takes away is not there."""
    allowing = [each for each in statements if each.allows]
    denying = [each for each in statements if not each.allows and not each.conditions and about_everything(each)]

    def allowed(step: str, service: str, *, lever: bool) -> str | None:
        for action in step.split("|"):
            for each in allowing:
                if (
                    (unconstrained(each, action) if lever else each.may(action))
                    and (not service or _may_pass_to(each, service))
                    and not any(one.may(action) for one in denying)
                ):
                    return action
        return None

    for way in WAYS:
        first = allowed(way.steps[0], way.service, lever=True)
        actions = [first, *(allowed(step, "", lever=False) for step in way.steps[1:])] if first else [None]
        if all(actions):
            yield Found(way, tuple(filter(None, actions)))


def _may_pass_to(statement: Statement, service: str) -> bool:
    """Whether it lets a role be passed to `service`: its conditions name that, or no service."""
    named = statement.demanded(("iam:PassedToService",))
    return all(any(matcher(each).fullmatch(service) for each in values) for values in named)
