"""The model server, and the evaluation that exports, calibrates and judges exactly what it serves.

Run the server with ``python -m serving --model-dir FOLDER`` and the processing job with
``python -m serving.evaluate --root FOLDER --version NAME``.
"""
