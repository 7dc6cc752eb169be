"""Where aliases lead, and who gets provisioned concurrency."""

from cloud.lambdas import aliases


def test_an_alias_of_two_versions_gets_no_provisioned_concurrency():
    weighted = {"FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.1}}}
    assert aliases.weights_problem(weighted) == "Alias with weights can not be used with Provisioned Concurrency"
    for alias in ({}, {"FunctionVersion": "1"}, {"RoutingConfig": {"AdditionalVersionWeights": {}}}):
        assert aliases.weights_problem(alias) is None


def test_provisioned_concurrency_is_within_what_is_reserved():
    assert aliases.provisioned_problem("1", 2, 4, 2) is None
    assert "greater than the reservedConcurrentExecution" in (aliases.provisioned_problem("1", 3, 4, 2) or "")
    assert aliases.provisioned_problem("$LATEST", 1, None, 0) == aliases.UNPUBLISHED
