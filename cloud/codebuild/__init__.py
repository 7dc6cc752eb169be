"""CodeBuild: builds of images without Docker."""
