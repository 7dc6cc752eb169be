"""Who gets into the laptop cloud: only clients of this machine, and only as whom their signature proves."""

import asyncio
import hashlib
import io
import json
import os
import pwd
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from benchmarks import load
from cloud.core import containers, root_key
from local import invoke, laptop
from local.api import signed_curl
from local.home import LocalError
from tests.integration.chromium import chromium
from tests.integration.laptop import REGION, ROLE, ROOT, Cloud, await_function, eventually, start_cloud
from tests.integration.page_attack import Attack, attacks_of, foreign_site, forged, signed

FIELDS = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}
PROBE = """
import os, pwd, tempfile

def seen(path):
    return os.path.lexists(path)

def handler(event, context):
    keys = ("HOME", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    with open("/tmp/here", "w") as file, tempfile.TemporaryFile() as other:
        other.write(b"x")
    files = {path: seen(path) for path in (event or {}).get("paths", [])}
    return {name: os.environ.get(name, "") for name in keys} | {"home": os.path.expanduser("~"), "files": files}
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud of its own, because an attack that gets through would take what other tests have."""
    running = start_cloud(tmp_path_factory.mktemp("door") / "home")
    running.client("s3").create_bucket(Bucket="kennel")
    running.client("s3").put_object(Bucket="kennel", Key="photo.jpg", Body=b"photo")
    yield running
    running.stop()


def send(cloud: Cloud, path: str, body: bytes | None = None, **fields: Any) -> tuple[int, bytes, Any]:
    """Send a request as an HTTP client and return the answer's status, body and headers."""
    method = fields.pop("method", "GET" if body is None else "POST")
    request = urllib.request.Request(
        f"http://localhost:{cloud.port}{path}", body, fields.pop("headers", {}), method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def new_attack(cloud: Cloud) -> Attack:
    """Return an attack whose function writes a file where a function may."""
    name = f"evil-{uuid.uuid4().hex[:6]}"
    return Attack(name, cloud.home / "tmp" / name)


def taken(cloud: Cloud, attack: Attack) -> bool:
    """Whether an attack has left something in the cloud, or taken something away."""
    roles = [role["RoleName"] for role in cloud.client("iam").list_roles()["Roles"]]
    functions = [each["FunctionName"] for each in cloud.client("lambda").list_functions()["Functions"]]
    buckets = [bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]]
    return attack.name in [*roles, *functions] or "kennel" not in buckets or attack.loot.exists()


# --- what a page can send, by an HTTP client ----------------------------------------------------------


@pytest.mark.parametrize("credentials", ["test", "000000000000", "", "signed"])
def test_no_request_that_a_page_can_send_gets_in(cloud: Cloud, credentials: str) -> None:
    """They need no preflight. The last ones have even a signature of root, so the door alone keeps them out."""
    attack = new_attack(cloud)
    sign = signed(root_key.read(cloud.home)) if credentials == "signed" else forged(credentials)
    statuses = {step: send(cloud, *request, headers=FIELDS)[0] for step, request in attacks_of(cloud, attack, sign)}
    assert set(statuses.values()) == {403}, statuses
    assert not taken(cloud, attack)


@pytest.mark.parametrize("credentials", ["test", "000000000000", "123456789012", ""])
def test_nobody_is_root_by_a_name_alone(cloud: Cloud, credentials: str) -> None:
    """The same requests by a program, which sends neither Origin nor Sec-Fetch-Site."""
    attack = new_attack(cloud)
    for step, request in attacks_of(cloud, attack, forged(credentials)):
        status, body, _ = send(cloud, *request)
        assert 400 <= status < 500, (step, status, body)
    assert not taken(cloud, attack)


def test_the_same_requests_signed_by_roots_key_do_everything(cloud: Cloud) -> None:
    """Otherwise the tests above would prove nothing."""
    attack = new_attack(cloud)
    sign = signed(root_key.read(cloud.home))
    statuses = {}
    for step, request in attacks_of(cloud, attack, sign):
        # A function that is being created yet answers 409.
        statuses[step] = eventually(lambda request=request: send(cloud, *request)[0], lambda status: status != 409)
    assert {step for step, status in statuses.items() if status >= 300} == {"reset", "config", "code"}, statuses
    assert attack.loot.read_text() == "taken"
    assert taken(cloud, attack)


@pytest.mark.parametrize("path", ["/", "/kennel/photo.jpg", "/2015-03-31/functions", "/_ministack/config"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:8888"])
def test_a_preflight_allows_no_origin(cloud: Cloud, path: str, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Private-Network": "true"}
    status, _, headers = send(cloud, path, method="OPTIONS", headers=asked)
    assert status == 403
    assert not [name for name in headers if name.lower().startswith("access-control-")]


def test_answers_of_services_allow_no_origin(cloud: Cloud) -> None:
    answered = cloud.client("iam").list_roles()["ResponseMetadata"]["HTTPHeaders"]
    assert not [name for name in answered if name.startswith("access-control-")]


def test_a_host_that_resolves_to_loopback_is_refused(cloud: Cloud) -> None:
    """A rebound page is of the same origin as the cloud, for its browser."""
    attack = new_attack(cloud)
    host = f"evil.example:{cloud.port}"
    fields = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    sign = signed(root_key.read(cloud.home), host)
    statuses = {step: send(cloud, *request, headers=fields)[0] for step, request in attacks_of(cloud, attack, sign)}
    assert set(statuses.values()) == {403}, statuses
    assert not taken(cloud, attack)


# --- a real browser -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page_host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("credentials", ["test", "signed"])
def test_a_page_of_another_origin_does_nothing_in_a_browser(cloud: Cloud, page_host: str, credentials: str) -> None:
    attack = new_attack(cloud)
    sign = signed(root_key.read(cloud.home)) if credentials == "signed" else forged(credentials)
    steps = list(attacks_of(cloud, attack, sign))
    with chromium() as browser, foreign_site(cloud, steps) as port:
        page, statuses = browser.new_page(), []
        page.on("response", lambda answer: statuses.append((answer.url, answer.status)))
        page.goto(f"http://{page_host}:{port}/")
        page.wait_for_function("document.title === 'done'", timeout=60_000)
        assert page.evaluate("read") == []  # No answer could be read, not even that of the health check.
    asked = [status for url, status in statuses if f":{cloud.port}/" in url]
    assert len(asked) >= 2 * len(steps)
    assert set(asked) == {403}, statuses
    assert not taken(cloud, attack)


def test_a_page_whose_name_is_rebound_to_loopback_does_nothing_in_a_browser(cloud: Cloud) -> None:
    attack = new_attack(cloud)
    host = f"evil.example:{cloud.port}"
    steps = list(attacks_of(cloud, attack, signed(root_key.read(cloud.home), host)))
    rebound = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    # Chromium's own protection would ask the user; not every browser has it.
    with chromium(
        rebound, "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
    ) as browser:
        page, statuses = browser.new_page(), []
        page.route(f"http://{host}/", lambda route: route.fulfill(body="<title>mine</title>", content_type="text/html"))
        page.goto(f"http://{host}/")
        for _, (path, body) in steps:
            sent = "([path, body]) => fetch(path, body === null ? {} : {method: 'POST', body}).then(a => a.status)"
            statuses.append(page.evaluate(sent, [path, None if body is None else body.decode()]))
    assert set(statuses) == {403}
    assert not taken(cloud, attack)


# --- signatures ---------------------------------------------------------------------------------------


def client(cloud: Cloud, service: str, key_id: str, secret: str, token: str | None = None, **settings: Any) -> Any:
    make: Any = boto3.client
    config = Config(retries={"total_max_attempts": 1}, **settings)
    keys = {"aws_access_key_id": key_id, "aws_secret_access_key": secret, "aws_session_token": token}
    return make(service, endpoint_url=cloud.url, region_name=REGION, config=config, **keys)


CALLS = [
    ("iam", "list_roles", {}),
    ("sts", "get_caller_identity", {}),
    ("sts", "assume_role", {"RoleArn": ROLE, "RoleSessionName": "any"}),
    ("s3", "list_buckets", {}),
    ("s3", "get_object", {"Bucket": "kennel", "Key": "photo.jpg"}),
    ("s3", "put_object", {"Bucket": "kennel", "Key": "photo.jpg", "Body": b"other"}),
    ("lambda", "list_functions", {}),
    ("sagemaker", "list_endpoints", {}),
    ("sagemaker-runtime", "invoke_endpoint", {"EndpointName": "none", "Body": b"x"}),
    ("stepfunctions", "list_state_machines", {}),
    ("ssm", "put_parameter", {"Name": "a", "Value": "b", "Type": "String"}),
    ("cloudformation", "describe_stacks", {}),
    ("batch", "describe_job_queues", {}),
    ("ecr", "describe_repositories", {}),
    ("dynamodb", "list_tables", {}),
    ("application-autoscaling", "describe_scalable_targets", {"ServiceNamespace": "sagemaker"}),
    ("cloudcontrol", "get_resource", {"TypeName": "AWS::Lambda::Url", "Identifier": "x"}),
    ("service-quotas", "list_service_quotas", {"ServiceCode": "sagemaker"}),
]


@pytest.mark.parametrize(("service", "operation", "request_"), CALLS, ids=[f"{c[0]}-{c[1]}" for c in CALLS])
@pytest.mark.parametrize("wrong", ["secret", "id", "both", "token"])
def test_a_key_that_is_not_roots_is_refused(
    cloud: Cloud, service: str, operation: str, request_: dict[str, Any], wrong: str
) -> None:
    key = root_key.read(cloud.home)
    key_id = "test" if wrong in ("id", "both") else key.id
    secret = "test" if wrong in ("secret", "both") else key.secret
    with pytest.raises(ClientError) as error:
        getattr(client(cloud, service, key_id, secret, "x" if wrong == "token" else None), operation)(**request_)
    assert error.value.response["Error"]["Code"] in {
        *("SignatureDoesNotMatch", "InvalidSignatureException", "UnrecognizedClientException", "InvalidClientTokenId"),
        *("InvalidAccessKeyId", "InvalidToken", "AccessDenied", "AccessDeniedException"),
    }
    assert cloud.client("s3").get_object(Bucket="kennel", Key="photo.jpg")["Body"].read() == b"photo"


def test_addresses_that_root_has_signed_work_and_changed_ones_do_not(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    s3.put_object(Bucket="kennel", Key="other.jpg", Body=b"other")
    for version, style in (("s3v4", "path"), ("s3v4", "virtual"), ("s3", "path")):
        key = root_key.read(cloud.home)
        signer = client(cloud, "s3", *key, signature_version=version, s3={"addressing_style": style})
        address = signer.generate_presigned_url("get_object", Params={"Bucket": "kennel", "Key": "photo.jpg"})
        path = address.partition(f":{cloud.port}")[2]
        host = {"Host": address.removeprefix("http://").partition("/")[0]}
        assert send(cloud, path, headers=host)[1] == b"photo", (version, style)
        for changed in (path.replace("photo.jpg", "other.jpg"), path[:-1] + ("a" if path[-1] != "a" else "b")):
            assert send(cloud, changed, headers=host)[0] == 403, (version, style, changed)
        assert send(cloud, path, b"new", method="PUT", headers=host)[0] == 403
    assert s3.get_object(Bucket="kennel", Key="photo.jpg")["Body"].read() == b"photo"


def unproven(cloud: Cloud, key_id: str, service: str) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Return pairs of headers and query parameters that name a key and prove nothing."""
    scope = f"{key_id}/20260101/{REGION}/{{}}/aws4_request"
    query = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": scope.format("s3"),
        "X-Amz-Date": "20260101T000000Z",
        "X-Amz-Expires": "604800",
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Signature": "0" * 64,
    }
    of_service = {**query, "X-Amz-Credential": scope.format(service)}
    header = f"AWS4-HMAC-SHA256 Credential={scope.format(service)}"
    return {
        "credential": ({"Authorization": header}, {}),
        "signature": ({"Authorization": f"{header}, SignedHeaders=host, Signature={'0' * 64}"}, {}),
        "two headers": ({"Authorization": f"AWS4-HMAC-SHA256 x=y, {header}"}, {}),
        "query": ({}, of_service),
        "query of s3": ({}, query),
        "query beside a header": ({"Authorization": "Bearer x"}, query),
        "query beside another header": ({"Authorization": "AWS x:y"}, query),
        "query without signature": ({}, {k: v for k, v in of_service.items() if k != "X-Amz-Signature"}),
        "query of s3 without signature": ({}, {k: v for k, v in query.items() if k != "X-Amz-Signature"}),
        "credential alone": ({}, {"X-Amz-Credential": scope.format(service)}),
        "small letters": ({}, {k.lower(): v for k, v in query.items()}),
        "version 2": ({"Authorization": f"AWS {key_id}:AAAA"}, {}),
        "version 2 in the query": ({}, {"AWSAccessKeyId": key_id, "Signature": "AAAA", "Expires": "9999999999"}),
        "key alone": ({}, {"AWSAccessKeyId": key_id}),
        "sigv4a": (
            {
                "Authorization": f"AWS4-ECDSA-P256-SHA256 Credential={key_id}/20260101/{service}/aws4_request, "
                "SignedHeaders=host;x-amz-region-set, Signature=3045",
                "X-Amz-Region-Set": "*",
                "X-Amz-Date": "20260101T000000Z",
            },
            {},
        ),
        "nothing": ({}, {}),
    }


WAYS = sorted(unproven(None, "x", "x"))  # type: ignore[arg-type]


@pytest.mark.parametrize("way", WAYS)
def test_root_is_nobody_without_a_proof(cloud: Cloud, way: str) -> None:
    """Neither is a session whose key's name can be computed: a function's own, and that of Lambda for its role."""
    create = {"Action": "CreateRole", "Version": "2010-05-08", "RoleName": "evil", "AssumeRolePolicyDocument": "{}"}
    target = {"X-Amz-Target": "SageMaker.ListEndpoints", "Content-Type": "application/x-amz-json-1.1"}
    name, _ = make_function(cloud, PROBE)
    own = json.loads(cloud.client("lambda").invoke(FunctionName=name)["Payload"].read())["AWS_ACCESS_KEY_ID"]
    session = hashlib.sha256(f"{ROLE} {name}".encode()).hexdigest()[:16].upper()
    for key_id in (root_key.read(cloud.home).id, own, f"ASIA{session}"):
        headers, query = unproven(cloud, key_id, "iam")[way]
        assert send(cloud, f"/?{urlencode({**query, **create})}", b"", headers=headers)[0] >= 400
        assert send(cloud, f"/?{urlencode(query)}", urlencode(create).encode(), headers=headers)[0] >= 400
        headers, query = unproven(cloud, key_id, "s3")[way]
        for path in ("/kennel/photo.jpg", "/kennel"):
            assert send(cloud, f"{path}?{urlencode(query)}", headers=headers)[0] >= 400
            bucket = {"Host": f"kennel.localhost:{cloud.port}"}
            assert send(cloud, f"{path[7:] or '/'}?{urlencode(query)}", headers={**headers, **bucket})[0] >= 400
        assert send(cloud, f"/kennel/photo.jpg?{urlencode(query)}", b"x", method="PUT", headers=headers)[0] >= 400
        headers, query = unproven(cloud, key_id, "sagemaker")[way]
        assert send(cloud, f"/?{urlencode(query)}", b"{}", headers={**headers, **target})[0] >= 400
        invoke = f"/endpoints/none/invocations?{urlencode(query)}"
        status, body, _ = send(cloud, invoke, b"x", headers=headers)
        assert (status >= 400, b"not found" in body) == (True, False)  # It is not told which endpoints there are.
        for path in ("/v2/kennel/manifests/x", "/v2/_catalog", "/v20180820/tags/kennel", "/v2/kennel/blobs/uploads/"):
            for body_ in (None, b"{}"):
                assert send(cloud, f"{path}?{urlencode(query)}", body_, headers=headers)[0] >= 400
    assert "evil" not in [role["RoleName"] for role in cloud.client("iam").list_roles()["Roles"]]
    assert cloud.client("s3").get_object(Bucket="kennel", Key="photo.jpg")["Body"].read() == b"photo"


def test_a_signature_does_not_prove_another_key_in_the_query(cloud: Cloud) -> None:
    """A role that may do nothing signs, and names root beside it."""
    role = cloud.make_role(f"poor-{uuid.uuid4().hex[:6]}", {"Effect": "Deny", "Action": "*", "Resource": "*"})
    lent = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="poor")["Credentials"]
    credentials = Credentials(lent["AccessKeyId"], lent["SecretAccessKey"], lent["SessionToken"])
    for key_id in (root_key.read(cloud.home).id, "test", "000000000000"):
        for headers, query in unproven(cloud, key_id, "sagemaker").values():
            url = f"http://localhost:{cloud.port}/?{urlencode(query)}"
            target = {"X-Amz-Target": "SageMaker.ListEndpoints", "Content-Type": "application/x-amz-json-1.1"}
            request = AWSRequest("POST", url, target, b"{}")
            SigV4Auth(credentials, "sagemaker", REGION).add_auth(request)
            merged = {**headers, **dict(request.headers)}
            assert send(cloud, f"/?{urlencode(query)}", b"{}", headers=merged)[0] >= 400


def test_who_may_do_nothing_pushes_no_image(cloud: Cloud) -> None:
    """MiniStack's registry asks nobody for rights; here CodeBuild alone makes images."""
    cloud.client("ecr").create_repository(repositoryName="served")
    role = cloud.make_role(f"poor-{uuid.uuid4().hex[:6]}", {"Effect": "Deny", "Action": "*", "Resource": "*"})
    lent = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="poor")["Credentials"]
    manifest = json.dumps({"schemaVersion": 2, "config": {}, "layers": []}).encode()
    url = f"http://localhost:{cloud.port}/v2/served/manifests/serve-1"
    request = AWSRequest("PUT", url, {"Content-Type": "application/json"}, manifest)
    credentials = Credentials(lent["AccessKeyId"], lent["SecretAccessKey"], lent["SessionToken"])
    SigV4Auth(credentials, "ecr", REGION).add_auth(request)
    path = "/v2/served/manifests/serve-1"
    assert send(cloud, path, manifest, method="PUT", headers=dict(request.headers))[0] == 403
    assert cloud.client("ecr").list_images(repositoryName="served")["imageIds"] == []


def test_containers_reach_the_cloud_by_the_relay_and_must_sign_as_everybody(cloud: Cloud) -> None:
    """The address stands for that of Docker's bridge, and the Host is this machine's name in containers."""

    async def through_relay() -> tuple[str, str]:
        relay = await invoke._relay("127.0.0.2", cloud.port)
        assert relay
        async with relay:
            return await asyncio.to_thread(ask, True), await asyncio.to_thread(ask, False)

    def ask(is_signed: bool) -> str:
        request = AWSRequest("GET", f"http://host.docker.internal:{cloud.port}/kennel/photo.jpg")
        if is_signed:
            S3SigV4Auth(Credentials(*root_key.read(cloud.home)), "s3", REGION).add_auth(request)
        headers = {**dict(request.headers), "Host": f"host.docker.internal:{cloud.port}"}
        url = f"http://127.0.0.2:{cloud.port}/kennel/photo.jpg"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.code)

    if sys.platform != "linux":
        pytest.skip("only Linux has all addresses of 127.0.0.0/8")
    assert asyncio.run(through_relay()) == ("photo", "403")


# --- functions ----------------------------------------------------------------------------------------


def make_function(cloud: Cloud, source: str) -> tuple[str, str]:
    """Create a function with a URL for everybody who signs, and return its name and the URL's host."""
    name, archive = f"f-{uuid.uuid4().hex[:6]}", io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.py", source)
    functions = cloud.client("lambda")
    functions.create_function(
        FunctionName=name,
        Runtime="python3.11",
        Handler="index.handler",
        Role=ROLE,
        Code={"ZipFile": archive.getvalue()},
    )
    await_function(functions, name)
    url = functions.create_function_url_config(FunctionName=name, AuthType="AWS_IAM")["FunctionUrl"]
    return name, url.split("/")[2].partition(":")[0]


def test_a_function_sees_a_scratch_folder_for_home_and_a_secret_that_cannot_be_computed(cloud: Cloud) -> None:
    name, _ = make_function(cloud, PROBE)
    answer = json.loads(cloud.client("lambda").invoke(FunctionName=name)["Payload"].read())
    assert Path(answer["HOME"]).is_relative_to(cloud.home)
    assert answer["home"] == answer["HOME"]
    digest = hashlib.sha256(f"arn:aws:lambda:{REGION}:000000000000:function:{name}:{ROLE}".encode()).hexdigest()
    assert answer["AWS_ACCESS_KEY_ID"] == f"ASIA{digest[:16].upper()}"  # This is how MiniStack makes the three.
    secret, token = (hashlib.sha256(f"{word}:{digest}".encode()).hexdigest() for word in ("secret", "token"))
    with pytest.raises(ClientError):
        client(cloud, "iam", answer["AWS_ACCESS_KEY_ID"], secret, token).list_roles()
    own = (answer["AWS_ACCESS_KEY_ID"], answer["AWS_SECRET_ACCESS_KEY"], answer["AWS_SESSION_TOKEN"])
    assert client(cloud, "iam", *own).list_roles()["Roles"]


@pytest.mark.skipif(not containers.available(), reason="the kernel allows no containers here")
def test_a_function_sees_nothing_of_the_users_files(cloud: Cloud, tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    name, _ = make_function(cloud, PROBE)
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    paths = [tmp_path / "secret", cloud.home / root_key.FILE, ROOT / "README.md", *home.iterdir()]
    hidden = [str(path) for path in paths if path.is_file() or path.name in (".aws", ".ssh", ".config")]
    event = json.dumps({"paths": [*hidden, str(cloud.home / "tmp"), "/etc/hosts"]})
    answer = json.loads(cloud.client("lambda").invoke(FunctionName=name, Payload=event)["Payload"].read())
    assert answer["files"] == {**dict.fromkeys(hidden, False), str(cloud.home / "tmp"): True, "/etc/hosts": True}


@pytest.mark.parametrize("way", WAYS)
def test_a_functions_url_is_nobodys_without_a_proof(cloud: Cloud, way: str) -> None:
    name, host = make_function(cloud, PROBE)
    for key_id in (root_key.read(cloud.home).id, "test"):
        headers, query = unproven(cloud, key_id, "lambda")[way]
        for path, named in (("/", {"Host": f"{host}:{cloud.port}"}), (f"/_aws/lambda-url/{host.split('.')[0]}/", {})):
            status, body, _ = send(cloud, f"{path}?{urlencode(query)}", headers={**headers, **named})
            assert (status >= 400, b"AWS_SECRET" in body) == (True, False), (name, body)


def test_a_functions_url_answers_the_command_that_the_runner_prints(cloud: Cloud, tmp_path: Path) -> None:
    fields = ("rawPath", "body", "isBase64Encoded")
    _, host = make_function(cloud, f"def handler(event, context): return {{name: event[name] for name in {fields}}}")
    (tmp_path / "photo.jpg").write_bytes(b"photo")
    key, url = root_key.read(cloud.home), f"http://localhost:{cloud.port}/_aws/lambda-url/{host.partition('.')[0]}/"
    for signer in (key, key._replace(secret="forged")):
        done = subprocess.run(
            ["bash", "-c", signed_curl(url, signer)], cwd=tmp_path, capture_output=True, timeout=60, check=True
        )
        answer = json.loads(done.stdout)
        expected = {"rawPath": "/classify", "body": "cGhvdG8=", "isBase64Encoded": True}
        assert (answer == expected) == (signer == key), answer


def test_a_load_from_outside_is_signed_for_a_functions_url(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, host = make_function(cloud, "def handler(event, context): return {'model_version': event['rawPath']}")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 photo")
    url = f"http://localhost:{cloud.port}/_aws/lambda-url/{host.partition('.')[0]}/"
    files = ["--photos", str(tmp_path), "--picture", str(tmp_path / "load.png")]
    monkeypatch.setattr(laptop, "find", lambda: laptop.Laptop(cloud.port, cloud.process.pid, files=cloud.home))
    figures = load.measure([url, *files, "--constant", "--rate", "4", "--seconds", "1"])
    assert (figures["by_status"], figures["versions"]) == ({"200": 4}, {"/classify": 4})
    monkeypatch.setattr(laptop, "find", lambda: None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", root_key.read(cloud.home).id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "forged")
    with pytest.raises(LocalError, match=r"answers 403 .*the credentials lack a right, or the signature is not theirs"):
        load.measure([url, *files])


def test_a_functions_url_has_all_paths_and_is_open_to_pages(cloud: Cloud) -> None:
    _, host = make_function(cloud, "def handler(event, context): return event['rawPath']")
    key = root_key.read(cloud.home)
    for path in ("/health", "/login", "/oauth2/token", "/v2/", "/iceberg", "/_here", "/v20180820/tags/x"):
        url = f"http://{host}:{cloud.port}{path}"
        request = AWSRequest("POST", url, {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, b"")
        SigV4Auth(Credentials(*key), "lambda", REGION).add_auth(request)
        headers = {**dict(request.headers), "Host": f"{host}:{cloud.port}"}
        status, body, _ = send(cloud, path, b"", headers=headers)
        assert (status, body.decode()) == (200, path)


def test_nothing_of_the_clouds_folder_is_open_to_other_users(cloud: Cloud) -> None:
    assert cloud.home.stat().st_mode & 0o777 == 0o700
    assert (cloud.home / root_key.FILE).stat().st_mode & 0o777 == 0o600
    umask = Path(f"/proc/{cloud.process.pid}/status")
    if umask.exists():
        assert "Umask:\t0077" in umask.read_text()
