"""The laptop cloud: MiniStack with SageMaker and Application Auto Scaling that really run.

``python -m local.cloud --port 4566 --home .kennel/cloud`` answers AWS's own protocols on
loopback. Where to look:

- ``settings``: the environment MiniStack is started with; ``clock``: how fast waits run.
- ``ministack``: every touch of MiniStack's inside, in one place.
- ``api``: requests checked against botocore's service model, errors with AWS's names.
- ``permissions``: what AWS asks IAM about a request; ``iam``: who may, and the record of every decision.
- ``rules``: what SageMaker and Application Auto Scaling refuse beyond their models.
- ``store``: resources by ARN, with their tags; lists and pages.
- ``processes``: child processes, and how none of them outlives the cloud.
- ``s3uri``, ``storage``: S3 objects to files and back; ``metrics``, ``telemetry``: what jobs write.
- ``optml``, ``jobs``, ``training``, ``processing``: jobs as trees of processes; ``spot``: how one loses its instances.
- ``registry``: models and model packages.
- ``hosting``, ``endpoints``, ``router``: one model server, the endpoint's life, InvokeEndpoint.
- ``deployment``: the stages in which an update moves an endpoint's traffic.
- ``metering``: an endpoint's metrics; ``alarms``: CloudWatch's, evaluated.
- ``autoscaling``: scalable targets and policies; ``scaler``, ``capacity``: what policies do, and the arithmetic of it.
- ``imageuri``, ``images``, ``codebuild``: images as folders of what a Dockerfile copies, and their builds.
- ``asl``, ``interpreter``, ``executions``: definitions checked, executions run, and how their parts stop together.
- ``integrations``, ``stepfunctions``: what tasks call; ``cloudformation``: what templates hold.
- ``server``: puts the parts together and serves them.

State is in memory: a cloud that stops forgets everything.
"""
