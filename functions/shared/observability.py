"""One logger and one metrics object per function, with the stack's name (POWERTOOLS_SERVICE_NAME).

There is no Tracer, because it needs aws-xray-sdk and with it a second botocore, 25 MB per function. Lambda
and Step Functions trace without it (``Tracing: Active``), and the logs contain the correlation id.
"""

from aws_lambda_powertools import Logger, Metrics

logger = Logger()
metrics = Metrics()
