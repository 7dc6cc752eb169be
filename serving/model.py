"""The network on this machine's cores: a photo's bytes in, a prediction out."""

import os
import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import openvino as ov

from serving.cpu_precision import PRECISIONS, cpu_kind, preferred_precision
from serving.preprocess import pixels
from serving.served_artifact import ArtifactError, Label, ServedArtifact

TOP = 5
# A golden photo's probability may move this far between CPUs that compute in the same precision.
_GOLDEN_TOLERANCE = 0.02


@dataclass(frozen=True)
class Prediction:
    """The answer for one photo.

    ranking: the best ``TOP`` classes with their calibrated probabilities, best first.
    dog_probability: in [0, 1].
    is_dog: whether that reaches the calibrated threshold.
    decode_ms, model_ms: milliseconds; the model's with the wait for a core, when more callers are there than cores.
    """

    version: str
    ranking: tuple[tuple[Label, float], ...]
    dog_probability: float
    is_dog: bool
    decode_ms: float
    model_ms: float

    def to_json(self) -> dict[str, Any]:
        """The body of the answer of ``/invocations``."""
        top = [{"breed": label.breed, "class": label.id, "probability": round(p, 4)} for label, p in self.ranking]
        return {
            "model_version": self.version,
            **top[0],
            "is_dog": self.is_dog,
            "dog_probability": round(self.dog_probability, 4),
            "top": top,
        }


class ServedModel:
    """An artifact compiled for this CPU; its methods may be called from several threads.

    Each calling thread has an inference request of its own.

    precision: what the network is computed in; the one preferred on this CPU of those whose golden answers are known.
    num_threads: how many callers at a time keep the machine's cores busy: two each, for while one waits for the
        other's inference to end its photo is decoded already (a tenth more photos/s than one each).
    """

    def __init__(self, artifact: ServedArtifact, precision: str | None = None) -> None:
        """Compile the network.

        Args:
            precision: one of ``serving.cpu_precision.PRECISIONS``, instead of the preferred one.

        Raises:
            ArtifactError: no answers are known in the precision, OpenVINO cannot read the network, or it does not
                fit the labels.
        """
        self.artifact = artifact
        self.num_threads = 2 * num_cores()
        self.precision = precision or preferred_precision(artifact.precisions)
        if self.precision not in artifact.precisions:
            raise ArtifactError(
                f"artifact: no golden answer is known in {self.precision}, which this CPU ({cpu_kind()}) computes; "
                "evaluate the model on such a CPU"
            )
        name, hint = PRECISIONS[self.precision]
        network = artifact.networks[name]
        try:
            compiled = _core().compile_model(
                _core().read_model(network.xml, network.weights), "CPU", self._settings(hint)
            )
        except RuntimeError as error:
            raise ArtifactError(f"{name}.xml: OpenVINO cannot load the network ({last_line(error)})") from error
        self._check_shapes(compiled, name)
        self._compiled = compiled
        self._local = threading.local()
        # Once on this thread, before any other may ask: the first inference of a process fills statics of OpenVINO's
        # binding, and two threads that come there together wait for each other for ever (guard and GIL; 2026.4.1).
        side = artifact.preprocess.image_size
        self.infer(np.zeros((side, side, 3), np.uint8))

    def _settings(self, hint: str) -> dict[str, Any]:
        # One single-threaded stream per core takes a fifth less CPU per photo than one stream over all
        # cores; not pinned, because on a laptop several servers share the cores.
        return {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": num_cores(),
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": hint,
        }

    def _check_shapes(self, compiled: ov.CompiledModel, name: str) -> None:
        side, num_classes = self.artifact.preprocess.image_size, len(self.artifact.labels)
        inputs = [list(port.shape) for port in compiled.inputs]
        outputs = [list(port.shape) for port in compiled.outputs]
        if inputs != [[1, side, side, 3]] or outputs != [[1, num_classes], [1]]:
            raise ArtifactError(
                f"{name}.xml: takes {inputs} and gives {outputs}, which does not fit preprocess.json "
                f"(image_size {side}) and labels.json ({num_classes} classes)"
            )

    def infer(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        """Run the network.

        Args:
            image: uint8 RGB ``[S, S, 3]``.

        Returns:
            logits float32 ``[C]``, not calibrated, and P(dog) in [0, 1].
        """
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        request = self._local.request
        request.infer({0: image[None]})
        logits, dog = (request.get_output_tensor(i).data for i in range(2))
        return logits[0].copy(), float(dog[0])

    def predict(self, photo: bytes) -> Prediction:
        """Answer for one JPEG, PNG or WebP photo.

        Raises:
            PhotoError: empty, damaged, too large, or of another kind.
        """
        started = time.perf_counter()
        image = pixels(photo, self.artifact.preprocess)
        decoded = time.perf_counter()
        logits, dog = self.infer(image)
        return self.answer(logits, dog, (decoded - started) * 1e3, (time.perf_counter() - decoded) * 1e3)

    def answer(self, logits: np.ndarray, dog: float, decode_ms: float = 0.0, model_ms: float = 0.0) -> Prediction:
        """What is said of a photo for which the network gave these logits ``[C]`` and this P(dog)."""
        probabilities = softmax(logits / self.artifact.calibration.temperature)
        best = np.argsort(-probabilities, kind="stable")[:TOP]
        return Prediction(
            version=self.artifact.card.version,
            ranking=tuple((self.artifact.labels[i], float(probabilities[i])) for i in best),
            dog_probability=dog,
            is_dog=dog >= self.artifact.calibration.dog_threshold,
            decode_ms=decode_ms,
            model_ms=model_ms,
        )

    def check_golden(self) -> None:
        """Answer the golden photos, which also warms up.

        Raises:
            ArtifactError: an answer is not the known one, so this machine must not serve the model.
        """
        for golden in self.artifact.golden:
            known = golden.probabilities[self.precision]
            label, probability = self.predict(golden.photo).ranking[0]
            is_known = abs(probability - known) <= _GOLDEN_TOLERANCE  # which nan is not
            if label.id != golden.class_id or not is_known:
                raise ArtifactError(
                    f"golden photo of {golden.breed} ({known:.2f}) was answered with {label.breed} ({probability:.2f}) "
                    f"in {self.precision}; this machine computes the model differently"
                )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, computed in float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_name() -> str:
    """The CPU, and what OpenVINO can compute on it."""
    abilities = ", ".join(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    return f"{_core().get_property('CPU', 'FULL_DEVICE_NAME')} ({num_cores()} cores; {abilities})"


@cache
def _core() -> ov.Core:
    """One for the process: each would load and unload OpenVINO's CPU plug-in."""
    return ov.Core()


def last_line(error: Exception) -> str:
    """What OpenVINO's errors, of many lines, say in the end."""
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
