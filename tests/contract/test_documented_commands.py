"""The documents' commands for AWS: each is run by a test or is said to need AWS itself."""

from awscli.clidriver import create_clidriver

from tests.documented import ELSEWHERE, QUICK, SLOW, commands, key_of, mentions


def test_every_command_is_run_or_has_a_reason():
    keys = [key_of(command) for command in commands()]
    assert [command for command, key in zip(commands(), keys, strict=True) if not key] == []
    assert {*QUICK, *SLOW, *ELSEWHERE} - set(keys) == set()
    assert len(keys) == len(set(keys)), "two commands begin alike; a table's key must tell them apart"


def test_every_operation_that_a_sentence_names_exists():
    known = create_clidriver()._get_command_table()
    named = sorted(mentions())
    assert named
    for mention in named:
        _, service, operation = mention.split()
        # Version 2 alone has it, as the page says.
        assert mention == "aws logs tail" or operation in known[service]._get_command_table(), mention
