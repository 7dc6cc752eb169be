"""The ids of a request: the caller chooses one of them and never the other."""

import base64
import uuid

import pytest

from cloud.apigateway.requests import ApiRequest, access_line

CHOSEN = "4b1f6a3e-6f0d-4a53-9c5b-2f6f3f0a9d11"


def test_caller_may_choose_the_id_of_a_request_but_not_the_extended_one():
    first, second = (ApiRequest.of({"x-amzn-requestid": CHOSEN}) for _ in range(2))
    assert (first.id, first.logged_id, second.id) == (CHOSEN, CHOSEN, CHOSEN)
    assert first.extended_id != second.extended_id
    assert len(base64.b64decode(first.extended_id)) == 11


@pytest.mark.parametrize("words", ["mine", CHOSEN[:-1], "{" + CHOSEN + "}"])
def test_chosen_id_that_is_no_uuid_is_replaced(words):
    request = ApiRequest.of({"x-amzn-requestid": words})
    assert uuid.UUID(request.id)
    assert (request.id == words, request.logged_id) == (False, "UUID_REPLACED_INVALID_REQUEST_ID")


def test_request_without_an_id_gets_one():
    first, second = ApiRequest.of({}), ApiRequest.of({})
    assert uuid.UUID(first.id) != uuid.UUID(second.id)
    assert first.logged_id == first.id


def test_line_of_an_access_log_has_a_dash_for_what_is_unknown():
    request = ApiRequest("a", "b", "c", {"status": 403, "identity.apiKeyId": "key1"})
    text = (
        '$context.requestId $context.extendedRequestId $context.status "$context.identity.apiKeyId" $context.tlsVersion'
    )
    assert access_line(text, request) == 'b c 403 "key1" -'
    assert access_line("$context.identity.sourceIp,", request) == "127.0.0.1,"
