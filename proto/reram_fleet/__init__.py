"""Contract between coordinator and node, owned by neither.

`reram_fleet.v1` holds the generated gRPC stubs. The modules beside it are what both sides must do identically, or they
do not understand each other:

- `crypto.signing`, `crypto.digests`: signatures over exact bytes; digests of adapters and log entries, over integers
- `crypto.sealing`, `crypto.key_store`: encryption to a receiver and under a key; key files that are destroyed to erase
- `crypto.tickets`, `crypto.identities`: whom a node may take in, and who it is
- `code_ranges`, `tasks`, `cohorts`: integers that nodes of a task can send; shard of a person
- `wire`: formats of bytes fields, as the packed statistics for the closed-form head
- `stream_opening`, `crypto.bearer`: metadata that opens a stream, tokens that open services
- `errors`, `processes.backoff`, `processes.command_line`: errors, waiting times and rules of the command line that
  both sides share
- `processes`: child processes that never outlive their parent, files that survive a power cut, private memory, Flower
"""
