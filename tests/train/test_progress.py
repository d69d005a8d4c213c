import io
import logging

from rich.console import Console

from stkit.run.logs import logged_to
from stkit.train.progress import ProgressDisplay, duration


def show(console, shown=True):
    with ProgressDisplay(2, 8, shown=shown, console=console) as display:
        for step in range(3, 9):
            display.advance(step, 1 / step)
        display.logged(8, 0.125, 1e-3, 0.013)
        display.validated(8, 0.5, best=True)
    return display


def test_a_bar_on_a_terminal_and_lines_in_the_file(tmp_path, caplog):
    stream = io.StringIO()
    terminal = logging.StreamHandler(stream)
    logger = logging.getLogger("stkit")
    logger.addHandler(terminal)
    try:
        with logged_to(tmp_path / "log.txt", is_main=True):
            show(Console(file=stream, force_terminal=True, width=80))
    finally:
        logger.removeHandler(terminal)
    told = stream.getvalue()
    for part in ("8/8", "loss 0.125", "steps/s", "0:00:00", "left", "validation 0.5"):
        assert part in told
    assert "step 8/8" not in told
    log = (tmp_path / "log.txt").read_text()
    assert "INFO step 8/8  loss 0.125  lr 0.001" in log
    assert "INFO step 8/8  validation 0.5 (best)" in log


def test_lines_where_there_is_no_terminal(caplog):
    stream = io.StringIO()
    with caplog.at_level(logging.INFO, "stkit"):
        assert not show(Console(file=stream, width=80)).live
    assert stream.getvalue() == ""
    assert [record.message[:8] for record in caplog.records] == ["step 8/8", "step 8/8"]


def test_only_the_main_process_tells(caplog, tmp_path):
    stream = io.StringIO()
    with caplog.at_level(logging.INFO, "stkit"), logged_to(tmp_path / "log.txt", is_main=False):
        assert not show(Console(file=stream, force_terminal=True), shown=False).live
        logging.getLogger("stkit.train").info("not told")
    assert stream.getvalue() == ""
    assert caplog.records == []
    assert not (tmp_path / "log.txt").exists()


def test_durations():
    assert [duration(seconds) for seconds in (0, 61, 3723, float("nan"))] == ["0:00", "1:01", "1:02:03", "?"]
