"""The service that `asgi-apikey serve` runs: management, checks for sidecars, health, metrics. Needs the extra `serve`.

application   what is served where, made of a configuration
requests      a request id and a line in the log for each request
health        whether the process lives, and whether the store answers
sidecar       `/verify`, for proxies that ask before they let a request through
wiring        the keys of a service
tokens        JSON Web Tokens as the configuration wants them
server        the processes: uvicorn, signals, workers
diagnosis     what `asgi-apikey doctor` finds out
"""
