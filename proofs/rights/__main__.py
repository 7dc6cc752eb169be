"""``python -m local proof`` in a process of its own, whose home is the proof's."""

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
from local import laptop, stack
from local.home import HOME, LocalError
from proofs.drills.report import Report
from proofs.rights.justified import reasons
from proofs.rights.mutants import candidates, try_out
from proofs.rights.policies import Deployed
from proofs.rights.recording import ANEW, Recording, record
from proofs.rights.replay import Replay
from proofs.rights.verdict import Named, judge, named


def main() -> int:
    """Prove that the template grants what is needed and no more; 0 when it does, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m local proof")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mutants", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report, findings = Report("proof"), list[dict[str, Any]]()
    began = time.monotonic()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is the document's
            known, recording = reasons(), Recording(HOME)
            stage = record(recording, options.port, report)
            deployed, asked = Deployed(stage.laptop, stack.STACK), recording.asked()
            report.figures |= {"decisions": recording.length(), "questions": len(asked)}
            replay = Replay(deployed.policies, asked)
            wrong = replay.disagreements()
            report.promise("the replay decides as the laptop cloud did", not wrong)
            found = named(replay.all_findings(), deployed)
            findings = judge(found, known, deployed, report)
            anew = Replay(deployed.policies, [each for each in asked if each.during == ANEW])
            for each in _sample(found, named(anew.all_findings(), deployed), options.mutants, options.seed):
                try_out(stage, each, recording, report)
    except (LocalError, DatasetError, ClientError, BotoCoreError, OSError) as error:
        report.promise(f"the proof comes to its end: {error}", False)
    except KeyboardInterrupt:
        print("stopped; nothing is left running", file=sys.stderr)
        return 130
    finally:
        laptop.stop()
    report.figures["seconds"] = round(time.monotonic() - began)
    print(json.dumps(report.document() | {"findings": findings}, indent=1))
    return 0 if report.held else 1


def _sample(found: list[Named], anew: list[Named], number: int, seed: int) -> list[Named]:
    """Mutants to run: of three in five a run from nothing needs what they lack, the others lack what nothing needs."""
    template, chance = yaml_parse(stack.TEMPLATE.read_text()), random.Random(seed)
    needed = [each for each in candidates(anew, template) if each.finding.needed]
    needless = [each for each in candidates(found, template) if not each.finding.by]
    idle = min(2 * number // 5, len(needless))
    return [*chance.sample(needed, min(number - idle, len(needed))), *chance.sample(needless, idle)]


if __name__ == "__main__":
    sys.exit(main())
