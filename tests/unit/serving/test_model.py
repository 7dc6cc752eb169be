from dataclasses import replace

import numpy as np
import pytest

from benchmarks import forged_photos as forged
from serving.model import ServedModel, softmax
from serving.served_artifact import ArtifactError, Calibration, GoldenExample, Label, OpenVinoNetwork, ServedArtifact

from .conftest import COLOURS, photo


def test_predict_ranks_the_colour_first(model: ServedModel) -> None:
    prediction = model.predict(photo(COLOURS["002.Green_hound"], 900, "PNG"))
    assert prediction.ranking[0][0] == Label("002.Green_hound", "Green hound")
    assert len(prediction.ranking) == 3
    assert sum(p for _, p in prediction.ranking) == pytest.approx(1)


def test_infer_normalizes_inside_the_network(artifact: ServedArtifact) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:] = (255, 0, 51)
    logits, dog = ServedModel(artifact, precision="f32").infer(image)
    # (x / 255 - 0.5) / 0.5 gives means of 1, -1 and -0.6; logits are 4 times those.
    assert logits.tolist() == pytest.approx([4, -4, -2.4], abs=0.01)
    assert dog == pytest.approx(1 / (1 + np.exp(0.6)), abs=0.001)


def test_temperature_flattens_and_threshold_decides(artifact: ServedArtifact) -> None:
    body = photo(COLOURS["001.Red_setter"], 901)
    sharp = ServedModel(replace(artifact, calibration=Calibration(1.0, 0.0))).predict(body)
    flat = ServedModel(replace(artifact, calibration=Calibration(100.0, 1.0))).predict(body)
    assert sharp.ranking[0][1] > 0.9
    assert flat.ranking[0][1] < 0.4
    assert (sharp.is_dog, flat.is_dog) == (True, False)
    assert sharp.dog_probability == flat.dog_probability


def test_answer_has_the_documented_fields(model: ServedModel) -> None:
    answer = model.predict(photo(COLOURS["003.Blue_terrier"], 902)).to_json()
    documented = ("model_version", "breed", "class", "probability", "is_dog", "dog_probability", "shortest_side")
    documented += ("central_square", "top")
    assert set(answer) == set(documented)
    assert answer["shortest_side"] == model.artifact.preprocess.resize_to
    assert answer["central_square"] is (model.artifact.preprocess.resize == "shortest_side")
    assert answer["model_version"] == "colours-1"
    assert (answer["breed"], answer["class"]) == ("Blue terrier", "003.Blue_terrier")
    assert answer["top"][0] == {k: answer[k] for k in ("breed", "class", "probability")}


def test_golden_photos_are_answered(model: ServedModel) -> None:
    assert len(model.artifact.golden) == 3
    model.check_golden()


@pytest.mark.parametrize("change", [{"class_id": "001.Red_setter"}, {"probabilities": {"f32": 0.5, "bf16": 0.5}}])
def test_wrong_golden_answer_refuses_the_model(artifact: ServedArtifact, change: dict[str, object]) -> None:
    probabilities = {"f32": 0.99, "bf16": 0.99}
    golden = GoldenExample(photo(COLOURS["003.Blue_terrier"], 903), "003.Blue_terrier", "Blue terrier", probabilities)
    with pytest.raises(ArtifactError, match="golden photo"):
        ServedModel(replace(artifact, golden=(replace(golden, **change),))).check_golden()  # type: ignore[arg-type]


def test_probability_that_is_no_number_refuses_the_model(artifact: ServedArtifact) -> None:
    with np.errstate(all="ignore"), pytest.raises(ArtifactError, match="nan"):
        ServedModel(replace(artifact, calibration=Calibration(0.0))).check_golden()


def test_golden_photo_that_only_older_releases_took_does_not_refuse_the_model(artifact: ServedArtifact) -> None:
    large = replace(artifact.golden[0], photo=forged.flat_png(4100, 4000))
    ServedModel(replace(artifact, golden=(large, *artifact.golden[1:]))).check_golden()


def test_model_without_golden_answers_in_this_cpus_precision_is_refused(artifact: ServedArtifact) -> None:
    golden = tuple(replace(example, probabilities={"int8": 1.0}) for example in artifact.golden)
    with pytest.raises(ArtifactError, match="the golden photos have no answers in f32"):
        ServedModel(replace(artifact, networks={"float": artifact.networks["float"]}, golden=golden))


def test_damaged_network_is_refused(artifact: ServedArtifact) -> None:
    with pytest.raises(ArtifactError, match="cannot load the network"):
        ServedModel(replace(artifact, networks={"float": OpenVinoNetwork(b"<net>", b"")}))


def test_network_that_does_not_fit_the_labels_is_refused(artifact: ServedArtifact) -> None:
    with pytest.raises(ArtifactError, match="2 classes"):
        ServedModel(replace(artifact, labels=artifact.labels[:2]))


def test_softmax_of_large_logits_is_finite() -> None:
    assert softmax(np.array([1000.0, 1000.0])).tolist() == [0.5, 0.5]
