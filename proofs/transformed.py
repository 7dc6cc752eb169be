"""The template as CloudFormation gets it, for linters: SAM's transform done, state machines inlined.

``python -m proofs.transformed`` prints it. In ``template.yaml`` linters see neither what SAM makes of it, such as
roles and the API's stage, nor the state machines, which lie in files of their own.
"""

import json
from typing import Any

import yaml
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

from local.home import ROOT

_ELSEWHERE = "s3://linted/elsewhere"  # where `sam deploy` would have put code
_OF_SAM = [
    "W2001",  # it puts in the defaults of parameters that it needs itself
    "I3042",  # it writes the API's ARNs with the partition filled in
]


class _NoManagedPolicies:
    """SAM asks AWS for their ARNs; the template names none."""

    def load(self) -> dict[str, str]:
        return {}


def transformed() -> dict[str, Any]:
    """The template after SAM's transform, with ``Definition`` in its state machines and what is SAM's own ignored."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    template["Globals"]["Function"]["CodeUri"] = _ELSEWHERE
    definitions: dict[str, Any] = {}
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if "ContentUri" in properties:
            properties["ContentUri"] = _ELSEWHERE
        if "DefinitionUri" in properties:
            definitions[name] = yaml.safe_load((ROOT / properties["DefinitionUri"]).read_text())
            properties["DefinitionUri"] = _ELSEWHERE
    result: dict[str, Any] = transform(template, {}, _NoManagedPolicies())
    for name, definition in definitions.items():
        properties = result["Resources"][name]["Properties"]
        del properties["DefinitionS3Location"]
        properties["Definition"] = definition
    result["Metadata"]["cfn-lint"]["config"]["ignore_checks"] += _OF_SAM
    return result


if __name__ == "__main__":
    print(json.dumps(transformed(), indent=1))
