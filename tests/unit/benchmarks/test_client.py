from benchmarks.client import Load, photo_request


def test_photo_request_is_http_with_the_photo_as_its_body():
    assert photo_request("/invocations", b"\xff\xd8photo", "image/png") == (
        b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 7\r\n\r\n"
        b"\xff\xd8photo"
    )


def test_load_counts_answered_requests_only():
    load = Load(seconds=2.0, latencies=[10.0, float("inf"), 30.0, 20.0], client_cpu_seconds=0.1)
    assert (load.answered, load.rate) == (3, 1.5)
