"""Training of an image classifier: knows no AWS API, runs by launcher, torchrun or plain python."""
