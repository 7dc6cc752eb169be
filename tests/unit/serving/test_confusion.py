from PIL import Image

from serving.artifact import Label
from serving.confusion import draw_confusion
from serving.metrics import Judged
from serving.model import Prediction

GREEN = (38, 120, 92)


def judged(truth: str, answer: str) -> Judged:
    prediction = Prediction("v", ((Label(answer, answer), 1.0),), 1.0, True, 1.0, 1.0)
    return Judged(f"test/{truth}/1.jpg", truth, prediction)


def num_pixels(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    return sum(count for count, value in picture.getcolors(1 << 24) or [] if value == colour)


def test_recall_shows_as_green() -> None:
    right = draw_confusion([judged("1.A", "1.A"), judged("2.B", "2.B")], "right")
    wrong = draw_confusion([judged("1.A", "2.B"), judged("2.B", "1.A")], "wrong")
    assert num_pixels(right, GREEN) > 5000
    assert num_pixels(wrong, GREEN) == 0


def test_many_breeds_are_cut_to_the_most_confused() -> None:
    few = [judged(f"{i:03}.A", f"{i:03}.A") for i in range(20)]
    many = [judged(f"{i:03}.A", f"{i:03}.A") for i in range(200)]
    assert draw_confusion(many, "same").size == draw_confusion(few, "same").size
    elsewhere = [*many, *(judged("000.A", f"{i:03}.A") for i in range(100, 130))]
    assert draw_confusion(elsewhere, "one more column").width > draw_confusion(many, "same").width
