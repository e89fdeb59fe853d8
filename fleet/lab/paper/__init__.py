"""The protocol of arXiv 2601.10037 on our own networks, chips and data, beside what it leaves out.

Three tasks, each in two arms: `Arm.PUBLISHED` does what the paper's code does, `Arm.HONEST` closes the hole of its
evaluation. Both end with the strip test, which the paper lacks: the unlearning adapter is taken off, and the forgotten
person or class is asked for again. `docs/paper-protocol.md` says what follows from that.
"""
