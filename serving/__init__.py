"""The model server, and the evaluation that makes and judges the model that the server serves.

Start the server with ``python -m serving --model-dir FOLDER``, and the evaluation, a SageMaker processing job, with
``python -m serving.evaluate --root FOLDER --version NAME``.
"""
