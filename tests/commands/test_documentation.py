"""Tests that the documentation is true: the settings' reference, links, commands and options."""

import re
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from commands.inspection import reference_text
from commands.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_reference_of_the_settings_is_the_one_that_the_command_prints():
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert reference_text().strip() in page, "run `offload config reference` and put what it prints into the page"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_that_a_page_names_exist(page):
    text = page.read_text()
    linked = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text)]
    named = re.findall(r"`((?:offload|middleware|edgenode|controller|trainer|evaluation|commands)/[\w./-]*)`", text)
    for target in linked:
        if target and not re.match(r"\w+:", target):
            assert (page.parent / target).exists(), target
    for path in named:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_that_a_page_shows_exist(page):
    shown = re.findall(r"^offload ([^#\n]+)|`offload ([^`\n]+)`", page.read_text(), re.MULTILINE)
    for line in (one or other for one, other in shown):
        command, words = get_command(app), line.split()
        while words and hasattr(command, "commands"):
            name = words.pop(0)
            assert name in command.commands, f"offload {line}"
            command = command.commands[name]
        options = {option for parameter in command.params for option in parameter.opts}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0].rstrip("]…") in options, f"offload {line}"


def test_what_make_offers_is_what_readme_says():
    offered = subprocess.run(
        ["make", "--print-data-base", "--dry-run", "--question", "clean"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    targets = set(re.findall(r"^(\w+):", offered, re.MULTILINE))
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert target in targets
