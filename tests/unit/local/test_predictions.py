"""The picture of predictions after a run, for photos of every format that a dataset may have."""

import io
from types import SimpleNamespace

from PIL import Image

from dataset import open_source
from dataset.photo_bytes import media_type
from local import report


def encoded(kind, colour, side=40):
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, kind)
    return buffer.getvalue()


def test_a_photo_that_the_api_refuses_is_sent_as_a_png_of_the_same_colour():
    jpeg = encoded("JPEG", "red")
    assert report.as_sent(jpeg) is jpeg
    sent = Image.open(io.BytesIO(report.as_sent(encoded("TIFF", "red", 1100))))
    assert (sent.format, sent.size, sent.getpixel((5, 5))) == ("PNG", (550, 550), (255, 0, 0))


def test_predictions_are_drawn_for_any_format_and_ending(tmp_path, monkeypatch):
    kinds = {"a.jfif": "JPEG", "b.bmp": "BMP", "c.gif": "GIF", "d.tif": "TIFF", "e.avif": "AVIF", "f.JPG": "BMP"}
    for split in ("train", "valid", "test"):
        for label, colour in (("001.Red", "red"), ("002.Blue", "blue")):
            for name, kind in kinds.items():
                path = tmp_path / "data" / split / label / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encoded(kind, colour))
    (tmp_path / "data/test/001.Red/broken.gif").write_bytes(b"GIF89a")
    asked = []

    def classify(body, content_type):
        asked.append((content_type, media_type(body)))
        return SimpleNamespace(document={"breed": "Red", "probability": 0.9})

    monkeypatch.setattr(report, "PREDICTIONS", tmp_path / "predictions.png")
    source = open_source(tmp_path / "data")
    data = SimpleNamespace(source=source, listing=source.listing)
    picture = Image.open(report.draw_predictions(SimpleNamespace(classify=classify), data, "seed"))
    assert picture.size == (4 * 240, 2 * 298)
    assert len(asked) == 8
    assert all(content_type == kind != "" for content_type, kind in asked)
    assert {kind for _, kind in asked} == {"image/jpeg", "image/png"}
