"""Offline means offline: no look-up, no connection, no file outside outputs and cache.

Kind of fault: a dependency that reports its use. Every command runs under strace and then stays
alive for 15 s, because ONNX Runtime contacts its host only after ten.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import make_video
from tiny_corpora import make_corpus, tiny_recipe, write_toml

STRACE = ("strace", "-ff", "-y", "-qq", "--seccomp-bpf", "-e")
CALLS = (
    "trace=open,openat,openat2,creat,truncate,mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,"
    "symlinkat,rename,renameat,renameat2,connect,sendto,sendmsg,sendmmsg"
)
COMMANDS = """
import sys, time
from emoscope.apps.cli import app
for command in sys.argv[2:]:
    if code := app(command.split(), standalone_mode=False):
        sys.exit(code)
time.sleep(float(sys.argv[1]))
"""
ALIVE_S = "15"
# ONNX Runtime and OpenVINO, pandas, openSMILE, and what training brings (torch, Lightning, captum).
JOBS = {
    "analyze": ("analyze film.mp4 --out report --format json,csv,html,mp4",),
    "openvino": ("analyze film.mp4 --backend openvino --out report-openvino --format parquet",),
    "voice": ("analyze film.mp4 --model voice-ravdess --out report-voice --format csv",),
    "train": (
        "train tiny.toml --corpus folder=corpus --out run",
        "explain film.mp4 --model run --out explained",
    ),
}
# The variables that switch off what is tested, on this machine or in CI.
SWITCHES = ("ORT_DISABLE_TELEMETRY", "MPLCONFIGDIR", "CI", "TF_BUILD", "JENKINS_URL")

_STRING = re.compile(r'(?:<([^<>"]*)>, )?"([^"]*)"')
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE")
_LOOKUP_FILES = ("/etc/resolv.conf", "/etc/hosts")


def _strace_works() -> bool:
    ran = subprocess.run([*STRACE, CALLS, "-o", os.devnull, "true"], capture_output=True)
    return ran.returncode == 0


pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None or not _strace_works(),
    reason="strace is absent, or tracing is not permitted here",
)


class Place:
    """A working folder with its own home, cache and temporary folder, and traced processes."""

    def __init__(self, folder: Path) -> None:
        self.work, self.traces = folder / "work", folder / "traces"
        self.homes = [folder / "home", folder / "xdg"]
        self.cache, self.temporary = folder / "cache", folder / "tmp"
        for path in (self.work, self.traces, *self.homes, self.temporary):
            path.mkdir()

    def start(self, name: str, *words: str) -> "subprocess.Popen[str]":
        """A Python process under strace; each of its threads writes its own trace."""
        env = {key: value for key, value in os.environ.items() if key not in SWITCHES}
        own = {
            "HOME": self.homes[0],
            "XDG_CACHE_HOME": self.homes[1],
            "EMOSCOPE_CACHE": self.cache,
            "TMPDIR": self.temporary,
            "PYTHONDONTWRITEBYTECODE": 1,
            "OMP_NUM_THREADS": 1,
        }
        return subprocess.Popen(
            [*STRACE, CALLS, "-o", self.traces / name, sys.executable, "-c", *words],
            env={**env, **{key: str(value) for key, value in own.items()}},
            cwd=self.work,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def violations(self, name: str) -> set[str]:
        """The system calls of a process that went online or wrote where it must not."""
        lines = [
            line
            for trace in self.traces.glob(f"{name}.*")
            for line in trace.read_text(errors="replace").splitlines()
        ]
        assert lines, f"no trace of {name}"
        return {line for line in lines if self._online(line) or self._writes_elsewhere(line)}

    def _online(self, line: str) -> bool:
        if any(f'"{path}"' in line for path in (*_LOOKUP_FILES, "/run/systemd/resolve")):
            return True
        if "sa_family=AF_INET" not in line:
            return False
        loopback = 'inet_addr("127.' in line or '"::1"' in line
        return not loopback or "htons(53)" in line

    def _writes_elsewhere(self, line: str) -> bool:
        call, _, rest = line.partition("(")
        if call in ("connect", "sendto", "sendmsg", "sendmmsg") or line.endswith("(File exists)"):
            return False
        arguments = rest.rpartition(" = ")[0]
        if call.startswith("open") and not _WRITES.search(arguments):
            return False
        found = _STRING.findall(arguments)
        if not found:
            return False
        directory, name = found[-1]  # of a rename, where it goes
        path = Path(os.path.normpath(self.work / directory / name))
        allowed = (self.work, self.cache, self.temporary, Path("/dev"))
        return not any(path.is_relative_to(place) for place in allowed)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """All jobs, run at the same time."""
    place = Place(tmp_path_factory.mktemp("offline").resolve())
    make_video(place.work / "film.mp4", sound_s=0.4)
    make_corpus(place.work / "corpus", subjects=2, each=2)
    write_toml(tiny_recipe(schedule={"epochs": 1}), place.work / "tiny.toml")
    processes = {name: place.start(name, COMMANDS, ALIVE_S, *JOBS[name]) for name in JOBS}
    try:
        for name, process in processes.items():
            output, _ = process.communicate(timeout=240)
            assert process.returncode == 0, f"{name}: {output}"
        yield place
    finally:
        for process in processes.values():
            process.kill()


@pytest.mark.parametrize("name", JOBS)
def test_nothing_is_looked_up_sent_or_written_elsewhere(place: Place, name: str) -> None:
    assert place.violations(name) == set()


def test_the_home_stays_empty(place: Place) -> None:
    assert [path for home in place.homes for path in home.rglob("*")] == []


def test_matplotlib_keeps_its_font_list_in_the_cache(place: Place) -> None:
    assert list(place.cache.glob("matplotlib/fontlist*"))


def test_a_look_up_a_connection_and_a_file_are_seen(tmp_path: Path) -> None:
    place = Place(tmp_path.resolve())
    offence = (
        "import pathlib, socket\n"
        "pathlib.Path('inside').touch()\n"
        "pathlib.Path.home().joinpath('id').touch()\n"
        "pathlib.Path('/etc/hosts').read_text()\n"
        # A connected datagram socket sends nothing; the address is for documentation only.
        "socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 9))\n"
        "socket.socket(type=socket.SOCK_DGRAM).connect(('127.0.0.1', 9))\n"
    )
    process = place.start("offence", offence)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    violations = place.violations("offence")
    assert len(violations) == 3
    assert all(
        any(sign in line for line in violations) for sign in ("192.0.2.1", "home/id", "/etc/hosts")
    )
