"""The networks by name: training fills them with weights, and the evaluation builds them again by name and tensors."""
