"""The commands for AWS in the documents, and a shell that runs them as a reader would."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ("aws", "api", "operations", "runbook", "training", "upgrading", "machines", "security-step")
    ),
)
_CLIENTS = r"(?:KEY=\$\()?(?:aws|sam|curl) \S"
# A part of a command that stands alone in a sentence: without options, or of curl without an address.
_MENTION = r"(?:aws|sam)(?: [a-z][\w-]*){1,2}|curl (?!.*_URL).*"
# They are commands as they stand.
_WHOLE = {"sam build", "sam deploy", "sam delete", "sam sync", "sam sync --code"}
# How each command begins, and what its output must match. QUICK runs on a stack that serves, SLOW on one that it
# deploys, changes and deletes itself, both in this order. ELSEWHERE says why the laptop cannot run a command.
QUICK = {
    "aws cloudformation describe-stacks": r"PipelineArn\s+\|  arn:aws:states:",
    "aws s3 sync dogImages": r"upload: .*/008.Samoyed/photo.jpg to s3://.*/dataset/test/008.Samoyed/photo.jpg",
    "aws s3 cp dogImages.zip": r"upload: .*/dogImages.zip to s3://.*/datasets/dogs.zip",
    "aws stepfunctions start-execution --state-machine-arn PIPELINE_ARN": r'"executionArn": "arn:aws:states:.*:kennel-',
    "KEY=": "",
    'curl -H "x-api-key: $KEY" --data-binary @photo.jpg API_URL': r'"breed":"(Dalmatian|Doberman|Samoyed)"',
    'curl -H "x-api-key: $KEY" API_URL -d': r'"breed":"(Dalmatian|Doberman|Samoyed)"',
    'curl -i -H "x-api-key: $KEY"': r"^x-correlation-id: [A-Za-z0-9+/=]{16}\s*$",
    'curl -X POST "${FUNCTION_URL}classify"': r'"breed":"(Dalmatian|Doberman|Samoyed)"',
    "aws application-autoscaling describe-scaling-activities": r'"ScalingActivities": ',
    "aws sagemaker list-model-packages": r'"ModelApprovalStatus": "Rejected"',
    "aws scheduler get-schedule": '"StartDate": ',
    "aws apigateway update-account": '"cloudwatchRoleArn": "arn:aws:iam::',
    "sam logs --name ClassifyFunction": "START RequestId",
    "sam remote invoke ClassifyFunction": r'"statusCode": 200, .*serving',
    "aws logs put-retention-policy --log-group-name /aws/sagemaker/TrainingJobs": "",
    "aws logs filter-log-events --log-group-name /aws/lambda/<stack>-classify": "asked_ms.*span_id",
    "aws logs filter-log-events --log-group-name /aws/sagemaker/Endpoints": "4bf92f3577b34da6.*decode_ms",
    "aws cloudwatch set-alarm-state": "",
    "aws cloudwatch describe-alarm-history": "to ALARM",
    "aws cloudwatch describe-alarms --state-value": "",
    "aws cloudwatch describe-alarms --alarm-name-prefix": '"MetricAlarms": ',
    "aws sagemaker describe-endpoint": "InService",
    "aws ssm get-parameters": r"/kennel/champion\s",
    "aws logs filter-log-events --log-group-name /aws/lambda/<stack>-classify --filter-pattern status": '"status":',
    "aws logs filter-log-events --log-group-name /aws/sagemaker/Endpoints/<endpoint> --filter-pattern error": "",
    "aws logs filter-log-events --log-group-name /aws/lambda/<endpoint>-model": "",
    "aws apigateway get-api-key": "true",
    "aws apigateway get-usage-plans": '"limit": ',
    "aws sagemaker list-endpoints": r"kennel\s+InService",
    "aws sagemaker list-training-jobs": "",
    "aws sagemaker list-model-packages --model-package-group-name <endpoint> --model-approval-status A": "Approved",
    "aws stepfunctions list-executions --state-machine-arn PIPELINE_ARN": "SUCCEEDED",
    "aws stepfunctions list-executions --state-machine-arn TEARDOWN_ARN": "",
    "aws stepfunctions describe-execution": "SUCCEEDED",
    "aws application-autoscaling describe-scaling-activities --service-namespace sagemaker --resource-id endpoint/<": (
        '"ScalingActivities": '
    ),
    "aws application-autoscaling describe-scalable-targets": '"MaxCapacity": ',
    "aws application-autoscaling register-scalable-target": "",
    "aws lambda get-account-settings": '"ConcurrentExecutions": ',
    "aws scheduler list-schedules": r"kennel-lease\s+ENABLED",
}
SLOW = {
    "sam build": "Build Succeeded",
    "sam deploy --guided": "Successfully created/updated stack - kennel",
    "sam deploy --parameter-overrides Ec2Subnets=": "Successfully created/updated stack - kennel",
    "sam deploy": "Successfully created/updated stack - kennel",
    "sam sync": "Stack update succeeded",
    "sam sync --code": "Finished syncing Lambda Function GateFunction",
    "sam list stack-outputs": "PipelineArn",
    "sam list resources": "/kennel/champion",
    "sam remote invoke Pipeline": "DatasetError and cause: dataset s3://.*/dataset/: nothing found",
    "aws s3 cp model.pth": r"upload: .*/model.pth to s3://.*/TrainedModels/model.pth",
    "aws apigateway get-stages": '"stageName": "v1"',
    "aws apigateway delete-stage": "NotFoundException",  # There is no such stage any more.
    "aws iam create-service-linked-role": "AWSServiceRoleForSpot",
    'aws iam get-account-authorization-details --filter Role --query "RoleDetailList[].[': r"^AWSServiceRoleForSpot\s",
    'aws iam get-account-authorization-details --filter Role --query "RoleDetailList[?': r"^\[\]$",
    "aws iam generate-service-last-accessed-details": '"JobId": ',
    "aws ecr batch-get-image": "RepositoryNotFoundException",
    "aws stepfunctions start-execution --state-machine-arn TEARDOWN_ARN": r'"executionArn": "arn:aws:states:.*:kennel-',
    "aws stepfunctions start-execution --state-machine-arn TEARDOWN_ARN --input file://events/teardown.json": (
        r'"executionArn": "arn:aws:states:.*:kennel-'
    ),
    'aws stepfunctions start-execution --state-machine-arn PIPELINE_ARN --input \'{"promote"': (
        r'"executionArn": "arn:aws:states:.*:kennel-'
    ),
    "sam delete": "Deleted successfully",
}
ELSEWHERE = {
    "aws s3api list-object-versions": "names an object that the reader has lost",
    "aws s3api copy-object": "likewise, and one of its versions",
    "aws ecr get-login-password": "needs a Docker engine",
    "aws ec2 authorize-security-group-$way": "the laptop has no EC2",
    "aws s3 cp --recursive ~/TrainedModels": "shuts its machine down",
    "aws ec2 run-instances": "the laptop has no EC2",
    "aws ec2 describe-instances": "the laptop has no EC2",
    "aws logs filter-log-events --log-group-name /aws/lambda/<stack>-meter": "the stack here has no MonthlyDollars",
    "aws lambda invoke --function-name <stack>-meter": "likewise; test_spending.py calls the meter of another stack",
    "aws cognito-idp admin-create-user": "the laptop's stack asks for a key; test_sign_in.py makes accounts on another",
}


def commands() -> list[str]:
    """Return every command of the AWS CLI, the SAM CLI and curl in ``PAGES`` once, in the order of the pages.

    A command is a line of a fenced block, with the lines that continue it, or inline code that is more than a mention.
    Two that ``&&`` joins count as two.
    """
    found: dict[str, None] = {}
    for page in PAGES:
        for block, inline in re.findall(r"^```\w*\n(.*?)^```$|`([^`\n]+)`", (ROOT / page).read_text(), re.M | re.S):
            lines = re.sub(r"\\\n\s*", "", block).splitlines() or [inline.replace(r"\|", "|")]
            lines = [re.sub(r"\s{2,}#.*", "", line).strip() for line in lines]  # Comments are for the reader.
            for command in (part for line in lines for part in line.split(" && ")):
                if re.match(_CLIENTS, command) and not (
                    inline and command not in _WHOLE and re.fullmatch(_MENTION, command)
                ):
                    found[command] = None
    return list(found)


def key_of(command: str) -> str:
    """Return the longest key of the three tables that a command begins with; empty if there is none."""
    keys = [key for key in (*QUICK, *SLOW, *ELSEWHERE) if command.startswith(key)]
    return max(keys, key=len, default="")


def mentions() -> set[str]:
    """Return the operations of the AWS CLI that sentences in ``PAGES`` name, such as ``aws batch describe-jobs``."""
    pattern = re.compile(r"`(aws [a-z][\w-]* [a-z][\w-]*)`")
    return {found for page in PAGES for found in pattern.findall((ROOT / page).read_text())}


def filled(command: str, values: Mapping[str, str]) -> str:
    """Return a command with the documents' placeholders, such as BUCKET and <stack>, replaced by values."""
    for name, value in values.items():
        pattern = name if name.startswith("<") else rf"(?<![\w$]){name}(?!\w)"
        command = re.sub(pattern, lambda _, value=value: value, command)  # type: ignore[misc]
    return command


def client_environment(home: Path) -> dict[str, str]:
    """Return an environment in which clients find no settings of this machine's user."""
    scripts = Path(sys.executable).parent  # aws and sam are here.
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "SAM_CLI_TELEMETRY": "0",
    }


class Shell:
    """A bash that keeps its variables from one command to the next."""

    def __init__(self, folder: Path, home: Path) -> None:
        """Start it in a folder; programs find no settings of this machine's user."""
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=client_environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> tuple[int, str]:
        """Run one or more lines of shell and return the exit code and what they printed."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{{ {command}\n}} </dev/null; printf '\\n@@ended %d\\n' $?\n")
        process.stdin.flush()
        output = ""
        for line in process.stdout:
            if line.startswith("@@ended "):
                return int(line.split()[1]), output.strip()
            output += line
        raise AssertionError(f"the shell ended in: {command}\n{output}")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=300)
