"""The laptop cloud: MiniStack, an AWS emulator, with SageMaker and Application Auto Scaling that really run.

``python -m cloud --port 4566 --home .kennel/cloud`` answers AWS's own protocols on loopback. It imports nothing of
the product: it knows Kennel only through the requests that it receives.

- ``settings`` sets the environment that MiniStack reads; ``server`` puts the rooms together and serves them.
- One room (folder) per AWS service. A room's ``hooks.py`` holds every change to MiniStack that the service needs;
  ``cloud/hooks.py`` checks at the start that MiniStack still has all that the hooks use.
- ``core`` holds what all rooms share: calls of MiniStack, the JSON protocol, resources, URIs, processes, the clock.
- ``iam`` decides who may do what; ``stepfunctions`` runs state machines; ``sagemaker`` runs jobs and endpoints;
  ``autoscaling`` scales the endpoints; ``cloudwatch`` evaluates alarms; ``ecr`` and ``codebuild`` keep and build
  images as folders of what a Dockerfile copies.

Rooms import each other in one direction only, and a test keeps it so. State is in memory: a cloud that stops
forgets everything.
"""
