"""Proof of rights: something that ran needs each right of the template, or AWS's documents say why it is needed."""
