"""The contract between coordinator and node, owned by neither.

`reram_fleet.v1` holds the generated gRPC stubs. The modules beside it are what
both sides must do identically, or they do not understand each other:

- `signing`: signatures over exact bytes
- `digests`: digests of adapters and log entries, over integers
- `sealing`: encryption to a receiver, and under a shared key
- `flower`: names and environment of the learning plane
- `process`, `tether`: child processes that never outlive their parent
"""
