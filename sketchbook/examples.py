"""``python -m sketchbook.examples``: draw the pictures again that the API's page has to click on."""

from pathlib import Path

from sketchbook.drawing import draw

FOLDER = Path(__file__).resolve().parents[1] / "functions" / "classify" / "page" / "examples"
# Seeds of a thousand and more: no book of fewer drawings a breed holds these, so that no model has trained on them.
EXAMPLES = {"Beagle": 1007, "Siberian_husky": 1000, "Dalmatian": 1000, "Pembroke": 1003, "Pug": 1002, "cat": 1003}
_SIZE = 320  # pixels
_JPEG_QUALITY = 85


def draw_examples(folder: Path = FOLDER) -> None:
    """Draw each example into a folder that exists, as ``golden_retriever.jpg``."""
    for name, seed in EXAMPLES.items():
        draw(name, seed, _SIZE).save(folder / f"{name.lower()}.jpg", "JPEG", quality=_JPEG_QUALITY)


if __name__ == "__main__":
    draw_examples()
