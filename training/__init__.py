"""Training of an image classifier, started by the launcher, by torchrun or by plain python; it calls no AWS API."""
