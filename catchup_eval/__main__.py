"""`python -m catchup_eval` is the command `catchup-eval`."""

from catchup_eval.cli.main import main

if __name__ == "__main__":
    main()
