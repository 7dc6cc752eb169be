"""Where aliases lead, and who gets provisioned concurrency."""

import pytest
from ministack.services import lambda_svc

from cloud.lambdas import aliases, hooks

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


def test_an_alias_of_two_versions_gets_no_provisioned_concurrency():
    weighted = {"FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.1}}}
    assert aliases.weights_problem(weighted) == "Alias with weights can not be used with Provisioned Concurrency"
    for alias in ({}, {"FunctionVersion": "1"}, {"RoutingConfig": {"AdditionalVersionWeights": {}}}):
        assert aliases.weights_problem(alias) is None


def test_an_alias_leads_to_two_versions_only_if_they_have_one_role():
    versions = {version: {"config": {"Role": f"arn:role/{role}"}} for version, role in zip("123", "aab", strict=True)}
    weighted = {"FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.1}}}
    assert aliases.alias_problem(weighted, versions) is None
    weighted["FunctionVersion"] = "3"
    assert aliases.alias_problem(weighted, versions) == (
        "InvalidParameterValueException",
        "Specified versions must be associated with the same execution role",
    )
    assert aliases.alias_problem({"FunctionVersion": "3"}, versions) is None


def test_no_less_is_reserved_than_is_kept_ready():
    function = {"concurrency": 9, "provisioned_concurrency": {"live": {"RequestedProvisionedConcurrentExecutions": 5}}}
    assert aliases.reserved_problem(5, function) is None
    assert "[4] is lower than the function's provisioned concurrency [5]" in (
        aliases.reserved_problem(4, function) or ""
    )
    assert aliases.reserved_problem(0, {}) is None


def test_provisioned_concurrency_is_within_what_is_reserved():
    assert aliases.provisioned_problem("1", 2, 4, 2) is None
    assert "greater than the reservedConcurrentExecution" in (aliases.provisioned_problem("1", 3, 4, 2) or "")
    assert aliases.provisioned_problem("$LATEST", 1, None, 0) == aliases.UNPUBLISHED


def test_provisioned_concurrency_leaves_the_account_its_unreserved_part():
    provisioned = {"live": {"RequestedProvisionedConcurrentExecutions": 300}}
    others = [aliases.claimed({"concurrency": 400, "provisioned_concurrency": provisioned})]
    assert others == [400]
    others += [aliases.claimed({"concurrency": None, "provisioned_concurrency": provisioned}), aliases.claimed({})]
    assert sum(others) == 700
    assert aliases.reservation_problem(200, others, 1000, kind="") is None
    assert aliases.reservation_problem(201, others, 1000, kind="") == (
        "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its "
        "minimum value of [100]."
    )
    assert "Specified ReservedConcurrentExecutions " in (aliases.reservation_problem(201, others, 1000) or "")


@pytest.fixture
def ran(monkeypatch):
    """Install the aliases over the functions ``f`` and ``g``; return the ARNs by which they ran."""
    arns = []
    alias = {"AliasArn": f"{ARN}:live", "FunctionVersion": "7"}
    functions = {"f": {"aliases": {"live": alias}, "versions": {"7": {}}}, "g": {"aliases": {}, "versions": {}}}

    def record_of(reference):
        name, _, version = reference.rpartition(":function:")[2].partition(":")
        config = {"FunctionName": name, "FunctionArn": reference, "Version": version or "$LATEST"}
        return {"config": config}, config, name

    monkeypatch.setattr(lambda_svc, "_functions", functions)
    monkeypatch.setattr(lambda_svc, "_get_func_record_for_ref", record_of)
    monkeypatch.setattr(lambda_svc, "_execute_function", lambda function, _: arns.append(function["config"]))
    for name in ("_invoke", "_create_alias", "_update_alias"):
        monkeypatch.setattr(lambda_svc, name, None)
    hooks.weigh_aliases()
    return arns


def test_a_function_has_the_arn_of_the_alias_by_which_it_is_invoked(ran):
    """API Gateway and others look a function up by its ARN, and run the version that they found."""
    by_alias, _, _ = lambda_svc._get_func_record_for_ref(f"{ARN}:live")
    lambda_svc._execute_function(by_alias, {})
    assert (ran[-1]["FunctionArn"], ran[-1]["Version"]) == (f"{ARN}:live", "7")
    other, _, _ = lambda_svc._get_func_record_for_ref(ARN.replace(":f", ":g"))
    lambda_svc._get_func_record_for_ref(f"{ARN}:live")
    lambda_svc._execute_function(other, {})  # What was looked up last is another function.
    assert ran[-1]["FunctionArn"] == ARN.replace(":f", ":g")
