"""Compilation of the network for a function's start, by the evaluation, for each instruction set up to its own.

    python -m serving.compile_ahead NETWORK HINT FILE

compiles NETWORK.xml with NETWORK.bin, and writes the result to FILE. The variable ONEDNN_MAX_CPU_ISA may name a lesser
instruction set than the CPU's, which only a process of its own can have.
"""

import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import openvino as ov

from serving.compiled import WITHOUT_WEIGHTS, key, single_stream
from serving.cpu_precision import ISA_KINDS, PRECISIONS, instruction_sets, precisions_for
from serving.served_artifact import ServedArtifact

_SECONDS = 120.0
_FOLDER = Path(__file__).parents[1]


def compile_ahead(artifact: ServedArtifact) -> dict[str, bytes]:
    """Compile an artifact's network for each instruction set of this CPU, in the precision that CPUs with it prefer.

    Returns:
        The compiled networks by ``key``. What cannot be compiled is left out, because nobody needs it to serve.
    """
    found = {}
    isas = instruction_sets()
    with tempfile.TemporaryDirectory() as folder:
        for name, network in artifact.networks.items():
            Path(folder, f"{name}.xml").write_bytes(network.xml)
            Path(folder, f"{name}.bin").write_bytes(network.weights)
        for isa in isas:
            precision = next((each for each in precisions_for(ISA_KINDS[isa]) if each in artifact.precisions), None)
            if precision is None:
                continue
            path, (name, hint) = Path(folder, "compiled"), PRECISIONS[precision]
            command = (sys.executable, "-m", "serving.compile_ahead", str(Path(folder, name)), hint, str(path))
            try:
                # The greatest is left as it is: the CPU may have more than it has a name for here.
                environment = os.environ if isa == isas[-1] else {**os.environ, "ONEDNN_MAX_CPU_ISA": isa}
                subprocess.run(command, cwd=_FOLDER, env=environment, check=True, timeout=_SECONDS)
            except (OSError, subprocess.SubprocessError) as error:
                print(f"the network is not compiled ahead for {isa}: {error}", file=sys.stderr, flush=True)
            else:
                found[key(precision, isa)] = path.read_bytes()
    return found


def main(network: str, hint: str, path: str) -> None:
    """Compile a network as a function would, and write it to a file."""
    core, (xml, weights) = ov.Core(), (Path(network + suffix).read_bytes() for suffix in (".xml", ".bin"))
    compiled = core.compile_model(core.read_model(xml, weights), "CPU", single_stream(hint) | WITHOUT_WEIGHTS)
    Path(path).write_bytes(zlib.compress(compiled.export_model().getvalue(), 1))


if __name__ == "__main__":
    main(*sys.argv[1:])
