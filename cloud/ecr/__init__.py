"""ECR: container images as folders of files."""
