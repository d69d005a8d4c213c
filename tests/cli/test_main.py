"""The command line as a whole: help, errors, exit codes, plugins' commands, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stkit.cli.main import SUMMARIES, cli, run
from stkit.errors import CheckpointError, DataError, PluginError, RunFailed

from ..fake_site import FakeSite

Capture = pytest.CaptureFixture[str]


def raising(site: FakeSite, raised: str) -> None:
    """A plugin's command ``fail`` that raises."""
    site.install(
        "failing",
        f"""
        import click, errno
        from stkit.api import CommandSpec, hookimpl
        from stkit.errors import *

        @click.command()
        @click.option("--word", default="nothing")
        def fail(word):
            "Fail."
            {raised}

        @hookimpl
        def stkit_commands():
            yield CommandSpec(name="fail", target=f"{{__name__}}:fail", summary="Fails")
            yield CommandSpec(name="no-module", target="does_not_exist:command")
            yield CommandSpec(name="no-command", target=f"{{__name__}}:errno")
            yield CommandSpec(name="list", target=f"{{__name__}}:fail", summary="A thief")
        """,
    )


def test_help_lists_every_command(site: FakeSite, capsys: Capture) -> None:
    raising(site, "pass")
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for name in [*SUMMARIES, "fail"]:
        assert f" {name} " in out
    assert "Fails" in out
    assert "A thief" not in out
    assert "Examples:" in out


@pytest.mark.parametrize("name", SUMMARIES)
def test_each_command_has_help(name: str, capsys: Capture) -> None:
    for flag in ("--help", "-h"):
        assert run([name, flag]) == 0
        assert f"Usage: stkit {name}" in capsys.readouterr().out


def test_without_arguments_it_shows_the_help(capsys: Capture) -> None:
    assert run([]) == 0
    assert "Usage: stkit" in capsys.readouterr().out


def test_version(capsys: Capture) -> None:
    from importlib.metadata import version

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"stkit {version('stkit-torch')}\n"


USAGE = {
    "lisst": "error: there is no command 'lisst'; did you mean 'list'?\n",
    "zzz": "error: there is no command 'zzz'; `stkit --help` lists them\n",
    "--zzz": "error: no such option '--zzz'.\nSee `stkit --help`.\n",
    "list --jso": "error: no such option '--jso'. Did you mean '--json'?\nSee `stkit list --help`.\n",
    "validate": "error: missing argument 'REF'.\nSee `stkit validate --help`.\n",
    "list zzz": "error: invalid value for '[KIND]...': 'zzz' is not one of",
    "info zzz": "error: nothing is called 'zzz'; known: ",
    "info predrnnn": "error: nothing is called 'predrnnn'; did you mean 'predrnn'",
    "info mse --kind zzz": "error: there is no kind 'zzz'; known: baselines, callbacks, cells, datasets",
    "info mse --kind celsl": "error: there is no kind 'celsl'; did you mean 'cells'?\n",
    "validate predrn-sst": "error: no recipe is called 'predrn-sst'; did you mean 'predrnn-sst'",
    "validate nowhere.yaml": "error: there is no file 'nowhere.yaml'; ",
    "validate predrnn-sst train.stepps=3": "error: override 'train.stepps=3': train.stepps: there is no such key; did "
    "you mean 'steps'?\n",
    "validate predrnn-sst model.name=mim model.layers=[8,8,12,8]": "error: override 'model.layers=[8,8,12,8]': "
    "model.layers.2: layer 3 (st_lstm) needs the carried memory 'm' with 12 channels, but layer 2 hands on 8; give the "
    "layers equal widths\n",
    "validate predrnn-sst model.layers=[8,12]": "error: override 'model.layers=[8,12]': model.layers.0: layer 1 "
    "(st_lstm) needs the carried memory 'm' with 8 channels, but layer 2 hands on 12 (the memory returns from the top "
    "layer to the bottom one); give the layers equal widths\n",
    "validate predrnn-sst model.name=e3d_lstm model.transition.tau=0": "error: override 'model.transition.tau=0': "
    "model.transition.tau: should be at least 1; received 0\n",
    "validate predrnn-sst model.variant=offical": "error: override 'model.variant=offical': model.variant: the "
    "architecture 'predrnn' has no variant 'offical'; did you mean 'official'?\n",
    "validate predrnn-sst model.name=e3d_lstm model.layers=[8,8]": "error: override 'model.layers=[8,8]': "
    "model.layers.0: layer 1 (e3d_lstm) takes B C 2 H W, but frames are B C H W; a layer below makes the depth: "
    "'frame_window'\n",
    "cp zzz": "error: no recipe is called 'zzz'; known: ",
    "cp predrnn-sst+netcdf": "error: 'predrnn-sst+netcdf' is a composition of 2 recipes; copy one of them\n",
    "cp predrnn-sst no/such/a.yaml": "error: no/such/a.yaml cannot be written: No such file or directory\n",
    "schema -o no/such/folder/a.json": "error: no/such/folder/a.json cannot be written: No such file or directory\n",
    "runs no-such-folder": "error: there is no folder 'no-such-folder'\n",
    "completion tcsh": "error: invalid value for '{bash|zsh|fish}': 'tcsh' is not one of",
}


@pytest.mark.parametrize("line", USAGE)
def test_usage_errors_are_one_message_and_exit_code_2(
    line: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(USAGE[line])
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize(
    "arguments",
    [["zz\0z"], ["validate", "predrnn-sst", "train.steps=\0"], ["--\0"], ["runs", "\0"], ["list", "--json\0"]],
    ids=repr,
)
def test_an_argument_with_a_nul_byte_is_one_message(arguments: list[str], capsys: Capture) -> None:
    """No shell gives one; a program that calls ``run`` can."""
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (
        captured.err == f"error: the argument {arguments[-1]!r} has a NUL byte, which no name, path or value can have\n"
    )


RAISED = {
    "raise DataError('no variable')": (2, "error: no variable\n"),
    "raise CheckpointError('cut short')": (2, "error: cut short\n"),
    "raise RunFailed('the loss is nan at step 7')": (1, "error: the loss is nan at step 7\n"),
    "raise PluginError('broken')": (1, "error: broken\n"),
    "raise KeyboardInterrupt": (130, "\ninterrupted\n"),
    "raise click.Abort": (130, "interrupted\n"),
    "raise OSError(errno.ENOSPC, 'No space left on device', 'a/b')": (1, "error: the disk is full: a/b\n"),
    "raise PermissionError(13, 'Permission denied', 'a/b')": (1, "error: Permission denied: a/b\n"),
    "raise ZeroDivisionError('by zero')": (
        1,
        "error: ZeroDivisionError: by zero\nThis is a fault of stkit or a plugin; STKIT_DEBUG=1 shows where.\n",
    ),
    "raise click.UsageError('Not so')": (2, "error: not so\nSee `stkit fail --help`.\n"),
    "raise SystemExit(3)": (3, ""),
    "click.get_current_context().exit(4)": (4, ""),
    "return 5": (5, ""),
    "return 'words'": (0, ""),
    "return True": (0, ""),
}


@pytest.mark.parametrize("raised", RAISED)
def test_errors_and_exit_codes(site: FakeSite, raised: str, capsys: Capture) -> None:
    raising(site, raised)
    code, message = RAISED[raised]
    if raised.startswith("raise SystemExit"):
        with pytest.raises(SystemExit) as caught:
            run(["fail"])
        assert caught.value.code == code
        return
    assert run(["fail"]) == code
    assert capsys.readouterr().err == message


def test_exit_codes_of_the_errors() -> None:
    assert {DataError.exit_code, CheckpointError.exit_code} == {2}
    assert {RunFailed.exit_code, PluginError.exit_code} == {1}


@pytest.mark.parametrize("switch", ["option", "variable"])
def test_the_traceback_is_shown_where_it_is_asked_for(
    site: FakeSite, switch: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STKIT_DEBUG", "1" if switch == "variable" else "0")
    raising(site, "raise DataError('no variable')")
    assert run(["--debug", "fail"] if switch == "option" else ["fail"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: no variable\n")


def test_a_plugins_command(site: FakeSite, capsys: Capture) -> None:
    raising(site, "click.echo(word)")
    assert run(["fail", "--word", "hello"]) == 0
    assert capsys.readouterr().out == "hello\n"
    assert run(["fail", "--help"]) == 0
    assert "Usage: stkit fail" in capsys.readouterr().out


def test_a_plugins_command_never_takes_a_built_in_one(site: FakeSite, capsys: Capture) -> None:
    raising(site, "click.echo('thief')")
    assert run(["list", "losses"]) == 0
    assert "thief" not in capsys.readouterr().out


def test_plugins_commands_that_are_broken(site: FakeSite, capsys: Capture) -> None:
    raising(site, "pass")
    assert run(["no-module"]) == 2
    assert capsys.readouterr().err == (
        "error: the command 'no-module' of plugin 'failing' (stkit-failing 1.0) cannot be imported: "
        "ModuleNotFoundError: No module named 'does_not_exist'\n"
    )
    assert run(["no-command"]) == 2
    assert capsys.readouterr().err.endswith("of plugin 'failing' (stkit-failing 1.0) is no click command\n")


def test_a_broken_plugin_is_one_warning(site: FakeSite, capsys: Capture) -> None:
    site.install("broken", "1 / 0")
    assert run(["list", "losses"]) == 0
    captured = capsys.readouterr()
    assert captured.err == (
        "warning: plugin 'broken' (stkit-broken 1.0) was skipped while being imported: "
        "ZeroDivisionError: division by zero\n"
    )
    assert "mse" in captured.out


def test_a_broken_plugin_stops_a_strict_run(site: FakeSite, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STKIT_PLUGINS_STRICT", "1")
    site.install("broken", "1 / 0")
    assert run(["list"]) == 1
    assert capsys.readouterr().err.startswith(
        "error: plugin 'broken' (stkit-broken 1.0) was skipped while being imported"
    )


@pytest.mark.parametrize(("flag", "shown"), [(None, "ip"), ("-q", "p"), ("-v", "dip")])
def test_quiet_and_verbose(site: FakeSite, capsys: Capture, flag: str | None, shown: str) -> None:
    log = "import logging; log = logging.getLogger('stkit.x'); log.debug('d'); log.info('i'); log.warning('p')"
    raising(site, log)
    assert run([*([flag] if flag else []), "fail"]) == 0
    assert capsys.readouterr().err.replace("warning: ", "").replace("\n", "") == shown


def test_module_and_script_are_the_same_command() -> None:
    for command in ([sys.executable, "-m", "stkit"], [str(Path(sys.executable).with_name("stkit"))]):
        out = subprocess.run([*command, "validate", "nowhere"], capture_output=True, text=True, check=False)
        assert out.returncode == 2
        assert out.stderr.startswith("error: no recipe is called 'nowhere'; ")


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m stkit schema | head -c 10"
    out = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (out.returncode, out.stderr) == (0, "")


def test_a_full_disk_under_the_output() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        out = subprocess.run(
            [sys.executable, "-m", "stkit", "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert out.returncode == 1
    assert out.stderr == "error: the disk is full\n"


COMPLETIONS = {
    "stkit re": {"recipe", "resume", "report"},
    "stkit recipe predrnn-s": {"predrnn-sst"},
    "stkit validate predrnn-sst+reverse": {"predrnn-sst+reverse-sampling"},
    "stkit info st_l": {"st_lstm"},
    "stkit validate my": {"my-own.yaml"},
    "stkit completion ": {"bash", "zsh", "fish"},
    "stkit cp predrnn-w": {"predrnn-wind"},
}


@pytest.mark.parametrize("line", COMPLETIONS)
def test_completion(line: str, tmp_path: Path) -> None:
    (tmp_path / "my-own.yaml").write_text("")
    environment = os.environ | {
        "_STKIT_COMPLETE": "zsh_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    out = subprocess.run(
        [sys.executable, "-m", "stkit"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert set(out.stdout.splitlines()[1::3]) == COMPLETIONS[line], out.stderr


def test_the_group_knows_its_commands() -> None:
    import rich_click as click

    context = click.Context(cli)
    assert cli.list_commands(context)[: len(SUMMARIES)] == list(SUMMARIES)
    assert cli.get_command(context, "no-such-command") is None
