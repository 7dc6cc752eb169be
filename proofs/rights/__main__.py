"""The process behind ``python -m local proof``, which has its own home folder and settings."""

import argparse
import contextlib
import json
import random
import signal
import sys
import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from samcli.yamlhelper import yaml_parse

from dataset import DatasetError
from local import laptop, shell, stack
from local.cli import words_of
from local.home import HOME, LocalError
from proofs.promises import Report
from proofs.rights.mutants import candidates, run_mutant
from proofs.rights.policies import StackPolicies
from proofs.rights.reasons import read_reasons
from proofs.rights.recording import FROM_NOTHING, Recording, record
from proofs.rights.replay import Replay
from proofs.rights.verdict import NamedFinding, judge, name_findings


def main() -> int:
    """Prove that the template grants what is needed and no more; return 0 if it does, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m local proof")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mutants", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report, documents = Report("proof"), list[dict[str, Any]]()
    started = time.monotonic()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Standard output receives only the JSON document.
            _prove(options, report, documents)
    except (LocalError, DatasetError, ClientError, BotoCoreError, OSError) as error:
        report.promise(f"the proof finishes: {words_of(error)}", False)
    except KeyboardInterrupt:
        print("stopped; nothing is left running", file=sys.stderr)
        return 130
    finally:
        laptop.stop()
    report.figures["seconds"] = round(time.monotonic() - started)
    print(json.dumps(report.document() | {"findings": documents}, indent=1))
    return 0 if report.held else 1


def _prove(options: argparse.Namespace, report: Report, documents: list[dict[str, Any]]) -> None:
    """Record, replay, and run mutants.

    Args:
        options: of the command line.
        report: receives promises and figures.
        documents: receives the findings, which are printed even if a mutant cannot be run.
    """
    reasons, recording = read_reasons(), Recording(HOME)
    cloud = record(recording, options.port, report)
    deployed, decisions = StackPolicies(cloud.laptop, stack.STACK), recording.unique_decisions()
    report.figures |= {"decisions": recording.length(), "questions": len(decisions)}
    replay = Replay(deployed.policies, decisions)
    report.promise("the replay decides as the laptop cloud did", not replay.disagreements())
    findings = name_findings(replay.all_findings(), deployed)
    documents += judge(findings, reasons, deployed, report)
    last_run = Replay(deployed.policies, [each for each in decisions if each.part == FROM_NOTHING])
    findings_of_last_run = name_findings(last_run.all_findings(), deployed)
    for mutant in _sample(findings, findings_of_last_run, options.mutants, options.seed):
        run_mutant(cloud, mutant, recording, report)


def _sample(
    findings: list[NamedFinding], findings_of_last_run: list[NamedFinding], number: int, seed: int
) -> list[NamedFinding]:
    """Choose mutants: three of five lack what a run from nothing needs, two lack what nothing needs."""
    template, rng = yaml_parse(stack.TEMPLATE.read_text()), random.Random(seed)
    needed = [each for each in candidates(findings_of_last_run, template) if each.finding.needed]
    unneeded = [each for each in candidates(findings, template) if not each.finding.needed_by]
    num_unneeded = min(2 * number // 5, len(unneeded))
    return [*rng.sample(needed, min(number - num_unneeded, len(needed))), *rng.sample(unneeded, num_unneeded)]


if __name__ == "__main__":
    shell.leave()
    sys.exit(main())
