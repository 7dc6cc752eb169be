"""The laptop cloud: MiniStack, an AWS emulator, with SageMaker and Application Auto Scaling that really run.

``python -m cloud --port 4566 --home .kennel/cloud`` answers AWS's own protocols on loopback. It imports nothing of
the product: it knows Kennel only by the requests that it receives.

- ``settings`` sets the environment that MiniStack reads; ``server`` connects the rooms and serves them.
- One room (folder) per AWS service. A room's ``hooks.py`` contains every change to MiniStack that the service needs;
  ``cloud/hooks.py`` checks at the start that MiniStack still has all names that the hooks use.
- ``core`` contains what all rooms share: calls of MiniStack, the JSON protocol, URIs, processes, the clock.
- ``iam`` decides who may do what; ``stepfunctions`` runs state machines; ``sagemaker`` runs jobs and endpoints;
  ``autoscaling`` scales the endpoints; ``cloudwatch`` evaluates alarms; ``ecr`` stores images as folders of the files
  that a Dockerfile copies, and ``codebuild`` builds them.

Rooms import each other in one direction only, and a test checks it. State is in memory: when the cloud stops, it is
lost.
"""
