"""Proves Kennel on an AWS account, from deployment to deletion.

    python -m proofs.aws_smoke [--yes] [--keep] [--laptop]

It deploys a stack with a new name, trains on a few drawings, deploys the model, asks the API, runs teardown, deletes
the stack, and checks that nothing is left. It uses the account that boto3 and SAM find in the environment, or the cloud
that ``AWS_ENDPOINT_URL`` names. ``--laptop`` starts a laptop cloud for it. At the end, also after Ctrl-C or an error,
it deletes its stack, or says what it could not delete.
"""

from proofs.aws_smoke.cost import quote

__all__ = ["quote"]
