"""Functions from images for the tests: a small runtime, the images with it, and a function of its own."""

import base64
import json
import uuid
from typing import Any

from tests.integration.builds import build
from tests.integration.laptop import REPOSITORY, ROLE, Cloud, await_function

DOCKERFILE = 'FROM base AS one\nWORKDIR /opt/app\nENV GREETING=hello\nCOPY app.py .\nENTRYPOINT ["python", "app.py"]\n'
DOCKERFILE += 'CMD ["work"]\nFROM one AS two\nENV GREETING=again\n'
# A runtime as small as AWS's page about custom runtimes describes it; it knows nothing of the laptop cloud.
APP = """
import http.client, json, os, pathlib, subprocess, sys, threading, time

host, base = os.environ["AWS_LAMBDA_RUNTIME_API"], "/2018-06-01/runtime"
connection = http.client.HTTPConnection(host)
counter = served = 0


def call(method, path, body=None, headers={}):
    connection.request(method, base + path, body, headers)
    answer = connection.getresponse()
    return answer, answer.read()


def count():
    global counter
    while True:
        time.sleep(0.005)
        counter += 1


print("initializing", flush=True)
if mode := os.environ.get("INIT"):
    if mode == "error":
        call("POST", "/init/error", json.dumps({"errorMessage": "no model", "errorType": "Model.Missing"}),
             {"Lambda-Runtime-Function-Error-Type": "Model.Missing"})
    if mode == "slow":
        time.sleep(4)
    else:
        sys.exit(3)
threading.Thread(target=count, daemon=True).start()
while True:
    answer, body = call("GET", "/invocation/next")
    event, ask = json.loads(body), answer.headers.get
    request = ask("Lambda-Runtime-Aws-Request-Id")
    served += 1
    if text := event.get("print"):
        print(text, flush=True)
    time.sleep(event.get("sleep", 0))
    burnt = time.process_time() + event.get("burn", 0)
    while time.process_time() < burnt:
        pass
    if "exit" in event:
        os._exit(event["exit"])
    if "memory" in event:
        hog = b"x" * (event["memory"] << 20)
        time.sleep(20)
    if "error" in event:
        call("POST", f"/invocation/{request}/error", json.dumps({"errorMessage": event["error"], "errorType": "Bad"}),
             {"Lambda-Runtime-Function-Error-Type": "Bad"})
        continue
    document = {"pid": os.getpid(), "served": served, "counter": counter, "greeting": os.environ["GREETING"],
                "words": sys.argv[1:], "folder": os.getcwd(), "arn": ask("Lambda-Runtime-Invoked-Function-Arn"),
                "left": int(ask("Lambda-Runtime-Deadline-Ms")) / 1000 - time.time(),
                "environment": {name: value for name, value in os.environ.items() if name.startswith("AWS_LAMBDA")}}
    if path := event.get("list"):
        document["exists"] = os.path.exists(path)
    if path := event.get("write"):
        try:
            pathlib.Path(path).write_text("x")
        except OSError as error:
            document["error"] = error.errno
    if "size" in event:
        document = "x" * event["size"]
    first = call("POST", f"/invocation/{request}/response", json.dumps(document))[0].status
    if event.get("twice"):
        again = [call("POST", f"/invocation/{each}/response", "{}") for each in (request, "other")]
        print([first, *[(answer.status, json.loads(body)["errorType"]) for answer, body in again]], flush=True)
"""


class Function:
    """One function of the tests."""

    def __init__(self, cloud: Cloud, image: str, **request: Any) -> None:
        self.client, self.name = cloud.client("lambda"), f"image-{uuid.uuid4().hex[:8]}"
        defaults = {"Role": ROLE, "PackageType": "Image", "MemorySize": 256, "Timeout": 30}
        self.made = self.client.create_function(
            FunctionName=self.name, Code={"ImageUri": image}, **{**defaults, **request}
        )
        await_function(self.client, self.name)

    def ask(self, event: dict[str, Any], qualifier: str = "$LATEST") -> tuple[Any, str, dict[str, Any]]:
        """Return what the function answered, its log and the whole response."""
        response = self.client.invoke(
            FunctionName=self.name, Qualifier=qualifier, LogType="Tail", Payload=json.dumps(event)
        )
        return json.load(response["Payload"]), base64.b64decode(response["LogResult"]).decode(), response

    def update(self, image: str) -> None:
        self.client.update_function_code(FunctionName=self.name, ImageUri=image)
        await_function(self.client, self.name)

    def publish(self) -> str:
        return str(self.client.publish_version(FunctionName=self.name)["Version"])


def build_images(cloud: Cloud) -> list[str]:
    """Build two images with the same program, ``one`` and ``two``, which greet otherwise, and return their URIs."""
    ended = build(cloud, {"serving/Dockerfile": DOCKERFILE, "app.py": APP}, "one two", "functions")
    assert ended["buildStatus"] == "SUCCEEDED", ended["phases"]
    return [f"{REPOSITORY}:{target}-functions" for target in ("one", "two")]
