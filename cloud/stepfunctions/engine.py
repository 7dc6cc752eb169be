"""Embedded JavaScript engines with the reference implementation of JSONata. This module does not depend on MiniStack.

The engine is V8, from the package mini-racer. It loads ``jsonata/jsonata.min.js`` and ``jsonata/states.js``.
"""

import asyncio
import functools
import hashlib
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import LifoQueue
from typing import Any

_SCRIPTS = Path(__file__).parent / "jsonata"
_MAX_ENGINES = 4  # An engine serves one thread at a time, so an endless expression holds up no other thread.
_MAX_SECONDS = 5.0  # states.js ends an evaluation after 1 s, but not inside one call, such as a regular expression.
_MAX_BYTES = 256 * 1024 * 1024  # of an engine's memory; states.js refuses most large values long before
LIMIT = "U1001"  # JSONata's code of a limit that an expression exceeds
_MAX_EXPRESSIONS = 2_000  # An engine that has compiled so many is not used again.

Reads = dict[str, Any]  # by member: what is read of it in turn; None means the whole value


class EngineError(RuntimeError):
    """The JavaScript engine does not load on this machine."""


@dataclass(frozen=True)
class Facts:
    """What the compiler says about an expression.

    Attributes:
        reads: The variables that the expression reads, or parts of them.
        context: What it reads of JSONata's context, which Step Functions does not have.
        problem: Why it is no expression; empty when it is one.
        code: JSONata's code of the problem.
    """

    reads: Reads
    context: list[str]
    problem: str
    code: str


class Engine:
    """A JavaScript engine, for one thread at a time.

    Attributes:
        is_usable: Whether it can be used again, because no call was interrupted.

    Raises:
        EngineError: The engine does not load.
    """

    def __init__(self) -> None:
        self.is_usable = True
        self._facts: dict[str, Facts] = {}
        self._resources = ExitStack()
        try:
            self._load()
        except Exception as error:  # It is an ImportError, an OSError or one of the package's own errors.
            self._resources.close()
            raise EngineError(
                "state machines need the JavaScript engine of the package mini-racer, which does not load here: "
                f"{error}; docs/laptop-cloud.md says which machines it supports"
            ) from error

    def _load(self) -> None:
        import py_mini_racer  # It takes 0.1 s, which programs that evaluate nothing need not spend.

        self._errors = py_mini_racer
        self._racer = self._resources.enter_context(py_mini_racer.mini_racer(_event_loop()))
        self._racer.set_hard_memory_limit(_MAX_BYTES)
        for name in ("jsonata.min.js", "states.js"):
            self._racer.eval((_SCRIPTS / name).read_text())
        functions = AsyncExitStack()
        self._resources.callback(lambda: _result_of(functions.aclose()))
        digest = _result_of(functions.enter_async_context(self._racer.wrap_py_function(_digest)))
        set_digest: Any = self._racer.eval("(digest) => { states.digest = digest; }")
        set_digest(digest)

    def close(self) -> None:
        """Free the engine's memory."""
        self._resources.close()

    def compile(self, expression: str) -> Facts:
        """Return what the compiler says about an expression; with the code ``LIMIT``, the problem is a limit's name."""
        if expression not in self._facts:
            answer = self._call(f"states.compile({json.dumps(expression)})")
            if answer.startswith("!"):
                return Facts({}, [], json.loads(answer[1:])["message"], LIMIT)
            self._facts[expression] = Facts(
                **{"reads": {}, "context": [], "problem": "", "code": "", **json.loads(answer)}
            )
            self.is_usable = self.is_usable and len(self._facts) < _MAX_EXPRESSIONS
        return self._facts[expression]

    def run(self, expression: str, data: str) -> str:
        """Return the outcome of an expression that was compiled.

        It is ``=`` and its value in JSON, ``#`` and a value with numbers from 2^53 on, or ``!`` and its failure.

        Args:
            expression: The expression.
            data: The variables in JSON, in ASCII.
        """
        quoted = data.replace("\\", r"\\").replace("'", r"\'")
        return self._call(f"states.start({json.dumps(expression)}, '{quoted}')", "states.outcome()")

    def _call(self, *codes: str) -> str:
        """Run pieces of code one after the other and return the text that the last one gives."""
        try:
            return str(_result_of(self._texts(codes)))
        except TimeoutError:
            failure = {"kind": "limit", "message": "time"}
        except self._errors.JSOOMException:
            failure = {"kind": "limit", "message": "memory"}
        except self._errors.JSEvalException as error:  # For example, the data has a number that JSON does not have.
            failure = {"kind": "internal", "message": str(error)}
        self.is_usable = False
        return "!" + json.dumps(failure)

    async def _texts(self, codes: tuple[str, ...]) -> Any:
        async with asyncio.timeout(_MAX_SECONDS):
            # JSONata is asynchronous. The engine ends what a call has begun before it starts the next one, so all calls
            # are sent at once, which saves half of the time.
            *_, text = await asyncio.gather(*(self._racer.eval_cancelable(code) for code in codes))
            while text == "":  # The expression waits for Python.
                text = await self._racer.eval_cancelable(codes[-1])
        return text


# The engine that was used last is the first to be used again. None stands for one that is not made yet.
_engines: LifoQueue[Engine | None] = LifoQueue()
for _ in range(_MAX_ENGINES):
    _engines.put(None)


@contextmanager
def borrowed() -> Iterator[Engine]:
    """Provide an engine that no other thread uses meanwhile.

    Raises:
        EngineError: The engine does not load.
    """
    engine = _engines.get()
    try:
        engine = engine or Engine()
        yield engine
    finally:
        if engine and not engine.is_usable:
            engine.close()
            engine = None
        _engines.put(engine)


@functools.cache
def _event_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of all engines, which runs on a thread of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="expressions", daemon=True).start()
    return loop


def _result_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(coroutine, _event_loop()).result()


async def _digest(text: Any, algorithm: Any) -> str:
    """Return what ``$hash`` gives; states.js has checked the arguments."""
    return hashlib.new(algorithm.replace("-", ""), text.encode(), usedforsecurity=False).hexdigest()
