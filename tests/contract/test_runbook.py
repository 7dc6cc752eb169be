"""The runbook: every alarm leads to its paragraph and every paragraph to an alarm, whole and reachable."""

import inspect
import re

import pytest

from local import alarms, cli
from restore.production import Production
from tests.contract.conftest import ROOT, states_of

PAGE = (ROOT / "docs/runbook.md").read_text()
PARTS = ("**It means.**", "**Look at.**", "**Do.**", "**It worked when**")
WITHOUT_ALARM = {"Start here", "Does anybody hear the alarms?", "Practise"}
LINK = re.compile(r"\]\(#([\w-]+)\)")
MAX_DESCRIPTION = 1024  # characters, of PutMetricAlarm


def sections() -> dict[str, str]:
    """Return the text below each headline of the second level."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture
def descriptions(template, machines) -> dict[str, str]:
    """Return the description of each alarm of the stack and of a run by its name, as in ``<endpoint>-latency``."""
    found = {}
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            alarm = resource["Properties"]
            name = alarm["AlarmName"]["Fn::Sub"].replace("${EndpointName}", "<endpoint>")
            found[name.replace("${AWS::StackName}", "<stack>")] = alarm["AlarmDescription"]["Fn::Sub"]
    for _, state in states_of(machines["pipeline"]):
        if state.get("Resource") == "arn:aws:states:::aws-sdk:cloudwatch:putMetricAlarm":
            end = re.fullmatch(r"\{% \$run\.endpoint\.name & '(-[\w-]+)' %\}", state["Arguments"]["AlarmName"])
            description = state["Arguments"]["AlarmDescription"]
            assert found.setdefault(f"<endpoint>{end[1]}", description) == description
    return found


def test_alarms_and_paragraphs_are_the_same(descriptions):
    assert len(descriptions) == 13
    named = {
        re.match(r"\s*`(<\w+>-([\w-]+))`\n", text) for name, text in sections().items() if name not in WITHOUT_ALARM
    }
    assert {found[1] for found in named} == descriptions.keys()
    assert {found[2] for found in named} == sections().keys() - WITHOUT_ALARM


def test_description_of_each_alarm_ends_with_its_paragraph(descriptions, template):
    longest = template["Parameters"]["RunbookUrl"]["MaxLength"]
    for name, description in descriptions.items():
        end = f"Runbook: ${{RunbookUrl}}#{name.partition('>-')[2]}"
        assert description.endswith(end), name
        assert description.count(". Runbook: ") == 1, name
        assert len(description) - len("${RunbookUrl}") + longest <= MAX_DESCRIPTION


def test_default_of_the_address_is_the_page(template):
    assert (ROOT / template["Parameters"]["RunbookUrl"]["Default"]).is_file()


def test_burst_alarm_that_is_put_back_says_the_same(descriptions):
    source = inspect.getsource(Production._put_alarm)
    written = "".join(re.findall(r'^\s+f?"(.*)"$', source, re.MULTILINE))
    assert written.replace("{self.runbook_url}", "${RunbookUrl}") == descriptions["<endpoint>-burst"]


@pytest.mark.parametrize("name", sorted(sections().keys() - WITHOUT_ALARM))
def test_paragraph_has_its_four_parts_and_numbered_steps(name):
    text = sections()[name]
    places = [text.index(part) for part in PARTS]
    assert places == sorted(places)
    assert all(text.count(part) == 1 for part in PARTS)
    steps = re.findall(r"^(\d)\. ", text[places[2] : places[3]], re.MULTILINE)
    assert steps == [str(number + 1) for number in range(len(steps))]
    assert len(steps) >= 2
    assert "\naws " in text[places[1] : places[2]], "no command shows what to look at"


def test_every_paragraph_is_reached_from_another_one():
    linked = {target for name, text in sections().items() for target in LINK.findall(text) if target != name}
    assert sections().keys() - WITHOUT_ALARM <= linked


def test_every_drill_leads_to_a_paragraph():
    rows = re.findall(r"^\| `([\w-]+)` \|.*\|(.*)\|$", sections()["Practise"], re.MULTILINE)
    assert [name for name, _ in rows] == list(cli.DRILLS)
    assert all(LINK.search(targets) for _, targets in rows)


def test_errors_of_the_runbook_are_those_of_the_table():
    table = (ROOT / "docs/operations.md").read_text()
    named = set(re.findall(r"`(\w+Error|\w+Failed|\w+Timeout|\w+Refused|MoreToDelete)`", PAGE))
    assert "SmokeError" in named
    assert {name for name in named - {"Failed"} if f"| `{name}`" not in table and f", `{name}`" not in table} == set()


def test_alarm_test_knows_who_takes_back_and_who_tells_nobody(descriptions, template, machines):
    update = machines["pipeline"]["States"]["UpdateProduction"]["Arguments"]["DeploymentConfig"]
    watching = template["Resources"]["Pipeline"]["Properties"]["DefinitionSubstitutions"]
    names = [each["AlarmName"][2:-1] for each in update["AutoRollbackConfiguration"]["Alarms"]]
    resources = [template["Resources"][watching[name]["Ref"]]["Properties"] for name in names]
    assert [each["AlarmName"]["Fn::Sub"] for each in resources] == [
        f"${{EndpointName}}-{name}" for name in alarms._TAKE_BACK
    ]
    of_template = [each["Properties"] for each in template["Resources"].values() if "AlarmActions" in str(each)]
    tellers = [each for each in of_template if each.get("AlarmActions") == [{"Ref": "Topic"}]]
    assert len(tellers) + len(alarms._TELL_NOBODY) == len(descriptions)
