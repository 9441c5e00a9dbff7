"""`python -m mammo.predict` is the command `mammo`."""

from mammo.predict.cli import main

if __name__ == "__main__":
    main()
