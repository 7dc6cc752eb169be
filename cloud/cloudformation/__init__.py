"""CloudFormation: resource types and transforms that MiniStack lacks."""
