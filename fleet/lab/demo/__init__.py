"""The demo: a fleet learns people and forgets one, step by step, and every claim is checked.

run          one run, from start to end, whatever the task
task         what a task contributes to it; `recognition` and `generation` are the two kinds
enrolment    people on nodes, and what every node says
outage       the way back of a node that was killed
observation  what outsiders see: metrics and Flower's own list of runs
evidence     what was seen: plain values
claims       what has to hold of every fleet (pure)
report       the JSON document and the closing tables
people       who is enrolled, and who never is
"""
