"""``python -m sketchbook.examples``: draw the example pictures of the API's page again."""

from pathlib import Path

from sketchbook.drawing import draw

FOLDER = Path(__file__).resolve().parents[1] / "functions" / "page" / "site" / "examples"
# A book with fewer than 1,000 drawings of a breed contains none of these seeds, so no model was trained on them.
EXAMPLES = {"Beagle": 1007, "Siberian_husky": 1000, "Dalmatian": 1000, "Pembroke": 1003, "Pug": 1002, "cat": 1003}
_SIZE = 320  # pixels
_JPEG_QUALITY = 85


def draw_examples(folder: Path = FOLDER) -> None:
    """Draw each example into an existing folder, as ``golden_retriever.jpg``."""
    for name, seed in EXAMPLES.items():
        draw(name, seed, _SIZE).save(folder / f"{name.lower()}.jpg", "JPEG", quality=_JPEG_QUALITY)


if __name__ == "__main__":
    draw_examples()
