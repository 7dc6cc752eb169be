"""Tests that share a cloud run on one worker, so that no other worker builds and deploys a second one."""

import ast

from tests.conftest import GROUPS, TESTS, group_of

FILES = sorted((TESTS / "integration/pipeline").glob("test_*.py"))


def fixtures_in(path):
    """Return the names of the arguments of a file's tests and fixtures."""
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    return {argument.arg for function in functions for argument in function.args.args}


def test_files_of_the_pipeline_are_of_the_group_of_their_cloud():
    assert len(FILES) > 20
    groups = {path.name: group_of(path.relative_to(TESTS).as_posix()) for path in FILES}
    assert groups == {path.name: "bare" if "bare" in fixtures_in(path) else "kennel" for path in FILES}


def test_every_entry_of_a_group_names_files():
    starts = [start for entries in GROUPS.values() for start in entries]
    assert [start for start in starts if not (TESTS / start).exists()] == []
