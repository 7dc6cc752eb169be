from pathlib import Path

import pytest
from samcli.yamlhelper import yaml_parse

from benchmarks import cost
from local.home import LocalError

ROOT = Path(__file__).resolve().parents[3]


def test_dollars_of_a_million_predictions_by_hand():
    """100 requests/s on 2 cores, 70 % used: 14,285.7 s of ml.m5.large; 45 ms of a gigabyte each."""
    dollars = cost.dollars("ml.m5.large", cost.Speed(100.0, 40.0), cores=2)
    assert dollars["requests_per_second"] == 100.0
    assert dollars["endpoint"] == pytest.approx(0.115 * 14_285.7 / 3600, abs=1e-4)
    assert dollars["lambda"] == pytest.approx(0.20 + 45_000 * 0.0000166667, abs=1e-4)
    assert dollars["total_function_url"] == pytest.approx(0.4563 + 0.95, abs=1e-3)
    assert dollars["total_rest_api"] == pytest.approx(0.4563 + 0.95 + 3.5, abs=1e-3)


def test_dollars_scale_an_instance_by_its_vcpus():
    """4 vCPUs answer twice as much as 2 cores, for 0.21 instead of 0.11 dollars an hour."""
    speed = cost.Speed(100.0, 40.0)
    large, xlarge = (cost.dollars(f"ml.c7i.{size}", speed, cores=2) for size in ("large", "xlarge"))
    assert xlarge["requests_per_second"] == 2 * large["requests_per_second"]
    assert xlarge["endpoint"] == pytest.approx(large["endpoint"] * 0.21 / (2 * 0.11), rel=1e-3)


def test_report_takes_the_better_variant_and_the_cheapest_instance():
    """A tenth of the speed costs ten times as much on the same instance. c5 and c6i have the lowest hourly price."""
    rounds = {isa: [cost.Speed(100.0, 40.0)] for isa in cost._KINDS}
    rounds |= {"def": [cost.Speed(10.0, 90.0)], "async def": [cost.Speed(5.0, 90.0)]}
    report = cost._report({}, dict.fromkeys(cost._KINDS, "int8"), rounds)
    assert report["ours"]["cheapest"] in ("ml.c5.large", "ml.c6i.large")
    (usual,) = report["peers"].values()
    assert usual["measured"]["variant"] == "def"
    same_instance = report["ours"]["derived"]["ml.m5.large"]
    assert usual["derived"]["endpoint"] == pytest.approx(10 * same_instance["endpoint"], rel=1e-3)
    assert report["ratio_endpoint"] == pytest.approx(10 * 0.115 / 0.102, rel=1e-3)


def test_arm_cpu_is_refused(monkeypatch):
    monkeypatch.setattr(cost, "cpu_kind", lambda: "Arm")
    with pytest.raises(LocalError, match="use an x86 machine"):
        cost.measure([])


def test_lambda_has_the_memory_of_the_template():
    template = yaml_parse((ROOT / "template.yaml").read_text())
    assert template["Resources"]["ClassifyFunction"]["Properties"]["MemorySize"] == cost.LAMBDA_MEGABYTES
