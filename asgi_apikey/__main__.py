"""`python -m asgi_apikey` is the command `asgi-apikey`."""

from asgi_apikey.cli import main

if __name__ == "__main__":
    main()
