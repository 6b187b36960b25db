"""The program `chorus` that lies in the package: as a command, and run for the functions of this package."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, Callable, NoReturn, Sequence

from chorus._errors import Error, UserError
from chorus._load import missing_library

PROGRAM = Path(__file__).parent / "bin" / "chorus"
USER_MISTAKE = 2  # its exit codes
SAVED = {128 + signal.SIGINT, 128 + signal.SIGTERM}


def environment() -> dict[str, str]:
    """In which the program finds the libraries of this environment's torch."""
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        raise ImportError("chorus needs torch, which is not installed here")
    folder = Path(torch.origin).parent
    cuda = sorted((folder.parent / "nvidia").glob("*/lib"))  # what a CUDA build brings
    paths = [folder / "lib", folder.parent / "torch.libs", *cuda, os.environ.get("LD_LIBRARY_PATH")]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(str(path) for path in paths if path)}


def main() -> NoReturn:
    """The command `chorus`: becomes the program."""
    try:
        os.execve(PROGRAM, ["chorus", *sys.argv[1:]], environment())
    except (ImportError, OSError) as error:
        sys.exit(f"chorus: error: {error}")


def run(
    command: str,
    *arguments: str | os.PathLike[str],
    quiet: bool = True,
    on_line: Callable[[str], Any] | None = None,
) -> str:
    """Runs a command of the program and returns what it writes to standard output, or hands it to `on_line` line by line.

    Its messages go to sys.stderr, with `quiet` warnings alone. Ctrl-C is passed on to it, and what `on_line` raises ends it
    like Ctrl-C: either is raised again once the program has ended. `on_line` returning False ends it too, and nothing is
    raised. UserError and Error as the program says it.
    """
    words = [str(PROGRAM), command, *(os.fspath(one) for one in arguments), *(["-q"] if quiet else [])]
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            errors="replace", env=environment())
    except ValueError as error:  # a character 0, half of a surrogate pair
        raise UserError(f"chorus {command} cannot be given its arguments: {error}") from error
    except OSError as error:
        raise Error(f"chorus {command} cannot be started: {error}") from error
    assert process.stdout and process.stderr
    last: list[str] = []
    listener = threading.Thread(target=_listen, args=(process.stderr, last), daemon=True)
    listener.start()
    output: list[str] = []
    raised: BaseException | None = None
    stopped = False
    while True:
        try:
            for line in process.stdout:
                if on_line is None:
                    output.append(line)
                elif not stopped and on_line(line) is False:
                    stopped = True
                    process.send_signal(signal.SIGINT)
            process.wait()
            break
        except BaseException as error:  # Ctrl-C too: the program is told, and saves what it has
            raised, stopped = error, True
            process.send_signal(signal.SIGINT)
    listener.join()
    if raised is not None:
        raise raised
    if process.returncode == 0 or (stopped and process.returncode in SAVED):
        return "".join(output)
    _fail(command, process.returncode, last)


def run_json(command: str, *arguments: str | os.PathLike[str], quiet: bool = True) -> Any:
    return json.loads(run(command, *arguments, "--json", quiet=quiet))


def place(path: str | os.PathLike[str]) -> str:
    """A path on the command line, where one that begins with - would be an option."""
    text = os.fspath(path)
    return os.path.join(".", text) if text.startswith("-") else text


def options(**values: Any) -> Sequence[str]:
    """As the command line has them: None and False are left out, lists are given item by item."""
    words: list[str] = []
    for name, value in values.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            for one in value if isinstance(value, (list, tuple)) else [value]:
                words.append(f"{option}={os.fspath(one) if isinstance(one, os.PathLike) else one}")
    return words


def _listen(stream: IO[str], last: list[str]) -> None:
    for line in stream:
        last[:] = [line.rstrip("\n")]
        if not line.startswith("chorus: error: "):
            print(last[0], file=sys.stderr, flush=True)


def _fail(command: str, code: int, last: list[str]) -> NoReturn:
    said = last[0].removeprefix("chorus: error: ") if last else ""
    if code < 0:
        names = {one.value: one.name for one in signal.Signals}  # real-time ones have none
        said = f"chorus {command} was ended by {names.get(-code, f'signal {-code}')}"
    raise (UserError if code == USER_MISTAKE else Error)(
        missing_library(said) or said or f"chorus {command} failed with exit code {code}")
