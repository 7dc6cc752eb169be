"""The network on this machine's CPU: it takes a photo's bytes and returns a prediction."""

import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import openvino as ov

from dataset.cores import num_cores
from serving.compiled import single_stream, take
from serving.cpu_precision import PRECISIONS, cpu_kind, preferred_precision
from serving.preprocess import PhotoTooLargeError, open_photo, pixels
from serving.served_artifact import ArtifactError, Label, ServedArtifact

TOP = 5
# A golden photo's probability may differ by this much between CPUs that compute in the same precision.
_GOLDEN_TOLERANCE = 0.02


@dataclass(frozen=True)
class Prediction:
    """The answer for one photo.

    Attributes:
        version: The model version.
        ranking: The best ``TOP`` classes with their calibrated probabilities, best first.
        dog_probability: P(dog), in [0, 1].
        is_dog: Whether P(dog) reaches the calibrated threshold.
        shortest_side: Pixels of a photo's shorter side that the network uses.
        central_square: Whether it uses nothing outside of the square in the middle of a photo.
        decode_ms: Milliseconds to decode the photo.
        model_ms: Milliseconds to compute the network. They include the wait for a core when there are more callers
            than cores.
    """

    version: str
    ranking: tuple[tuple[Label, float], ...]
    dog_probability: float
    is_dog: bool
    shortest_side: int
    central_square: bool
    decode_ms: float
    model_ms: float

    def to_json(self) -> dict[str, Any]:
        """Return the body of the answer of ``/invocations``."""
        top = [{"breed": label.breed, "class": label.id, "probability": round(p, 4)} for label, p in self.ranking]
        return {
            "model_version": self.version,
            **top[0],
            "is_dog": self.is_dog,
            "dog_probability": round(self.dog_probability, 4),
            "shortest_side": self.shortest_side,
            "central_square": self.central_square,
            "top": top,
        }


class CostlyPhotoError(Exception):
    """A photo must be decoded elsewhere, because it may take long.

    Attributes:
        estimated_ms: Milliseconds that it takes at most, see ``serving.decoding_cost``.
        is_large: Whether only one such photo should be decoded at a time.
    """

    def __init__(self, estimated_ms: float, is_large: bool) -> None:
        super().__init__(f"the photo may take {estimated_ms:.0f} ms to decode")
        self.estimated_ms, self.is_large = estimated_ms, is_large


class ServedModel:
    """An artifact that is compiled for this CPU. Several threads may call its methods at the same time.

    Each calling thread has an inference request of its own.

    Attributes:
        artifact: The artifact.
        precision: The precision in which the network is computed. It is the one that this CPU prefers among those
            in which every golden photo has an answer.
        is_imported: Whether the network was compiled by the evaluation and not here.
        num_threads: Number of callers that keep the cores busy: two per core, so that one can decode its photo while
            the other waits for its inference. See "Two callers per core" in docs/decisions/serving.md.
    """

    def __init__(
        self,
        artifact: ServedArtifact,
        precision: str | None = None,
        num_streams: int = 0,
        import_compiled: bool = False,
    ) -> None:
        """Compile the network.

        Args:
            artifact: The artifact.
            precision: One of ``serving.cpu_precision.PRECISIONS``, to use it instead of the preferred one.
            num_streams: Number of photos that are computed at the same time, each in one thread; 0: one per core.
            import_compiled: Take the network that the evaluation has compiled for one stream, if it fits this CPU.

        Raises:
            ArtifactError: The golden photos have no answers in the precision, OpenVINO cannot read the network, or the
                network does not fit the labels.
        """
        self.artifact = artifact
        self.num_threads = 2 * (num_streams or num_cores())
        self.precision = precision or preferred_precision(artifact.precisions)
        if self.precision not in artifact.precisions:
            raise ArtifactError(
                f"artifact: the golden photos have no answers in {self.precision}, the precision of this CPU "
                f"({cpu_kind()}); evaluate the model on such a CPU"
            )
        imported = take(_core(), artifact, self.precision) if import_compiled else None
        self.is_imported = imported is not None
        compiled = imported or self._compile(num_streams)
        self._check_shapes(compiled, PRECISIONS[self.precision].network)
        self._compiled = compiled
        self._local = threading.local()
        # Infer once on this thread, because two threads that make the first inference together deadlock (OpenVINO
        # 2026.4.1). See "A model answers once on the thread that loads it" in docs/decisions/serving.md.
        side = artifact.preprocess.image_size
        self.infer(np.zeros((side, side, 3), np.uint8))

    def _compile(self, num_streams: int) -> ov.CompiledModel:
        name, hint = PRECISIONS[self.precision]
        network = self.artifact.networks[name]
        try:
            model = _core().read_model(network.xml, network.weights)
            return _core().compile_model(model, "CPU", self._openvino_settings(hint, num_streams))
        except RuntimeError as error:
            raise ArtifactError(f"{name}.xml: OpenVINO cannot load the network ({last_line(error)})") from error

    def _openvino_settings(self, hint: str, num_streams: int) -> dict[str, Any]:
        if num_streams == 1:
            return single_stream(hint)
        # See "One single-threaded stream per core" in docs/decisions/serving.md.
        # Streams are not pinned to cores, because on a laptop several servers share the cores.
        return {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": num_streams or num_cores(),
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": hint,
            # Fewer streams than cores would otherwise have several threads each.
            **({"INFERENCE_NUM_THREADS": num_streams} if num_streams else {}),
        }

    def _check_shapes(self, compiled: ov.CompiledModel, name: str) -> None:
        side, num_classes = self.artifact.preprocess.image_size, len(self.artifact.labels)
        inputs = [list(port.shape) for port in compiled.inputs]
        outputs = [list(port.shape) for port in compiled.outputs]
        if inputs != [[1, side, side, 3]] or outputs != [[1, num_classes], [1]]:
            raise ArtifactError(
                f"{name}.xml: the network has inputs {inputs} and outputs {outputs}, which do not fit preprocess.json "
                f"(image_size {side}) and labels.json ({num_classes} classes); export the model again"
            )

    def infer(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        """Compute the network.

        Args:
            image: uint8 RGB ``[S, S, 3]``.

        Returns:
            Logits float32 ``[C]``, not calibrated, and P(dog) in [0, 1].
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
            PhotoError: The photo is empty, damaged, too large, or of another format.
        """
        started = time.perf_counter()
        image = pixels(photo, self.artifact.preprocess)
        return self.predict_pixels(image, (time.perf_counter() - started) * 1e3)

    def predict_quick(self, photo: bytes) -> Prediction:
        """Answer for a photo that is decoded so fast that no other photo has to wait for it.

        Raises:
            CostlyPhotoError: The photo may take longer. Nothing of it was decoded.
            PhotoError: See ``predict``.
        """
        started = time.perf_counter()
        opened = open_photo(photo, self.artifact.preprocess)
        if not opened.is_quick:
            raise CostlyPhotoError(opened.estimated_ms, opened.is_large)
        image = opened.pixels()
        return self.predict_pixels(image, (time.perf_counter() - started) * 1e3)

    def predict_pixels(self, image: np.ndarray, decode_ms: float) -> Prediction:
        """Answer for a photo that is decoded.

        Args:
            image: uint8 RGB ``[S, S, 3]``.
            decode_ms: Milliseconds that this took.
        """
        started = time.perf_counter()
        logits, dog = self.infer(image)
        return self.to_prediction(logits, dog, decode_ms, (time.perf_counter() - started) * 1e3)

    def to_prediction(
        self, logits: np.ndarray, dog: float, decode_ms: float = 0.0, model_ms: float = 0.0
    ) -> Prediction:
        """Calibrate and rank the network's output for one photo.

        Args:
            logits: Logits ``[C]``, not calibrated.
            dog: P(dog) in [0, 1].
            decode_ms: Milliseconds to decode the photo.
            model_ms: Milliseconds to compute the network.
        """
        probabilities = softmax(logits / self.artifact.calibration.temperature)
        best = np.argsort(-probabilities, kind="stable")[:TOP]
        return Prediction(
            version=self.artifact.card.version,
            ranking=tuple((self.artifact.labels[i], float(probabilities[i])) for i in best),
            dog_probability=dog,
            is_dog=dog >= self.artifact.calibration.dog_threshold,
            shortest_side=self.artifact.preprocess.resize_to,
            central_square=self.artifact.preprocess.resize == "shortest_side",
            decode_ms=decode_ms,
            model_ms=model_ms,
        )

    def check_golden(self) -> None:
        """Compare this machine's answers to the golden photos with the known ones. This also warms up the network.

        Raises:
            ArtifactError: An answer differs from the known one, so this machine must not serve the model.
        """
        for example in self.artifact.golden:
            expected = example.probabilities[self.precision]
            try:
                label, probability = self.predict(example.photo).ranking[0]
            except PhotoTooLargeError:  # Releases before this one took larger PNGs.
                continue
            is_close = abs(probability - expected) <= _GOLDEN_TOLERANCE  # False if the probability is nan.
            if label.id != example.class_id or not is_close:
                raise ArtifactError(
                    f"golden photo of {example.breed} ({expected:.2f}) was answered with {label.breed} "
                    f"({probability:.2f}) in {self.precision}; this machine computes the model differently"
                )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities over the last axis, computed in float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def device_name() -> str:
    """Return the CPU's name, its number of cores and the precisions that OpenVINO computes on it."""
    capabilities = ", ".join(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    return f"{_core().get_property('CPU', 'FULL_DEVICE_NAME')} ({num_cores()} cores; {capabilities})"


@cache
def _core() -> ov.Core:
    """Return the process's one Core, because each new one would load and unload OpenVINO's CPU plug-in."""
    return ov.Core()


def last_line(error: Exception) -> str:
    """Return the last line of an error's message. OpenVINO's errors have many lines, and the last one says why."""
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
