"""One logger and one metrics object per function, named by the stack (POWERTOOLS_SERVICE_NAME).

No Tracer: it would bring aws-xray-sdk and with it a second botocore, 25 MB a function. Lambda and Step
Functions trace themselves (``Tracing: Active``), and the logs carry the correlation id.
"""

from aws_lambda_powertools import Logger, Metrics

logger = Logger()
metrics = Metrics()
