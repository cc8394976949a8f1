"""Entry of the `jaxmlp` command, also as `python -m jaxmlp`."""

import sys


def main() -> None:
    """Runs the command, or says which packages it needs."""
    try:
        from jaxmlp.interfaces.cli import run
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("jaxmlp"):
            raise
        message = f"{error}; the command needs: pip install 'jaxmlp[cli]'"
        print(f"jaxmlp: error: {message}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # imports take a second or two
        print("jaxmlp: interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
