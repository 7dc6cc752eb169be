"""``python -m proofs.transformed``: print the template for linters, after SAM's transform and with its state machines.

In ``template.yaml`` linters do not see the resources that SAM adds, such as roles and the API's stage, nor the state
machines, which are in separate files.
"""

import json
from typing import Any

import yaml
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

from local.home import ROOT

_CODE_URI = "s3://linted/code"  # a placeholder for the location to which `sam deploy` uploads code
# Checks of cfn-lint that fail for what SAM generates.
_IGNORED_CHECKS = [
    "W2001",  # SAM replaces some parameters by their defaults.
    "W1020",  # SAM puts a parameter's value into the text of a Fn::Sub, which is then one for nothing.
    "I3042",  # SAM writes the partition into the API's ARNs.
]


class _NoManagedPolicies:
    """A loader without ARNs of managed policies. SAM would ask AWS for them, but the template names none."""

    def load(self) -> dict[str, str]:
        return {}


def transformed(**parameters: str) -> dict[str, Any]:
    """Return the template after SAM's transform, with ``Definition`` in its state machines, and more ignored checks.

    Args:
        parameters: values of the template's parameters that are not the defaults; SAM puts some of them in.
    """
    template = yaml_parse((ROOT / "template.yaml").read_text())
    template["Globals"]["Function"]["CodeUri"] = _CODE_URI
    definitions: dict[str, Any] = {}
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        for key in {"CodeUri", "ContentUri"} & set(properties):
            properties[key] = _CODE_URI
        if "DefinitionUri" in properties:
            definitions[name] = yaml.safe_load((ROOT / properties["DefinitionUri"]).read_text())
            properties["DefinitionUri"] = _CODE_URI
    result: dict[str, Any] = transform(template, parameters, _NoManagedPolicies())
    for name, definition in definitions.items():
        properties = result["Resources"][name]["Properties"]
        del properties["DefinitionS3Location"]
        properties["Definition"] = definition
    result["Metadata"]["cfn-lint"]["config"]["ignore_checks"] += _IGNORED_CHECKS
    return result


if __name__ == "__main__":
    print(json.dumps(transformed(), indent=1))
