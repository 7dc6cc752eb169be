"""The function that ranks the training jobs of a search for hyperparameters."""
