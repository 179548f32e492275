"""`python -m tocsin_server`: the same as `tocsin`."""

from tocsin_server.cli.main import main

if __name__ == "__main__":
    main()
