"""A program started anew for each repetition."""
import subprocess


def command(case):
    """arguments, input: the text on its standard input; all of its output is thrown away."""
    def run():
        subprocess.run(case["arguments"], input=case["input"], text=True, check=True, stdout=subprocess.DEVNULL)

    run()
    return run, {}
