"""The contract between coordinator and node, owned by neither.

`reram_fleet.v1` holds the generated gRPC stubs. The modules beside it are what both sides must do identically, or they
do not understand each other:

- `signing`: signatures over exact bytes
- `digests`: digests of adapters and log entries, over integers
- `sealing`: encryption to a receiver, and under a shared key
- `identities`, `tickets`: who a node is, and whom it may take in
- `code_ranges`: integers that nodes of a task can send
- `cohorts`: shard of a person
- `stream_opening`, `bearer`: metadata that opens a stream, tokens of the loopback services
- `durable`, `hardening`: files that survive a power cut, memory that others do not read
- `command_line`: rules that `fleet` and `edge-node` share
- `flower`: names and environment of the learning plane
- `process`, `tether`: child processes that never outlive their parent
"""
