"""A little of the API of an EKS cluster, over HTTPS: objects in no namespace are read and patched, as RBAC allows.

The objects are those that the rehearsal's Kubernetes stores (infra/rehearsal/kubernetes.py): no controller acts on
them. Who asks is told by an EKS token, as on AWS: its access entry in the cluster says what groups it is in, and the
stored ClusterRoles and their bindings what these may do. Access policies of EKS's own and namespaces are not looked at.
"""

import base64
import ipaddress
import json
import ssl
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto.eks.models import Cluster, eks_backends

from infra.rehearsal.emulator.calls import ACCOUNT, principal_of
from infra.rehearsal.emulator.process import HOST
from infra.rehearsal.kubernetes import KubernetesProvider
from infra.rehearsal.kubernetes_crds import definitions
from infra.rehearsal.provider import ProviderError

TOKEN: Final = "Bearer k8s-aws-v1."
TOKEN_LIFE: Final = timedelta(minutes=15)
"""How long EKS takes a token at most, whatever it says itself."""
VALID: Final = timedelta(days=365)
VERBS: Final = {"GET": "get", "PATCH": "patch"}
MERGE: Final = "application/merge-patch+json"

_work = Path()


class Refused(Exception):
    """What the API answers other than an object."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


def install(work: Path) -> None:
    """Serve the objects that are stored in a work folder."""
    global _work
    _work = work


def publish(cluster: Cluster) -> None:
    """Have a cluster tell where its API is, and what certificate it has."""
    port, certificate = _server()
    cluster.endpoint = f"https://{HOST}:{port}/{cluster.name}"
    cluster.certificate_authority = {"data": base64.b64encode(certificate).decode()}


@cache
def _server() -> tuple[int, bytes]:
    """The port and the certificate of the server, started for the first cluster."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both = _work / "kubernetes-api.pem"
    both.touch(mode=0o600)
    both.write_bytes(private + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    both.unlink()
    server = ThreadingHTTPServer((HOST, 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port, certificate


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing, as the emulator's own server."""

    def do_GET(self) -> None:
        """Read an object."""
        self._answer()

    def do_PATCH(self) -> None:
        """Change an object."""
        self._answer()

    def _answer(self) -> None:
        try:
            code, answer = 200, self._object()
        except Refused as refused:
            code = refused.code
            answer = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "reason": refused.reason,
                "message": str(refused),
                "code": code,
            }
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _object(self) -> dict[str, Any]:
        steps = urllib.parse.urlsplit(self.path).path.strip("/").split("/")
        match steps:
            case [cluster, "apis", group, version, plural, name]:
                pass
            case _:
                raise Refused(404, "NotFound", "the rehearsal's clusters know /apis/<group>/<version>/<kind>s/<name>")
        verb = VERBS[self.command]
        caller, groups = _caller(cluster, self.headers.get("Authorization", ""))
        objects = KubernetesProvider(_work)
        if not any(_allows(rule, group, plural, name, verb) for rule in _rules(objects, groups)):
            raise Refused(
                403,
                "Forbidden",
                f'{plural}.{group} "{name}" is forbidden: User "{caller}" cannot {verb} resource "{plural}" in API'
                f' group "{group}" at the cluster scope',
            )
        api, kind = f"{group}/{version}", _kind(f"{group}/{version}", plural)
        found = objects.found(api, kind, name) if kind else None
        if found is not None and verb == "patch":
            if self.headers.get("Content-Type") != MERGE:
                raise Refused(415, "UnsupportedMediaType", f"the rehearsal's clusters know {MERGE}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                found = objects.patched(api, str(kind), name, json.loads(body))
            except ProviderError as error:
                raise Refused(422, "Invalid", str(error)) from None
        if found is None:
            raise Refused(404, "NotFound", f'{plural}.{group} "{name}" not found')
        return found


def _kind(api_version: str, plural: str) -> str | None:
    """The kind that a path's last word but one stands for, of those whose schemas are kept."""
    kinds = (kind for version, kind in definitions() if version == api_version)
    return next((kind for kind in kinds if f"{kind.lower()}s" == plural), None)


def _caller(cluster: str, header: str) -> tuple[str, list[str]]:
    """Who has this token, and the groups that its access entry puts it in. Raises Refused for a token that is none."""
    unknown = Refused(401, "Unauthorized", "Unauthorized")
    try:
        text = header.removeprefix(TOKEN)
        url = urllib.parse.urlsplit(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
        told = {name: values[0] for name, values in urllib.parse.parse_qs(url.query).items()}
        made = datetime.strptime(told["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        signed, key = told["X-Amz-SignedHeaders"].split(";"), told["X-Amz-Credential"].split("/")[0]
    except (ValueError, KeyError):
        raise unknown from None
    fresh = abs(datetime.now(UTC) - made) < TOKEN_LIFE
    if not (header.startswith(TOKEN) and fresh and "x-k8s-aws-id" in signed and told["Action"] == "GetCallerIdentity"):
        raise unknown
    principal = principal_of(key)
    for backend in eks_backends[ACCOUNT].values():
        if cluster in backend.clusters:
            rows = vars(backend.clusters[cluster]).get("rows", {})
            for entry in rows.get("access entry", {}).values():
                if entry["principalArn"] == principal:
                    return principal, list(entry.get("kubernetesGroups") or ())
    raise unknown


def _rules(objects: KubernetesProvider, groups: list[str]) -> Iterator[Mapping[str, Any]]:
    """What the groups may do in all of the cluster."""
    stored = objects.objects()
    roles = {each["metadata"]["name"]: each for each in stored if each["kind"] == "ClusterRole"}
    for binding in stored:
        if binding["kind"] == "ClusterRoleBinding" and any(
            subject["kind"] == "Group" and subject["name"] in groups for subject in binding.get("subjects") or ()
        ):
            yield from roles.get(binding["roleRef"]["name"], {}).get("rules") or ()


def _allows(rule: Mapping[str, Any], group: str, plural: str, name: str, verb: str) -> bool:
    def has(field: str, value: str) -> bool:
        return not {value, "*"}.isdisjoint(rule.get(field) or ())

    names = rule.get("resourceNames") or ()
    return has("apiGroups", group) and has("resources", plural) and has("verbs", verb) and (not names or name in names)
