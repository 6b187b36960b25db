"""The disk, by fio."""
import json
import pathlib
import subprocess


def fio(case):
    """Half of `bytes` read and half written at once, in blocks as chorus's, past the page cache, in a file of its own in `folder`."""
    file = pathlib.Path(case["folder"]) / "fio"

    def run():
        done = subprocess.run(
            ["fio", "--name=state", f"--filename={file}", "--rw=rw", f"--bs={case['block']}", "--iodepth=8", "--ioengine=io_uring",
             "--direct=1", f"--size={case['bytes'] // 2}", f"--io_size={case['bytes']}", "--output-format=json"],
            check=True, stdout=subprocess.PIPE, text=True)
        job = json.loads(done.stdout)["jobs"][0]
        return max(job["read"]["runtime"], job["write"]["runtime"]) / 1000

    run()  # which makes the file
    return run, {"checks": {"bytes on disk": case["bytes"]}}
