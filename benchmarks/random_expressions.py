"""Random JSONata expressions over random data, for the comparison of two engines."""

import random
from collections.abc import Callable
from typing import Any

_NAMES = ("a", "b", "c", "d", "e")
_TEXTS = ("", "a", "Ab1", "12", "-3.5", "1e3", "0x1F", "true", "a,b,c", "naïve ß", "2026-11-28T10:00:00.000Z", "x y  z")
_NUMBERS = (0, 1, -1, 2, 3, 10, 0.1, -2.5, 1e21, 1e-7, 12345678901234567, 4503599627370497.5, 0.30000000000000004)
_PATTERNS = ("/a/", "/[a-c]+/", r"/\d+/", r"/(\w)(\w)?/", r"/\s+/", "/B/i", "/x*y/", r"/^\W*$/")
# A picture with an exponent is not among them, because the reference never ends on such a one and a negative number.
_PICTURES = ("'0'", "'#,##0.00'", "'00%'", "'#'", "'[Y0001]-[M01]-[D01]'", "'1'", "'I'", "'w'", "'A'")
# Functions with the kinds of their arguments. x is any, n a number, i a whole one, s a text, a an array, o an object,
# r a pattern or a text, p a picture, f a function of one argument, g one of two.
_FUNCTIONS = (
    *(
        "sum a",
        "count x",
        "max a",
        "min a",
        "average a",
        "string x",
        "substring s i",
        "substring s i i",
        "substringBefore s s",
    ),
    *("substringAfter s s", "lowercase s", "uppercase s", "length s", "trim s", "pad s i", "pad s i s", "match s r"),
    *("contains s r", "replace s r s", "replace s r s i", "split s r", "split s r i", "join a", "join a s"),
    *(
        "formatNumber n p",
        "formatBase n",
        "formatBase n i",
        "formatInteger n p",
        "parseInteger s p",
        "number x",
        "floor n",
    ),
    *("ceil n", "round n", "round n i", "abs n", "sqrt n", "power n n", "boolean x", "not x", "keys x", "lookup o s"),
    *("append x x", "exists x", "spread x", "merge a", "reverse a", "type x", "sort a", "distinct x", "zip a a"),
    *(
        "base64encode s",
        "encodeUrlComponent s",
        "decodeUrl s",
        "toMillis s",
        "fromMillis n",
        "fromMillis n p",
        "map a f",
    ),
    *("filter a f", "reduce a g", "sift o f", "each o f", "single a f", "sort a g", "error s", "assert x s"),
)
_OPERATORS = ("+", "-", "*", "/", "%", "&", "=", "!=", "<", "<=", ">", ">=", "and", "or", "in", "~>")


class Generator:
    """Generates data and expressions.

    Args:
        seed: The same seed gives the same sequence.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def data(self, depth: int = 3) -> Any:
        """Return random JSON."""
        pick = self._random
        match pick.randrange(8 if depth else 5):
            case 0:
                return pick.choice((None, True, False))
            case 1 | 2:
                return pick.choice(_NUMBERS)
            case 3 | 4:
                return pick.choice(_TEXTS)
            case 5:
                return [self.data(depth - 1) for _ in range(pick.randrange(4))]
            case _:
                return {name: self.data(depth - 1) for name in pick.sample(_NAMES, pick.randrange(1, 5))}

    def expression(self, depth: int = 3, names: tuple[str, ...] = ("$states.input", "$v")) -> str:
        """Return a random expression.

        Args:
            depth: How deep it may be nested.
            names: What its paths may begin with.
        """
        if depth == 0:
            return self._path(0, names) if self._random.random() < 0.7 else self._literal()
        parts: tuple[Callable[[int, tuple[str, ...]], str], ...] = (
            *(self._path, self._path, self._call, self._call, self._call, self._binary, self._binary),
            *(self._array, self._object, self._condition, self._block, self._chain),
        )
        return self._random.choice(parts)(depth - 1, names)

    def _literal(self) -> str:
        value = self._random.choice((*_NUMBERS, *_TEXTS, "null", "true"))
        if isinstance(value, str) and value not in ("null", "true"):
            return f"'{value}'"
        return f"({value})" if isinstance(value, float | int) and value < 0 else str(value)

    def _path(self, depth: int, names: tuple[str, ...]) -> str:
        path = self._random.choice(names)
        for _ in range(self._random.randrange(1, 4)):
            path += "." + self._random.choice((*_NAMES, *_NAMES, "*", "**"))
            predicate = f"[{self._inner(depth)}]"
            path += self._random.choice(("", "", "", "[0]", "[-1]", "[]", predicate, "^(a)", "^(>b, c)", "#$i"))
        suffixes = ("", "", "", "", f".({self._inner(depth)})", "{'k': $count(a)}", "{$string(a): b}")
        return path + self._random.choice(suffixes)

    def _inner(self, depth: int) -> str:
        """Return an expression on the items of a path."""
        names = (*_NAMES, "$")
        return self.expression(depth, names) if depth else f"{self._random.choice(names)} > 1"

    def _call(self, depth: int, names: tuple[str, ...]) -> str:
        name, *kinds = self._random.choice(_FUNCTIONS).split()
        return f"${name}({', '.join(self._argument(kind, depth, names) for kind in kinds)})"

    def _argument(self, kind: str, depth: int, names: tuple[str, ...]) -> str:
        pick = self._random
        if kind != "i" and pick.random() < 0.15:  # Step Functions rounds whole numbers where the reference does not.
            kind = "x"
        match kind:
            case "i":
                return str(pick.randrange(-2, 5))
            case "n":
                return pick.choice((str(pick.choice(_NUMBERS)), str(pick.randrange(5)), self.expression(depth, names)))
            case "s":
                return pick.choice((f"'{pick.choice(_TEXTS)}'", self.expression(depth, names)))
            case "a":
                return pick.choice((self._array(depth, names), self.expression(depth, names)))
            case "o":
                return pick.choice((self._object(depth, names), pick.choice(names)))
            case "r":
                return pick.choice((pick.choice(_PATTERNS), f"'{pick.choice(_TEXTS)}'"))
            case "p":
                return pick.choice(_PICTURES)
            case "f":
                return f"function($x){{{self.expression(depth, ('$x', *names))}}}"
            case "g":
                return f"function($x, $y){{{self.expression(depth, ('$x', '$y', *names))}}}"
        return self.expression(depth, names)

    def _binary(self, depth: int, names: tuple[str, ...]) -> str:
        operator = self._random.choice(_OPERATORS)
        right = f"${self._random.choice(_FUNCTIONS).split()[0]}" if operator == "~>" else self.expression(depth, names)
        return f"({self.expression(depth, names)} {operator} {right})"

    def _array(self, depth: int, names: tuple[str, ...]) -> str:
        if self._random.random() < 0.2:
            return f"[{self._random.randrange(3)}..{self._random.randrange(5)}]"
        return f"[{', '.join(self.expression(depth, names) for _ in range(self._random.randrange(4)))}]"

    def _object(self, depth: int, names: tuple[str, ...]) -> str:
        members = [f"'{name}': {self.expression(depth, names)}" for name in _NAMES[: self._random.randrange(4)]]
        return f"{{{', '.join(members)}}}"

    def _condition(self, depth: int, names: tuple[str, ...]) -> str:
        return f"({self.expression(depth, names)} ? {self.expression(depth, names)} : {self.expression(depth, names)})"

    def _block(self, depth: int, names: tuple[str, ...]) -> str:
        return f"($z := {self.expression(depth, names)}; {self.expression(depth, ('$z', *names))})"

    def _chain(self, depth: int, names: tuple[str, ...]) -> str:
        transform = f"|{self._random.choice(('$', *_NAMES))}|{self._object(0, _NAMES)}|"
        return f"({self.expression(depth, names)} ~> {transform})"
