"""HDF5 files by the thousand: the reader's own worker, forked instead of started for each file.

A worker's start, which is mostly the import of h5py, takes thirty times as long as its work. Here
one process imports it once and forks itself for every file; the fork runs `hdf5_worker.main`,
under the same limits, and may crash or hang as any worker.

Run as a program with the worker's path, it reads lines of `input output request`: numbers of
descriptors of its parent, and JSON. It answers each with an exit status, as `subprocess` has it.
"""

import os
import runpy
import signal
import subprocess
import sys


class Forks:
    """Takes the place of `subprocess.run` for the worker, and of no other call."""

    def __init__(self, worker):
        self._server = subprocess.Popen(
            [sys.executable, __file__, worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.failures = 0

    def run(self, command, *, stdin, stdout, **_):
        """Of the same arguments; `failures` counts crashes and workers over their time."""
        request = f"{stdin.fileno()} {stdout.fileno()} {command[-1]}\n"
        self._server.stdin.write(request.encode())
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        self.failures += code != 0
        return subprocess.CompletedProcess(command, code)

    def close(self):
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def main():
    import h5py  # noqa: F401

    parent, worker = os.getppid(), runpy.run_path(sys.argv[1])
    for line in sys.stdin:
        num_in, num_out, request = line.split(" ", 2)
        child = os.fork()
        if not child:
            os.dup2(os.open(f"/proc/{parent}/fd/{num_in}", os.O_RDONLY), 0)
            os.dup2(os.open(f"/proc/{parent}/fd/{num_out}", os.O_WRONLY), 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            _work(worker["main"], request)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, flush=True)


def _work(work, request):
    code = 1
    try:
        sys.argv = ["hdf5_worker.py", request]
        signal.alarm(60)
        work()
        sys.stdout.flush()
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
