"""The explanation of a failed run: the sentence that a person needs."""
