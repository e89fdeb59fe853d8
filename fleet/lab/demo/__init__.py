"""The demo: a fleet learns people and forgets one, step by step, and every claim is checked.

story        which demo a task has: of a fleet that recognises, or of one that draws
run          the demo of a fleet that recognises
enrolment    people on nodes, tags in the registry
learning     the federated LoRA
quality      accuracy and acceptance, measured through each node's own interface
outage       SIGKILL, the forget meanwhile, the way back
observation  metrics and Flower's own list of runs
claims       what has to hold (pure)
report       the JSON document
closing      the closing table
drawing*     the same of a fleet that draws: what nodes draw, run, claims, report
"""
