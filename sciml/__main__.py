"""The command `sciml`: list, generate, train, evaluate and compare experiments.

    sciml list
    sciml generate EXPERIMENT --out FILE.h5 [--size SIZE] [--FIELD VALUE ...]
    sciml train EXPERIMENT [--size SIZE] [--out RUN | --resume RUN] [--data FILE.h5] [--FIELD VALUE ...]
    sciml evaluate RUN [--data FILE.h5]
    sciml compare RUN RUN ... [--out FOLDER]

Every field of an experiment's dataclass is an option: `sciml train burgers1d-fno --help` shows them.
"""

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    **Arguments:**

    - `arguments`: the words after `sciml`; those of the process when not given.

    **Returns:** the exit status: 0, or 2 after a mistake, which is explained in one message.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from sciml import __version__

        print(f"sciml {__version__}")
        return 0
    from sciml.experiments import commands
    from sciml.experiments.base import suggest

    verbs = {
        "list": commands.list_all,
        "generate": commands.generate,
        "train": commands.train,
        "evaluate": commands.evaluate,
        "compare": commands.compare_runs,
    }
    if arguments[0] not in verbs:
        print(suggest("command", arguments[0], verbs), file=sys.stderr)
        return 2
    try:
        verbs[arguments[0]](arguments[1:])
    except KeyboardInterrupt:
        print(
            "\nInterrupted. A run in training goes on with: sciml train EXPERIMENT --resume RUN",
            file=sys.stderr,
        )
        return 130
    except (ValueError, OSError, ImportError, FloatingPointError, RuntimeError) as error:
        # jax's own failures are RuntimeErrors too, and want their traceback.
        if isinstance(error, RuntimeError) and type(error).__module__.startswith("jax"):
            raise
        print(f"sciml {arguments[0]}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
