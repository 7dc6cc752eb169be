"""Where AWS's price list has each price of the book: the service's code, filters for GetProducts, and the usage type.

A usage type carries a prefix for its region (``EU-Request``, ``USE1-StateTransition``, ``eu-west-1-KMS-Keys``) and in
us-east-1 often none. The names were read in programs and recorded answers of other people (docs/prices.md says which),
and no account was at hand to ask AWS. A name that AWS has changed leaves the price in the book as it is, with a word.
"""

import re
from dataclasses import dataclass

_PREFIX = r"(?:[A-Z]{2,4}\d?-|[a-z]{2}(?:-[a-z]+)+-\d-)?"


@dataclass(frozen=True)
class Offer:
    """A kind of product in the price list.

    Attributes:
        service: the service's code in the price list.
        usage: a pattern for the whole usage type after the region's prefix. Its group ``type`` takes the place of ``*``
            in the id.
        filters: fields and values by which AWS chooses the products, besides the region.
        attributes: attributes of a product, its family among them, and the values by which we choose from AWS's answer.
        region_field: the field that names the region; empty for a product that AWS lists once for all regions.
    """

    service: str
    usage: str
    filters: tuple[tuple[str, str], ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    region_field: str = "regionCode"

    def instance_type(self, attributes: dict[str, str]) -> str | None:
        """Return what stands for ``*`` in the id, empty if there is no such part; None if the product is another."""
        match = re.fullmatch(_PREFIX + self.usage, attributes.get("usagetype", ""))
        if match is None or any(attributes.get(name) != value for name, value in self.attributes):
            return None
        return match.groupdict().get("type") or ""


_ML = (("productFamily", "ML Instance"),)
_LINUX = (("operatingSystem", "Linux"), ("tenancy", "Shared"), ("preInstalledSw", "NA"), ("capacitystatus", "Used"))
_RUN = (("operation", "RunInstances"),)


def _sagemaker(usage: str) -> Offer:
    return Offer("AmazonSageMaker", usage + r":(?P<type>ml\.[a-z0-9-]+\.[a-z0-9]+)", _ML)


def _volume(usage: str) -> Offer:
    return Offer("AmazonSageMaker", usage + r":VolumeUsage\.gp2", (("productFamily", "Storage"),))


def _invoke(direction: str) -> Offer:
    return Offer("AmazonSageMaker", rf"(?i:(?:\w+:)*Data-Bytes-{direction})", (("operation", "Invoke-Endpoint"),))


def _cloudwatch(usage: str, **attributes: str) -> Offer:
    return Offer("AmazonCloudWatch", usage, attributes=tuple(attributes.items()))


def _lambda(usage: str) -> Offer:
    return Offer("AWSLambda", usage, (("productFamily", "Serverless"),))


CATALOGUE = {
    "hosting/*": _sagemaker("Host"),
    "training/*": _sagemaker("Train"),
    "processing/*": _sagemaker("Processing"),
    "hosting/volume": _volume("Host"),
    "training/volume": _volume("Train"),
    "processing/volume": _volume("Processing"),
    "invoke/in": _invoke("In"),
    "invoke/out": _invoke("Out"),
    "ec2/*": Offer("AmazonEC2", r"BoxUsage:(?P<type>[a-z0-9-]+\.[a-z0-9]+)", _LINUX + _RUN),
    "ec2/volume-gp3": Offer("AmazonEC2", r"EBS:VolumeUsage\.gp3", (("volumeApiName", "gp3"),)),
    "ec2/volume-gp2": Offer("AmazonEC2", r"EBS:VolumeUsage\.gp2", (("volumeApiName", "gp2"),)),
    "ec2/public-ipv4": Offer("AmazonVPC", "PublicIPv4:InUseAddress"),
    "lambda/gb-second": _lambda("Lambda-GB-Second"),
    "lambda/gb-second-arm": _lambda("Lambda-GB-Second-ARM"),
    "lambda/request": _lambda("Request"),
    "lambda/provisioned-gb-second": _lambda("Lambda-Provisioned-Concurrency"),
    "lambda/provisioned-gb-second-arm": _lambda("Lambda-Provisioned-Concurrency-ARM"),
    "lambda/provisioned-duration-gb-second": _lambda("Lambda-Provisioned-GB-Second"),
    "lambda/provisioned-duration-gb-second-arm": _lambda("Lambda-Provisioned-GB-Second-ARM"),
    "api-gateway/rest-request": Offer("AmazonApiGateway", "ApiGatewayRequest", (("productFamily", "API Calls"),)),
    "data-transfer/out": Offer(
        "AWSDataTransfer",
        "DataTransfer-Out-Bytes",
        (("transferType", "AWS Outbound"),),
        region_field="fromRegionCode",
    ),
    "states/transition": Offer("AmazonStates", "StateTransition"),
    "codebuild/general1.small": Offer("CodeBuild", r"Build-Min:Linux:g1\.small"),
    "codebuild/general1.medium": Offer("CodeBuild", r"Build-Min:Linux:g1\.medium"),
    "codebuild/general1.large": Offer("CodeBuild", r"Build-Min:Linux:g1\.large"),
    "ecr/storage": Offer("AmazonECR", "TimedStorage-ByteHrs"),
    "s3/storage": Offer("AmazonS3", "TimedStorage-ByteHrs", (("volumeType", "Standard"),)),
    "s3/put": Offer("AmazonS3", "Requests-Tier1", (("group", "S3-API-Tier1"),)),
    "s3/get": Offer("AmazonS3", "Requests-Tier2", (("group", "S3-API-Tier2"),)),
    "kms/key": Offer("awskms", "KMS-Keys"),
    "kms/request": Offer("awskms", "KMS-Requests"),
    "xray/trace": Offer("AWSXRay", "XRay-TracesStored"),
    "logs/ingest": _cloudwatch("DataProcessing-Bytes", operation="PutLogEvents"),
    "logs/storage": _cloudwatch("TimedStorage-ByteHrs", productFamily="Storage Snapshot"),
    "cloudwatch/alarm": _cloudwatch("CW:AlarmMonitorUsage"),
    "cloudwatch/fast-alarm": _cloudwatch("CW:HighResAlarmMonitorUsage"),
    "cloudwatch/metric": _cloudwatch("CW:MetricMonitorUsage"),
    "cloudwatch/get-metric": _cloudwatch("CW:GMD-Metrics"),
    "cloudwatch/dashboard": Offer(
        "AmazonCloudWatch",
        "DashboardsUsageHour",
        (("location", "Any"),),
        region_field="",
    ),
    "sns/request": Offer("AmazonSNS", "Requests-Tier1"),
    "sns/email": Offer("AmazonSNS", "DeliveryAttempts-SMTP"),
    "events/event": Offer("AWSEvents", "Event-64K-Chunks", (), (("eventType", "Custom Event"),)),
    "scheduler/invocation": Offer("AWSEvents", "ScheduledInvocation"),
    "waf/web-acl": Offer("awswaf", "WebACLV2"),
    "waf/rule": Offer("awswaf", "RuleV2"),
    "waf/request": Offer("awswaf", "RequestV2-Tier[01]"),
    "cognito/user": Offer("AmazonCognito", "CognitoEssentialsMAU"),
    "cognito/user-lite": Offer("AmazonCognito", "CognitoLiteMAU"),
}
