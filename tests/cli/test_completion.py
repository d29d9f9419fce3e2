"""What a shell completes, asked as bash and zsh ask, and typed in both of them."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time
from pathlib import Path
from select import select

import pytest

from sdnet_bench.config import MODELS
from sdnet_bench.names import PARTS, PRECISIONS

COMMAND = "import sys; sys.argv[0] = 'sdnet-bench'; from sdnet_bench.__main__ import main; main()"
LINES = {
    "evalu": ["evaluate"],
    "attack --nor": ["--norm"],
    "attack --norm ": ["linf", "l2"],
    "attack --protocol transfer,ma": ["transfer,matched"],
    "attack --attack autoa": ["autoattack", "autoattack-few"],
    "train --precision ": list(PRECISIONS),
    "train --backbone sdnet34": ["sdnet34", "sdnet34_all"],
    "train --set optimizer.we": ["optimizer.weight_decay="],
    "train --log tens": ["tensorboard"],
    "train sdnet18-d": ["sdnet18-digits"],
    "evaluate --corruption ga": ["gaussian", "gaussian_blur"],
    "evaluate --corruption we": ["weather"],
    "evaluate --adapt median,b": ["median,blur", "median,bn", "median,bn-running"],
    "evaluate --study figure": ["figure2", "figure3"],
    "data fetch CIFAR-10-C --corruption spe": ["speckle"],
    "plugins check pg": ["pgd"],
}
EACH = """
import contextlib, os, sys
from sdnet_bench.__main__ import main
lines, sys.argv = sys.argv[1:], ["sdnet-bench"]
for line in lines:
    os.environ |= {"COMP_WORDS": f"sdnet-bench {line}", "COMP_CWORD": str(line.count(" ") + 1)}
    with contextlib.suppress(SystemExit):
        main()
    print("end of line", flush=True)
sys.exit(bool({"torch", "pandas", "matplotlib", "accelerate"} & set(sys.modules)))
"""


def completions(*lines: str, at: Path, **environment: str) -> list[list[str]]:
    """For each line, whose last word is begun, the words that it may become, in their order; loads no torch."""
    words = {"_SDNET_BENCH_COMPLETE": "complete_bash"} | environment
    command = [sys.executable, "-c", EACH, *lines]
    done = subprocess.run(command, cwd=at, env=os.environ | words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [sorted(found.split()) for found in done.stdout.split("end of line")[:-1]]


def test_words_and_names_are_completed_without_torch(tmp_path: Path) -> None:
    found = dict(zip(LINES, completions(*LINES, at=tmp_path), strict=True))
    assert found == {line: sorted(words) for line, words in LINES.items()}


def test_models_are_completed_where_they_lie(at: Path) -> None:
    lines = ("evaluate sdnet18-t", "report --runs-dir runs sdnet18-t", "models export ")
    named, told, exported = completions(*lines, at=at)
    assert named == told == ["sdnet18-tiny"]
    shipped = {path.parent.name for path in MODELS.glob("*/model*.safetensors")}
    assert {*exported} == shipped | {"sdnet18-tiny", "resnet18-tiny"}
    assert completions("audit resnet18-t", at=at / "runs") == [[]]
    by_environment = completions("evaluate sdnet18-t", at=at / "runs", SDNET_BENCH_RUNS=str(at / "runs"))
    assert by_environment == [["sdnet18-tiny"]]


SETUP = {
    "bash": ["bash --norc --noprofile -i", 'eval "$(sdnet-bench --show-completion)"'],
    "zsh": ["zsh -f -i", "autoload -Uz compinit; compinit -u -D", 'eval "$(sdnet-bench --show-completion)"'],
}


def typed(shell: str, keys: str, wanted: str, at: Path) -> str:
    """What a shell shows on a terminal after these keys, until it shows what is wanted, or for half a minute."""
    command = at / "sdnet-bench"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{COMMAND}" "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    main, screen = pty.openpty()
    environment = os.environ | {"PATH": f"{at}:{os.environ['PATH']}", "HOME": str(at), "TERM": "dumb"}
    start, *lines = SETUP[shell]
    process = subprocess.Popen(
        start.split(), stdin=screen, stdout=screen, stderr=screen, cwd=at, env=environment, start_new_session=True
    )
    os.write(main, "".join(f"{line}\n" for line in [*lines, "echo rea''dy"]).encode())
    shown, until = "", time.monotonic() + 30
    try:
        for awaited, then in (("ready", keys), (wanted, "")):
            while awaited not in shown and time.monotonic() < until:
                shown += os.read(main, 4096).decode(errors="replace") if select([main], [], [], 1)[0] else ""
            os.write(main, then.encode())
    finally:
        process.kill()
        process.wait()
        os.close(main)
        os.close(screen)
    return shown


@pytest.mark.parametrize("shell", SETUP)
def test_a_name_is_completed_in_a_shell(tmp_path: Path, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    assert "spatter" in PARTS["corruption"]
    assert "--corruption spatter" in typed(shell, "sdnet-bench evaluate --corruption spat\t", "spatter", tmp_path)
