"""The authorizer of the REST API where people sign in: a token in, a verdict and the key of a usage plan out."""
