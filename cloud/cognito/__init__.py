"""Cognito's user pools: MiniStack has them, with the pages on which people sign in and the keys of the tokens."""
