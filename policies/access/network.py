"""Who reaches whom over the network: security groups, subnets, and what every VPC has to have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from pulumi_policy import Severity

from policies.limits import limits
from policies.resource_types import SUBNET, VPC_ENDPOINT
from policies.rules import (
    UNKNOWN,
    Control,
    Declared,
    Finding,
    Props,
    Setting,
    Unknown,
    find,
    given,
    of_table,
    of_type,
    refers,
)

VPC = "aws:ec2/vpc:Vpc"
FLOW_LOG = "aws:ec2/flowLog:FlowLog"
DEFAULT_GROUP = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
ACCESS_LIST = "aws:ec2/networkAcl:NetworkAcl"
ACCESS_LIST_OF_SUBNET = "aws:ec2/networkAclAssociation:NetworkAclAssociation"
GROUP_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
INGRESS_RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS_RULE = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
# For each type, where its rules stand ("" is the resource itself), and which way they let traffic.
GROUP_RULES = {
    DEFAULT_GROUP: {"ingress?.*?": "in", "egress?.*?": "out"},
    GROUP: {"ingress?.*?": "in", "egress?.*?": "out"},
    GROUP_RULE: {"": "by type"},
    EGRESS_RULE: {"": "out"},
    INGRESS_RULE: {"": "in"},
}
EVERYTHING = ("-1", "all")
"""How a rule says that it is of every protocol; AWS then ignores its ports."""
WITH_PORTS = ("tcp", "udp", "6", "17")
HTTP, SSH, RDP = 80, 22, 3389


@dataclass(frozen=True)
class Opening:
    """One rule of a security group."""

    where: str
    inwards: bool
    protocol: str
    first: Any
    last: Any
    rule: Props

    @property
    def of_everything(self) -> bool:
        """Whether it is of every protocol."""
        return self.protocol in EVERYTHING

    @property
    def of_every_port(self) -> bool:
        """Whether it opens all ports of its protocol."""
        if self.of_everything:
            return True
        return self.protocol in WITH_PORTS and (
            self.first in (None, -1) or (self.first in (0, 1) and self.last == 65535)
        )

    def opens(self, port: int) -> bool:
        """Whether it opens a port of TCP or UDP."""
        if self.of_every_port:
            return True
        last = self.first if self.last is None else self.last
        return self.protocol in WITH_PORTS and self.first <= port <= last

    @property
    def ports(self) -> set[int]:
        """The ports it opens, where it is of some ports only."""
        if self.of_every_port or self.protocol not in WITH_PORTS:
            return set()
        return set(range(int(self.first), int(self.first if self.last is None else self.last) + 1))

    def worlds(self) -> Iterator[tuple[str, Any]]:
        """The blocks it names that are the Internet, or not known yet, with where they stand."""
        for path in ("cidrIpv4?", "cidrIpv6?", "cidrBlocks?.*?", "ipv6CidrBlocks?.*?"):
            for key, block in find(self.rule, path):
                if block == UNKNOWN or _is_the_world(block):
                    yield f"{self.where}.{key}".strip("."), block


def _is_the_world(block: str) -> bool:
    """Whether a CIDR block is the Internet, or so much of it (half, a quarter, …) that it makes no difference."""
    try:
        network = ip_network(block, strict=False)
    except ValueError:
        return False
    return network.prefixlen < (8 if network.version == 4 else 16)


def _openings(resource_type: str, inputs: Props) -> Iterator[Opening | Unknown]:
    for path, way in GROUP_RULES[resource_type].items():
        for where, rule in find(inputs, path):
            if rule == UNKNOWN:
                yield Unknown(where)
            elif rule:
                kind = str(rule.get("type", "ingress")) if way == "by type" else {"in": "ingress", "out": "egress"}[way]
                protocol = str(rule.get("ipProtocol", rule.get("protocol"))).lower()
                yield Opening(where, kind == "ingress", protocol, rule.get("fromPort"), rule.get("toPort"), rule)


def _openings_to_the_world(resource_type: str, inputs: Props, *, inwards: bool) -> Iterator[tuple[Opening, str, Any]]:
    """Each opening this way to each block that is the Internet or unknown; an unknown opening has no block."""
    for opening in _openings(resource_type, inputs):
        if isinstance(opening, Unknown):
            yield Opening(opening.path, inwards, "-1", None, None, {}), opening.path, UNKNOWN
        elif opening.inwards == inwards:
            yield from ((opening, where, block) for where, block in opening.worlds())


def _closed(port: int, of: str) -> dict[str, Any]:
    def rule(resource_type: str, inputs: Props) -> Iterator[Finding]:
        for opening, where, block in _openings_to_the_world(resource_type, inputs, inwards=True):
            if UNKNOWN in (opening.first, opening.last, opening.protocol):
                yield Unknown(opening.where)
            elif opening.opens(port):
                yield (
                    Unknown(where)
                    if block == UNKNOWN
                    else f"{where} lets {block} in on port {port} ({of}): name the addresses that may connect"
                )

    return {"rule": rule, "types": INWARDS}


INWARDS = frozenset({DEFAULT_GROUP, GROUP, GROUP_RULE, INGRESS_RULE})
OUTWARDS = frozenset({DEFAULT_GROUP, GROUP, GROUP_RULE, EGRESS_RULE})


def _nothing_is_open(resource_type: str, inputs: Props) -> Iterator[Finding]:
    allowed = set(limits().open_ports)
    for opening, where, block in _openings_to_the_world(resource_type, inputs, inwards=True):
        if block == UNKNOWN:
            yield Unknown(where)
        elif not opening.ports or not opening.ports <= allowed:
            yield f"{where} lets {block} in: name the addresses or the security group that may connect"


def _not_all_is_open(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for opening, where, block in _openings_to_the_world(resource_type, inputs, inwards=True):
        if opening.of_every_port:
            yield Unknown(where) if block == UNKNOWN else f"{where} lets {block} in on every port: name the ports"


def _not_everything_leaves(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for opening, where, block in _openings_to_the_world(resource_type, inputs, inwards=False):
        if opening.of_everything:
            yield (
                Unknown(where)
                if block == UNKNOWN
                else f"{where} lets everything out to {block}: name the ports, and where to"
            )


AS_PULUMI_WRITES_IT = "Managed by Pulumi"


def _says_what_for(resource_type: str, inputs: Props) -> Iterator[Finding]:
    if resource_type == GROUP and inputs.get("description") in (None, "", AS_PULUMI_WRITES_IT):
        yield "description is not set: say what the group is for"
    for opening in _openings(resource_type, inputs):
        if not isinstance(opening, Unknown) and not given(opening.rule.get("description")):
            yield f"{opening.where}.description".strip(".") + " is not set: say what the rule is for"


SUBNETS = {
    SUBNET: (Setting("mapPublicIpOnLaunch?", (False,), "or what starts in it can be reached from the Internet"),)
}
ACCEPTED_SERVICES = {
    "aws:ec2/vpcEndpointService:VpcEndpointService": (
        Setting("acceptanceRequired", (True,), "or any account that may use it connects without being asked"),
    )
}


def _of_vpc(resources: Sequence[Declared], resource_type: str, vpc: Declared) -> list[Declared]:
    return [each for each in of_type(resources, resource_type) if refers(each, "vpcId", vpc, by=("id",))]


def _default_groups_are_closed(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    for vpc in of_type(resources, VPC):
        groups = _of_vpc(resources, DEFAULT_GROUP, vpc)
        if not groups:
            yield vpc, f"network {vpc.name}: AWS's own security group lets all in it talk: add a DefaultSecurityGroup"
        for group in groups:
            for way in ("ingress", "egress"):
                if group.inputs.get(way) == UNKNOWN:
                    yield vpc, Unknown(way)
                elif group.inputs.get(way):
                    yield vpc, f"the default security group of {vpc.name} has {way} rules: set {way} to []"
            for each in resources:
                if each.type in (GROUP_RULE, INGRESS_RULE, EGRESS_RULE) and refers(
                    each, "securityGroupId", group, by=("id",)
                ):
                    yield vpc, f"{each.name} opens the default security group of {vpc.name}: use a group of its own"


def _flows_are_logged(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    for vpc in of_type(resources, VPC):
        logs = _of_vpc(resources, FLOW_LOG, vpc)
        if not any(each.inputs.get("trafficType") in ("ALL", "REJECT", UNKNOWN) for each in logs):
            yield vpc, f"network {vpc.name} keeps no record of who tried to connect: add a FlowLog of trafficType ALL"


def _services_are_reached(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    for vpc in of_type(resources, VPC):
        endpoints = _of_vpc(resources, VPC_ENDPOINT, vpc)
        names = {str(each.inputs.get("serviceName")) for each in endpoints}
        missing = [each for each in limits().endpoints if not any(name.endswith(f".{each}") for name in names)]
        if missing and UNKNOWN in names:
            yield vpc, Unknown("serviceName")
        elif missing:
            yield (
                vpc,
                f"network {vpc.name} has no VPC endpoint for {', '.join(missing)}: add them, or calls to AWS go over "
                "the Internet",
            )
        for each in endpoints:
            if each.inputs.get("vpcEndpointType") == "Interface" and each.inputs.get("privateDnsEnabled") is not True:
                finding = "privateDnsEnabled is not set, so that calls go past this endpoint: set True"
                yield each, Unknown("privateDnsEnabled") if each.inputs.get("privateDnsEnabled") == UNKNOWN else finding


def _access_lists_are_used(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    joined = of_type(resources, ACCESS_LIST_OF_SUBNET)
    for acl in of_type(resources, ACCESS_LIST):
        if not acl.inputs.get("subnetIds") and not any(
            refers(each, "networkAclId", acl, by=("id",)) for each in joined
        ):
            yield acl, f"network ACL {acl.name} guards no subnet: set subnetIds, or remove it"


HIGH, MEDIUM, LOW = Severity.HIGH, Severity.MEDIUM, Severity.LOW
NAMED = "Name the addresses (cidrIpv4) or the group (referencedSecurityGroupId) that may connect."

CONTROLS: list[Control] = [
    Control(
        "net-sg-22",
        "Nobody reaches SSH from the whole Internet.",
        HIGH,
        ("FSBP EC2.13", "CIS 7.0 6.3", "CIS 7.0 6.4", "CKV_AWS_24"),
        NAMED,
        **_closed(SSH, "SSH"),
    ),
    Control(
        "net-sg-3389",
        "Nobody reaches RDP from the whole Internet.",
        HIGH,
        ("FSBP EC2.14", "CKV_AWS_25"),
        NAMED,
        **_closed(RDP, "RDP"),
    ),
    Control(
        "net-sg-80",
        "Nobody speaks plain HTTP to us from the whole Internet.",
        HIGH,
        ("CKV_AWS_260",),
        NAMED,
        **_closed(HTTP, "HTTP"),
    ),
    Control(
        "net-sg-all",
        "No security group opens every port to the whole Internet.",
        HIGH,
        ("CKV_AWS_277",),
        NAMED,
        rule=_not_all_is_open,
        types=INWARDS,
    ),
    Control(
        "net-sg-any-open",
        "No security group lets the whole Internet in, but on the ports that policies/limits.yaml names.",
        HIGH,
        ("FSBP EC2.18", "FSBP EC2.19"),
        NAMED,
        rule=_nothing_is_open,
        types=INWARDS,
    ),
    Control(
        "net-sg-egress-all",
        "No security group lets everything out to the whole Internet.",
        LOW,
        ("CKV_AWS_382",),
        "Name the ports, and where to.",
        rule=_not_everything_leaves,
        types=OUTWARDS,
    ),
    Control(
        "net-sg-description",
        "Every security group and every rule of one says what it is for.",
        LOW,
        ("CKV_AWS_23",),
        "Set description.",
        rule=_says_what_for,
        types=frozenset(GROUP_RULES) - {DEFAULT_GROUP},
    ),
    Control(
        "net-default-sg",
        "The security group that AWS makes with every network has no rules.",
        MEDIUM,
        ("FSBP EC2.2", "CIS 7.0 6.5", "CKV2_AWS_12"),
        "Add an aws.ec2.DefaultSecurityGroup of the network with ingress [] and egress [].",
        stack_rule=_default_groups_are_closed,
    ),
    Control(
        "net-flow-logs",
        "Every network keeps a record of who tried to connect.",
        MEDIUM,
        ("FSBP EC2.6", "CIS 7.0 4.7", "CKV2_AWS_11", "cdk-nag VPC7"),
        "Add an aws.ec2.FlowLog of the network with trafficType ALL.",
        stack_rule=_flows_are_logged,
    ),
    Control(
        "net-subnet-no-public",
        "Nothing that starts in a subnet gets a public address by itself.",
        MEDIUM,
        ("FSBP EC2.15", "CKV_AWS_130"),
        "Set mapPublicIpOnLaunch to False.",
        **of_table(SUBNETS),
    ),
    Control(
        "net-acl-attached",
        "A network ACL guards some subnet.",
        LOW,
        ("CKV2_AWS_1",),
        "Set subnetIds, or remove it.",
        stack_rule=_access_lists_are_used,
    ),
    Control(
        "net-vpce-required",
        "A network reaches the AWS services that the platform calls without the Internet.",
        MEDIUM,
        ("CIS 7.0 6.8", "FSBP EC2.10"),
        "Add the VPC endpoints that endpoints of policies/limits.yaml names, with privateDnsEnabled True.",
        stack_rule=_services_are_reached,
    ),
    Control(
        "vpce-service-acceptance",
        "Who connects to a service of ours is asked for first.",
        LOW,
        ("CKV_AWS_123",),
        "Set acceptanceRequired to True.",
        **of_table(ACCEPTED_SERVICES),
    ),
]
