"""ECR: images as folders."""
