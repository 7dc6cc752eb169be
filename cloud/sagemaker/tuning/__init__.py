"""Hyperparameter tuning jobs: each runs training jobs and compares them by a metric in their logs."""
