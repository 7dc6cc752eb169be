"""Step Functions: checks of definitions, the interpreter, and the calls that tasks make."""
