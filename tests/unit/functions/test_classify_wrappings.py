"""Photos by their content types and wrappings, from event to the bytes that reach the endpoint."""

import base64
import gzip
import json
import tracemalloc
import zlib
from urllib.parse import quote_plus

import pytest
import urllib3

from tests.unit.functions import events
from tests.unit.functions.test_classify import (  # noqa: F401  (fixtures)
    PREDICTION,
    answer,
    app,
    prediction,
    rest_event,
    routes,
    runtime,
    s3,
    url_event,
)

PHOTO = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 9 + b"\r\n\r\n--\r\n"  # with every byte, and an end like a form's
PNG, WEBP = b"\x89PNG\r\n\x1a\n" + PHOTO[:400], b"RIFF\x10\0\0\0WEBP" + PHOTO[:401]
TEXT = base64.b64encode(PHOTO).decode()
LINES = base64.encodebytes(PHOTO).decode()
URL_SAFE = base64.urlsafe_b64encode(PHOTO).decode()
JSON = "application/json"
URL_ENCODED = "application/x-www-form-urlencoded"
CURL = 'curl -H "x-api-key: $KEY" --data-binary @photo.jpg'


def ask(app, body, content_type="image/jpeg", event=rest_event, encoded=True):  # noqa: F811
    headers = {} if content_type is None else {"Content-Type": content_type}
    sent = base64.b64encode(body).decode() if encoded else body
    status, text, _ = answer(app, event("POST", "/classify", sent, encoded, headers))
    return status, json.loads(text)


def takes(app, runtime, photo, *arguments, **options):  # noqa: F811
    kind = {0xFF: "jpeg", 0x89: "png", 0x52: "webp"}[photo[0]]
    expected = {
        "EndpointName": "dogs",
        "Body": photo,
        "ContentType": f"image/{kind}",
        "CustomAttributes": events.Ids("request-1"),
    }
    runtime.add_response("invoke_endpoint", prediction(), expected)
    assert ask(app, *arguments, **options) == (200, PREDICTION)


@pytest.mark.parametrize("photo", [PHOTO, PNG, WEBP])
@pytest.mark.parametrize(
    "content_type",
    [
        *("image/jpeg", "image/png", "image/jpg", "image/pjpeg", "image/x-png", "IMAGE/JPG", "image/*", "image/heic"),
        *("application/x-image", "application/octet-stream", "binary/octet-stream", URL_ENCODED, "text/plain", "*/*"),
        *("image/jpeg; charset=binary", "application/json", "multipart/form-data", "nonsense", ";", "", None),
    ],
)
def test_photo_is_taken_whatever_its_content_type_says(app, runtime, photo, content_type):  # noqa: F811
    takes(app, runtime, photo, photo, content_type)


def form(*fields, boundary="----WebKitFormBoundary7MA4YWxk", newline=b"\r\n", end=b"--"):
    parts = []
    for disposition, content in fields:
        head = b"Content-Disposition: form-data; " + disposition.encode()
        parts.append(b"--" + boundary.encode() + newline + head + newline * 2 + content + newline)
    return b"".join(parts) + b"--" + boundary.encode() + end + newline


def padded(kind):
    return b"\0\0\0\x18ftyp" + kind + bytes(50)


GIF = b"GIF89a" + bytes(30)
FILE = ('name="file"; filename="photo.jpg"\r\nContent-Type: image/jpeg', PHOTO)
FORM = "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (form(FILE), FORM),
        (form(FILE), "multipart/form-data"),  # as scripts send it that set the header themselves
        (form(FILE), "application/octet-stream"),
        (form(FILE, boundary="'a b(c)+_,-./:=?'"), "multipart/form-data; boundary=\"'a b(c)+_,-./:=?'\""),
        (form(("name=x", b"1"), FILE, ("name=y", b"")), FORM),
        (form(('name="photo"; filename=""', b""), FILE), FORM),  # a file input that nobody used
        (form(('name="Ünï"; filename="ein \'Hund\'; \\"Rex\\".jpg"; filename*=UTF-8\'\'%E2%82%AC', PHOTO)), FORM),
        (form(('name="image"', TEXT.encode())), FORM),
        (form(('name="image"', b"data:image/jpeg;base64," + LINES.encode())), FORM),
        (form(FILE, newline=b"\n"), FORM),
        (b"\r\n" + form(FILE), FORM),
        (form(FILE, end=b""), FORM),
        (b"This is a message in MIME format.\r\n" + form(FILE), FORM),
    ],
)
def test_one_photo_of_a_form_is_taken(app, runtime, body, content_type):  # noqa: F811
    takes(app, runtime, PHOTO, body, content_type)


def test_form_of_a_library_is_taken(app, runtime):  # noqa: F811
    body, content_type = urllib3.encode_multipart_formdata({"x": "1", "file": ("a.png", PNG, "image/png")})
    takes(app, runtime, PNG, body, content_type)


DOCUMENTS = [
    {"image": TEXT},
    {"image": f"data:image/jpeg;base64,{TEXT}"},
    {"image": f"data:image/jpeg;charset=utf-8;base64,{TEXT}"},
    {"instances": [{"b64": TEXT}]},
    {"instances": [{"image_bytes": {"b64": TEXT}}], "signature_name": "serving_default"},
    {"data": URL_SAFE.rstrip("=")},
    {"inputs": LINES, "parameters": {"top_k": 5}},
    {"requests": [{"image": {"content": TEXT}, "features": [{"type": "LABEL_DETECTION"}]}]},
    {"image_url": {"url": f"data:image/jpeg;base64,{TEXT}"}, "page": "https://example.org/"},
    {"body": str(TEXT.encode())},  # Python's b'…'
    {"image": f"data:image/jpeg;base64,\r\n{LINES}"},
    {"image": f"data:image/jpeg;base64,{quote_plus(TEXT)}"},
    {"image": quote_plus(TEXT)},
    {"image": TEXT.replace("+", " ")},  # as the decoder of a form leaves base64 whose + nobody escaped
    {"image": LINES.replace("\n", " ")},  # as a shell leaves the lines of the base64 command
    {"image": LINES.replace("\n", "\n  ")},
    {"resource": "/", "httpMethod": "POST", "body": json.dumps({"image": TEXT}), "isBase64Encoded": False},
    json.dumps({"image": TEXT}),
    json.dumps(json.dumps([TEXT])),
    [TEXT],
    TEXT,
]


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("content_type", [JSON, "APPLICATION/JSON; charset=utf-8", URL_ENCODED, "text/plain", None])
def test_one_photo_in_json_is_taken(app, runtime, document, content_type):  # noqa: F811
    takes(app, runtime, PHOTO, json.dumps(document).encode(), content_type)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_in_other_encodings_is_taken(app, runtime, encoding):  # noqa: F811
    takes(app, runtime, PHOTO, json.dumps({"image": TEXT}).encode(encoding), JSON)


@pytest.mark.parametrize("photo", [PHOTO, PNG, WEBP])
@pytest.mark.parametrize("content_type", ["image/jpeg", "text/plain", "application/octet-stream", URL_ENCODED, None])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
def test_base64_text_is_taken(app, runtime, photo, content_type, encode):  # noqa: F811
    takes(app, runtime, photo, encode(photo), content_type)
    takes(app, runtime, photo, b"data:image/png;base64," + encode(photo), content_type)


@pytest.mark.parametrize("event", [rest_event, url_event])
@pytest.mark.parametrize("body", [TEXT, LINES, json.dumps({"image": TEXT}), f"image={quote_plus(TEXT)}"])
def test_wrapping_that_arrives_as_text_is_taken(app, runtime, event, body):  # noqa: F811
    takes(app, runtime, PHOTO, body, "text/plain", event, encoded=False)


@pytest.mark.parametrize("value", [quote_plus(TEXT), quote_plus(f"data:image/jpeg;base64,{TEXT}"), TEXT, LINES])
def test_base64_in_a_url_encoded_form_is_taken(app, runtime, value):  # noqa: F811
    takes(app, runtime, PHOTO, f"model=dogs&image={value}&x=".encode(), URL_ENCODED)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "words"),
    [
        (form(("name=a", b"1"), ("name=b", b"GIF89a")), FORM, 415, "the form contains a GIF"),
        (form(("name=a", b"1"), ("name=b", b"photo.jpg")), FORM, 400, "the form contains no JPEG, PNG or WebP photo"),
        (form(("name=b", padded(b"heic"))), FORM, 415, "the form contains a HEIC photo"),
        (form(FILE, FILE), FORM, 400, "the form contains 2 photos; send one photo a request"),
        (form(), FORM, 400, "the form contains no"),
        (b"name", FORM, 400, "does not begin with its boundary"),
        (b'{"image": "dog.jpg"}', JSON, 400, "the JSON contains no JPEG, PNG or WebP photo"),
        (b'{"image": "/work/photos/of/dogs"}', JSON, 400, "the JSON contains no JPEG, PNG or WebP photo"),
        (json.dumps({"image": base64.b64encode(GIF).decode()}).encode(), JSON, 415, "the JSON contains a GIF"),
        (b'{"image": "data:image/heic;base64,' + base64.b64encode(padded(b"heic")) + b'"}', JSON, 415, "a HEIC photo"),
        (b"image=" + base64.b64encode(GIF), URL_ENCODED, 415, "the form contains a GIF"),
        (padded(b"heic"), JSON, 415, "the body is a HEIC photo"),
        (gzip.compress(PHOTO, mtime=0), "image/jpeg", 415, "the body is compressed (gzip); send it uncompressed"),
        (gzip.compress(b"{}", mtime=0), JSON, 415, "the body is compressed (gzip); send it uncompressed"),
        (zlib.compress(PHOTO), "image/jpeg", 415, "the body is compressed (deflate)"),
        (b"\xff\x0a" + bytes(9), "image/jxl", 415, "is a JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2", 415, "is a JPEG 2000"),
        (b"\x1aE\xdf\xa3" + bytes(9), "video/webm", 415, "is a video"),
        (b"version https://git-lfs.github.com/spec/v1\n", "image/jpeg", 415, "is a pointer of Git LFS"),
        (json.dumps([TEXT, TEXT]).encode(), JSON, 400, "the JSON contains 2 photos"),
        (b'{"url": "https://example.org/dog.jpg"}', JSON, 400, "no address is fetched"),
        (b'{"url": "HTTP://169.254.169.254/latest"}', JSON, 400, "no address is fetched"),
        (b'{"image": {"uri": "s3://other/dog.jpg"}}', JSON, 400, "no address is fetched"),
        (b"https://example.org/dog.jpg", "text/plain", 400, "no address is fetched"),
        (b"url=https%3A%2F%2Fexample.org", URL_ENCODED, 400, "the form contains no"),
        (b"No photo at all.", URL_ENCODED, 400, "the body contains no JPEG, PNG or WebP photo"),
        (b'{"instances": [[[0.5, 0.25]]]}', JSON, 400, "the JSON contains no"),
        (json.dumps({"instances": [[0] * 300] * 300}).encode(), JSON, 400, "numbers are no photo"),
        (TEXT.encode()[:81], "image/jpeg", 400, "base64 is cut off or contains other characters"),
        (TEXT.encode() + b"%", "image/jpeg", 400, "base64 is cut off or contains other characters"),
        (base64.b64encode(b"RIFF\0\0\0\0WAVEfmt "), "image/jpeg", 415, "no JPEG, PNG or WebP photo"),
        (padded(b"heic"), "image/heic", 415, "is a HEIC photo"),
        (padded(b"avif"), "image/avif", 415, "is an AVIF photo"),
        (padded(b"isom"), "video/mp4", 415, "is a video"),
        (b"GIF89a" + bytes(9), "image/gif", 415, "is a GIF"),
        (b"%PDF-1.7", "application/pdf", 415, "is a PDF"),
        (b"<svg/>", "image/svg+xml", 415, "is a web page or SVG"),
        (b"", None, 400, "the photo is empty"),
        (PHOTO.translate(None, b"\r\n\0"), URL_ENCODED, 400, "curl's -d took line breaks"),
        (PNG.translate(None, b"\r\n\0"), URL_ENCODED, 400, "curl's -d took line breaks"),
        (PHOTO.translate(None, b"\r\n\0"), "image/jpeg", 400, "curl's -d took line breaks"),
        (PNG.translate(None, b"\r\n\0"), None, 400, "curl's -d took line breaks"),
    ],
)
def test_what_is_refused_names_the_way_that_works(app, runtime, body, content_type, status, words):  # noqa: F811
    got, problem = ask(app, body, content_type)
    assert (got, words in problem["detail"]) == (status, True), problem
    assert CURL in problem["detail"] or "photos; send one" in problem["detail"]


@pytest.mark.parametrize("event", [rest_event, url_event])
def test_photo_that_lost_its_bytes_as_text_is_told(app, runtime, event):  # noqa: F811
    got, problem = ask(app, PHOTO.decode("utf-8", "replace"), "text/plain", event, encoded=False)
    assert (got, "arrived as text and lost bytes" in problem["detail"]) == (415, True)


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("wrap", [lambda photo: photo, base64.encodebytes, lambda photo: form(("name=f", photo))])
def test_limit_is_of_the_photo_and_not_of_its_wrapping(app, runtime, extra, wrap):  # noqa: F811
    photo = PHOTO + bytes(4_500_000 - len(PHOTO) + extra)
    if extra:
        assert ask(app, wrap(photo))[0] == 413
    else:
        takes(app, runtime, photo, wrap(photo))


LETTERS = b"/9j/" + b"A" * 6_000_004
HOSTILE = {
    "many-parts": form(*[("name=a", b"")] * 100_000),
    "boundary-without-an-end": b"--" + b"x" * 4_000_000,
    "boundaries-alone": b"--\n" * 1_400_000,
    "zero-bytes": bytes(4_400_000),
    "zero-bytes-of-a-form": b"--a\r\n\r\n" + bytes(4_400_000),
    "dashes": b"-" * 4_400_000,
    "deep-json": b"[" * 4_400_000,
    "deep-json-that-ends": b"[" * 900 + b"]" * 900,
    "json-in-json": json.dumps(json.dumps(json.dumps(json.dumps("[" * 300_000)))).encode(),
    "many-jsons": json.dumps(["[" * 900] * 4_000).encode(),
    "wide-json": b"[" + b"[]," * 1_400_000 + b"[]]",
    "many-texts": b"[" + b'"/9j/",' * 600_000 + b'"/9j/"]',
    "many-numbers": b"[" + b"1.5," * 1_100_000 + b"1]",
    "base64-of-too-much": LETTERS,
    "base64-with-blanks": b"/9j/" + b" " * 4_400_000 + b"%",
    "head-without-an-end": b"data:" + b"a" * 4_400_000,
    "heads": b"data:," * 700_000,
    "blanks": b" " * 4_400_000,
    "fields": b"a=&" * 1_400_000,
    "percents": b"a=" + b"%4" * 2_200_000,
    "percents-that-mean-something": b"a=" + b"%41" * 1_450_000,
    "body-of-too-much": b"{" + bytes(6_500_000),
}


@pytest.mark.parametrize("content_type", [JSON, FORM, URL_ENCODED, "image/jpeg"])
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(60)
def test_hostile_wrapping_is_refused(app, runtime, name, content_type):  # noqa: F811
    status, problem = ask(app, HOSTILE[name], content_type)
    assert (status in (400, 413, 415), problem["status"]) == (True, status)


def test_hostile_wrapping_takes_little_memory(app, runtime):  # noqa: F811
    for name, content in HOSTILE.items():
        tracemalloc.start()
        ask(app, content, URL_ENCODED)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 400e6, name  # bytes; the function has 1,024 MB
